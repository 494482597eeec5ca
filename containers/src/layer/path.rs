//! A path inside an image: relative, without `..`, of bounded length.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file that begins with this hides the file of the rest of its name in the layers below.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// In a folder, hides everything that the layers below have in it.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

const LONGEST_PATH: usize = 4096;
const LONGEST_NAME: usize = 255;

/// Why a path is not taken from a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is absolute.
    #[error("is absolute")]
    Absolute,
    /// It has a part `..`.
    #[error("climbs out of its folder with `..`")]
    Climbs,
    /// It, or a part of it, is longer than Linux allows.
    #[error("is longer than Linux allows")]
    TooLong,
    /// It has a zero byte.
    #[error("has a zero byte in it")]
    Zero,
    /// A whiteout that names no file.
    #[error("is a whiteout of no file")]
    NoWhiteout,
}

/// A path inside an image, without a leading `/`. The root itself is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerPath(PathBuf);

/// What an entry's name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'path> {
    /// The file itself.
    File,
    /// The removal of this name from the same folder.
    Whiteout(&'path OsStr),
    /// The removal of all that layers below have in the folder.
    Opaque,
}

impl LayerPath {
    /// Takes the path as an archive has it: `./` before it and `/` after it mean nothing.
    ///
    /// # Errors
    /// When it could lead out of the image, or no file system would take it.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        if raw.len() > LONGEST_PATH {
            return Err(PathError::TooLong);
        }
        if raw.contains(&0) {
            return Err(PathError::Zero);
        }
        let mut path = PathBuf::new();
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(PathError::Climbs),
                part if part.len() > LONGEST_NAME => return Err(PathError::TooLong),
                part => path.push(OsStr::from_bytes(part)),
            }
        }
        let path = Self(path);
        path.meaning()?;
        Ok(path)
    }

    /// The path, relative to the image's root.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Whether this is the image's root folder.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    pub(super) fn parent(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn name(&self) -> &OsStr {
        self.0.file_name().unwrap_or_default()
    }

    pub(super) fn meaning(&self) -> Result<Meaning<'_>, PathError> {
        let name = self.name().as_bytes();
        if name == OPAQUE {
            return Ok(Meaning::Opaque);
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(Meaning::File),
            Some(b"" | b"." | b"..") => Err(PathError::NoWhiteout),
            Some(hidden) => Ok(Meaning::Whiteout(OsStr::from_bytes(hidden))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_archives_write_is_one_path() {
        for raw in ["./usr/bin/", "usr/bin", "usr/./bin", "./usr//bin"] {
            let path = LayerPath::parse(raw.as_bytes());
            assert_eq!(path, Ok(LayerPath("usr/bin".into())), "{raw}");
        }
        assert!(LayerPath::parse(b"./").is_ok_and(|path| path.is_root()));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let cases: [(&[u8], PathError); 7] = [
            (b"../etc/passwd", PathError::Climbs),
            (b"usr/../../etc", PathError::Climbs),
            (b"/etc/passwd", PathError::Absolute),
            (b"a\0b", PathError::Zero),
            (b"usr/.wh...", PathError::NoWhiteout),
            (b"usr/.wh..", PathError::NoWhiteout),
            (b"usr/.wh.", PathError::NoWhiteout),
        ];
        for (raw, error) in cases {
            assert_eq!(LayerPath::parse(raw), Err(error), "{}", raw.escape_ascii());
        }
        assert_eq!(
            LayerPath::parse("x".repeat(256).as_bytes()),
            Err(PathError::TooLong)
        );
        assert_eq!(
            LayerPath::parse("x/".repeat(2100).as_bytes()),
            Err(PathError::TooLong)
        );
    }

    #[test]
    fn whiteouts_name_what_they_hide() -> Result<(), PathError> {
        let path = LayerPath::parse(b"etc/.wh.motd")?;
        assert_eq!(path.meaning()?, Meaning::Whiteout(OsStr::new("motd")));
        let path = LayerPath::parse(b"etc/.wh..wh..opq")?;
        assert_eq!(path.meaning()?, Meaning::Opaque);
        Ok(())
    }
}
