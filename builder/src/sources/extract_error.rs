//! Why an archive was not unpacked.

use std::io;
use std::path::PathBuf;

use tar::EntryType;

use super::archive::ArchiveError;

/// An archive that was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive is broken.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Something in it is not what a source archive holds.
    #[error("`{}` was refused: {reason}; get the archive again from a place you trust", path.display())]
    Hostile {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: Hostile,
    },
    /// A file could not be written.
    #[error("`{}` could not be unpacked: {source}", path.display())]
    Write {
        /// The archive.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// What an archive of sources does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hostile {
    /// An absolute path, or one with `..`.
    #[error("`{0}` would lie outside of the folder it is unpacked into")]
    Path(String),
    /// A link to somewhere else.
    #[error("the link `{link}` leads out of the tree, to `{target}`")]
    Link {
        /// The link's path in the archive.
        link: String,
        /// Where it leads.
        target: String,
    },
    /// More than one folder at the top, or a file there.
    #[error("`{0}` is not in the one folder that everything else is in")]
    Top(String),
    /// A device, a pipe, a sparse file.
    #[error("`{path}` is neither a file, a folder nor a link but of type {kind:?}")]
    Kind {
        /// Its path in the archive.
        path: String,
        /// What it is.
        kind: EntryType,
    },
    /// A name that is too long.
    #[error("it has a path of {length} bytes, {limit} are allowed")]
    LongPath {
        /// The path's length.
        length: u64,
        /// The bound.
        limit: u64,
    },
    /// Too many files.
    #[error("it has more than {0} entries")]
    Entries(u64),
    /// Too many bytes.
    #[error("it unpacks to more than {0} bytes")]
    Bytes(u64),
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
}
