//! Where CPython keeps the switch interval of a GIL (`sys.getswitchinterval()`).

/// The versions of CPython 3 whose `struct _gil_runtime_state` (`Include/internal/pycore_gil.h`) begins with the interval, in
/// microseconds; in a free-threaded build, with an int and then the interval.
const KNOWN: std::ops::RangeInclusive<u32> = 8..=15;
/// In microseconds. `sys.setswitchinterval` takes more, but nobody wants it.
const LONGEST: u64 = 3_600_000_000;

/// How many bytes into a GIL's state its switch interval is, for the interpreter in a file of this name. `None` for a version of
/// CPython that is not known.
pub(crate) fn offset(file_name: &str) -> Option<u64> {
    flavour(file_name).map(|free_threaded| if free_threaded { 8 } else { 0 })
}

/// In nanoseconds, what was read there; `None` for what cannot be an interval.
pub(crate) fn nanoseconds(interval_us: u64) -> Option<u64> {
    (1..=LONGEST)
        .contains(&interval_us)
        .then(|| interval_us * 1000)
}

/// Whether a file named like this is of a free-threaded interpreter; `None` if it is none, or of a version that is not known.
fn flavour(name: &str) -> Option<bool> {
    let version = name
        .strip_prefix("libpython3.")
        .or_else(|| name.strip_prefix("python3."))?;
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    let (minor, rest) = version.split_at(digits);
    KNOWN
        .contains(&minor.parse().ok()?)
        .then(|| rest.starts_with('t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_version_and_the_build() {
        assert_eq!(flavour("libpython3.13.so.1.0"), Some(false));
        assert_eq!(flavour("libpython3.14t.so.1.0"), Some(true));
        assert_eq!(flavour("python3.12"), Some(false));
        assert_eq!(flavour("python3.13d"), Some(false));
        assert_eq!(flavour("libpython3.7m.so.1.0"), None);
        assert_eq!(flavour("libpython3.16.so.1.0"), None);
        assert_eq!(flavour("libc.so.6"), None);
    }
}
