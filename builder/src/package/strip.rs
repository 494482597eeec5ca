//! Programs and libraries without their debug information, which is most of a prefix. Symbols and marker notes stay.

use std::io;
use std::path::Path;
use std::process::Command;

/// What begins an ELF file.
const MAGIC: [u8; 4] = *b"\x7fELF";

/// Whether files are stripped on their way into the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stripped {
    /// They are left as they are.
    No,
    /// Their debug information goes.
    Yes,
}

impl Stripped {
    /// What goes into the archive of a file.
    ///
    /// # Errors
    /// When it cannot be read, or `strip` is not there or fails.
    pub fn read(self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = fs_err::read(path)?;
        if self == Self::No || !bytes.starts_with(&MAGIC) {
            return Ok(bytes);
        }
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("stripped");
        let done = Command::new("strip")
            .args(["--strip-debug", "--enable-deterministic-archives", "-o"])
            .arg(&output)
            .arg(path)
            .output()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot run strip ({error}): install binutils, or leave --strip out"),
                )
            })?;
        if !done.status.success() {
            return Err(io::Error::other(format!(
                "strip {}: {}",
                path.display(),
                String::from_utf8_lossy(&done.stderr).trim()
            )));
        }
        fs_err::read(output)
    }
}
