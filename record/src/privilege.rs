//! Whether this process may load BPF programs at all: asked first, so that the answer is one clear line.

use fs_err as fs;

use crate::error::RecordError;

/// Numbers of capabilities, from linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Checks for root and for the capabilities that BPF and uprobes need.
///
/// # Errors
///
/// [`RecordError::NotRoot`], [`RecordError::MissingCapability`].
pub(crate) fn check_root() -> Result<(), RecordError> {
    // bpftrace refuses to run for anybody but root, whatever capabilities they have.
    check_is_root()?;
    check_capabilities()
}

/// Checks for root alone.
///
/// # Errors
///
/// [`RecordError::NotRoot`].
pub(crate) fn check_is_root() -> Result<(), RecordError> {
    let euid = rustix::process::geteuid();
    if euid.is_root() {
        Ok(())
    } else {
        Err(RecordError::NotRoot {
            euid: euid.as_raw(),
        })
    }
}

/// Checks for the capabilities that BPF and uprobes need, whoever has them.
///
/// # Errors
///
/// [`RecordError::NotRoot`] for a user without any of them, [`RecordError::MissingCapability`].
pub(crate) fn check_capabilities() -> Result<(), RecordError> {
    let euid = rustix::process::geteuid();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    match effective_capabilities(&status) {
        Some(0) if !euid.is_root() => Err(RecordError::NotRoot {
            euid: euid.as_raw(),
        }),
        Some(capabilities) => missing(capabilities).map_or(Ok(()), |missing| {
            Err(RecordError::MissingCapability { missing })
        }),
        // No /proc, or another kernel's: the tracer's own message has to do.
        None => Ok(()),
    }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// `CAP_SYS_ADMIN` includes the two that were split off from it.
fn missing(capabilities: u64) -> Option<&'static str> {
    let has = |number: u32| capabilities & (1 << number) != 0;
    if has(CAP_SYS_ADMIN) {
        None
    } else if !has(CAP_BPF) {
        Some("CAP_BPF")
    } else if !has(CAP_PERFMON) {
        Some("CAP_PERFMON")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_proc_status_is_read() {
        assert_eq!(
            effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn the_old_capability_covers_the_new_ones() {
        assert_eq!(missing(1 << CAP_SYS_ADMIN), None);
        assert_eq!(missing((1 << CAP_BPF) | (1 << CAP_PERFMON)), None);
        assert_eq!(missing(1 << CAP_BPF), Some("CAP_PERFMON"));
        assert_eq!(missing(0xa804_25fb), Some("CAP_BPF"));
    }
}
