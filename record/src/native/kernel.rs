//! Whether this machine can run the native recorder, and which way of attaching its kernel has.

use std::path::Path;
use std::sync::OnceLock;

use crate::error::RecordError;
use crate::privilege;

/// The kernel's own type information, by which the program is fitted to it.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// The oldest kernel: ring buffers came with 5.8, `bpf_get_current_task_btf` with 5.11, atomic additions that return a value
/// with 5.12.
const OLDEST: (u32, u32) = (5, 12);
/// Before this, a probe attached to a process by `uprobe_multi` was hit by that process's first thread only.
const UPROBE_MULTI: (u32, u32) = (6, 12);

/// Checks the rights, the kernel's version and its type information.
///
/// # Errors
///
/// [`RecordError::MissingCapability`], [`RecordError::KernelTooOld`], [`RecordError::NoBtf`].
pub(super) fn check() -> Result<(), RecordError> {
    privilege::check_capabilities()?;
    let release = release();
    if version(&release).is_some_and(|version| version < OLDEST) {
        return Err(RecordError::KernelTooOld { release });
    }
    if !Path::new(BTF).exists() {
        return Err(RecordError::NoBtf { release });
    }
    Ok(())
}

/// Whether probes are attached by `uprobe_multi`, which is quicker at every hit, rather than through perf events.
pub(super) fn has_uprobe_multi() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| version(&release()).is_some_and(|version| version >= UPROBE_MULTI))
}

fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// `6.1.0-28-amd64` is version 6.1.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_the_version() {
        assert_eq!(version("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(version("6.18"), Some((6, 18)));
        assert_eq!(version("rolling"), None);
    }
}
