//! The version of a source tree, from its `Include/patchlevel.h`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::archive::{self, ArchiveError};
use super::version::Version;

const PATH: &str = "Include/patchlevel.h";

/// The header is 2 KiB; what is larger is not it.
const LARGEST: u64 = 64 * 1024;

/// A tree whose version cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PatchlevelError {
    /// No such header.
    #[error("`{}` is not a CPython source tree: it has no {PATH}", path.display())]
    Missing {
        /// The folder or archive.
        path: PathBuf,
    },
    /// A header without a version.
    #[error("`{}`: {PATH} names no version of CPython in PY_VERSION", path.display())]
    NoVersion {
        /// The folder or archive.
        path: PathBuf,
    },
    /// The header cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Whether a folder has the header.
pub(crate) fn is_tree(folder: &Path) -> bool {
    folder.join(PATH).is_file()
}

/// The version of an unpacked tree.
///
/// # Errors
/// When it has no such header, or one that names no version.
pub fn version_of_folder(folder: &Path) -> Result<Version, PatchlevelError> {
    if !is_tree(folder) {
        return Err(PatchlevelError::Missing {
            path: folder.to_owned(),
        });
    }
    version_in(fs_err::File::open(folder.join(PATH))?, folder)
}

/// The version of the tree in an archive; unpacks only as far as needed.
pub(crate) fn version_of_archive(path: &Path) -> Result<Version, PatchlevelError> {
    let corrupt = |cause| ArchiveError::Corrupt {
        path: path.to_owned(),
        cause,
    };
    let mut reader = tar::Archive::new(archive::decode(path)?);
    for entry in reader.entries().map_err(corrupt)?.raw(true) {
        let entry = entry.map_err(corrupt)?;
        let is_header = {
            let name = entry.header().path_bytes();
            let below_top = name
                .iter()
                .position(|byte| *byte == b'/')
                .map(|slash| &name[slash + 1..]);
            below_top == Some(PATH.as_bytes())
        };
        if is_header {
            return version_in(entry, path);
        }
    }
    Err(PatchlevelError::Missing {
        path: path.to_owned(),
    })
}

fn version_in(header: impl Read, path: &Path) -> Result<Version, PatchlevelError> {
    let mut text = Vec::new();
    header.take(LARGEST).read_to_end(&mut text)?;
    parse(&String::from_utf8_lossy(&text)).ok_or_else(|| PatchlevelError::NoVersion {
        path: path.to_owned(),
    })
}

/// A tree between two releases has a `+` behind the last one: 3.13.5+.
fn parse(text: &str) -> Option<Version> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_definition = words.next() == Some("#define") && words.next() == Some("PY_VERSION");
        let value = words.next().filter(|_| is_definition)?;
        value.trim_matches('"').trim_end_matches('+').parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        let text = "#define PY_MAJOR_VERSION 3\n/* Version as a string */\n#define PY_VERSION      \t\"3.15.0rc2+\"\n/*--*/\n";
        assert_eq!(parse(text), Some("3.15.0rc2".parse().unwrap()));
        assert_eq!(
            parse("#define PY_VERSION\n#define PY_VERSION_HEX 3\n"),
            None
        );
    }

    #[test]
    fn a_folder_without_the_header_is_no_tree() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            version_of_folder(folder.path()),
            Err(PatchlevelError::Missing { .. })
        ));
    }
}
