//! Which Python a process runs: read out of the interpreter's file, without asking the process.

use std::io;
use std::path::Path;

use fs_err as fs;
use memchr::memmem;

/// Files larger than this are not searched: no interpreter comes near it.
const LARGEST_FILE: u64 = 512 * 1024 * 1024;

/// The version that an interpreter's file says it is: `3.13.5`, `3.15.0rc2`; `3.13` if only its name tells; `None` if
/// nothing does.
///
/// The file holds `PY_VERSION` as a string of its own; `name` (`libpython3.13.so.1.0`, `python3.13`) picks the right one
/// where there are several.
///
/// # Errors
///
/// Those of reading the file.
pub(crate) fn python_version(file: &Path, name: &str) -> io::Result<Option<String>> {
    let minor = minor_in_name(name);
    if fs::metadata(file)?.len() > LARGEST_FILE {
        return Ok(minor);
    }
    let bytes = fs::read(file)?;
    Ok(version_in(&bytes, minor.as_deref()).or(minor))
}

/// `3.13` in `libpython3.13.so.1.0` or `python3.13d`.
fn minor_in_name(name: &str) -> Option<String> {
    let rest = name.split_once("python3.")?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| format!("3.{digits}"))
}

fn version_in(bytes: &[u8], minor: Option<&str>) -> Option<String> {
    let needle = minor.map_or_else(
        || b"\x003.".to_vec(),
        |minor| format!("\0{minor}.").into_bytes(),
    );
    memmem::find_iter(bytes, &needle).find_map(|at| {
        let text = &bytes[at + 1..];
        let text = &text[..text.iter().take(24).position(|&byte| byte == 0)?];
        let text = std::str::from_utf8(text).ok()?;
        is_version(text).then(|| text.to_owned())
    })
}

/// `PY_VERSION`: three numbers, perhaps a pre-release (`a1`, `b2`, `rc1`), perhaps a `+` for a build between releases.
fn is_version(text: &str) -> bool {
    let text = text.strip_suffix('+').unwrap_or(text);
    let mut parts = text.splitn(3, '.');
    let (Some("3"), Some(minor), Some(micro)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_number = |text: &str| {
        !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (micro, pre_release) = micro.split_at(
        micro
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(micro.len()),
    );
    let pre_release_fits = pre_release.is_empty()
        || ["a", "b", "rc"]
            .iter()
            .any(|kind| pre_release.strip_prefix(kind).is_some_and(is_number));
    is_number(minor) && is_number(micro) && pre_release_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_in_the_file_gives_the_point_release() {
        let bytes = b"\x7fELF..\x003.13.bad\x003.12.9\x003.13.5\x00rest";
        assert_eq!(version_in(bytes, Some("3.13")).as_deref(), Some("3.13.5"));
        assert_eq!(version_in(bytes, None).as_deref(), Some("3.12.9"));
        assert_eq!(version_in(bytes, Some("3.11")), None);
        assert_eq!(version_in(b"\x003.13.5", Some("3.13")), None);
    }

    #[test]
    fn what_a_version_looks_like() {
        for version in ["3.13.5", "3.15.0rc2", "3.14.0a7", "3.13.5+", "3.9.22"] {
            assert!(is_version(version), "{version}");
        }
        for other in [
            "3.13", "3.13.", "3.13.5-x", "3.13.5rc", "2.7.18", "3.13.0c1", "3..1",
        ] {
            assert!(!is_version(other), "{other}");
        }
    }

    #[test]
    fn a_name_tells_the_minor_version() {
        assert_eq!(
            minor_in_name("libpython3.13.so.1.0").as_deref(),
            Some("3.13")
        );
        assert_eq!(minor_in_name("python3.9").as_deref(), Some("3.9"));
        assert_eq!(minor_in_name("python3"), None);
        assert_eq!(minor_in_name("uwsgi"), None);
    }
}
