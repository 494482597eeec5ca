//! What a provider delivers, before it is unpacked.

use std::path::{Path, PathBuf};

use super::provider::{ProviderName, Refusal};
use super::sha256::Sha256;
use super::version::Version;

/// CPython's source as a provider delivered it, checked.
#[derive(Debug)]
pub struct Source {
    /// The release it holds.
    pub version: Version,
    /// The archive or folder.
    pub material: Material,
    /// Who served it.
    pub provider: ProviderName,
    /// Where it comes from: a URL, a Debian package with its version, or a path.
    pub origin: String,
    /// Who was asked before and why they refused.
    pub refusals: Vec<Refusal>,
}

/// The form in which source is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// An archive.
    Archive {
        /// The file; never changed by whoever unpacks it.
        path: PathBuf,
        /// Its sum.
        sha256: Sha256,
        /// What the sum was compared with.
        checked: Checked,
    },
    /// An unpacked tree of the user's; it is copied, never changed.
    Folder(PathBuf),
}

/// What vouches for an archive's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The table of releases.
    Table,
    /// The sum that the user gave.
    Given,
    /// Debian's signed index of source packages; the table does not know the release.
    DebianIndex,
    /// The sum that was written beside the file when it was checked and kept in the cache.
    Kept,
    /// Nothing: the user named the file or its folder.
    Nothing,
}

impl Material {
    /// The archive or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Archive { path, .. } | Self::Folder(path) => path,
        }
    }
}

/// A tree of CPython's source, unpacked or copied, that may be patched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    /// The release, from its `Include/patchlevel.h`.
    pub version: Version,
    /// The folder that holds `configure`.
    pub root: PathBuf,
    /// Who served it.
    pub provider: ProviderName,
    /// Where it comes from: a URL, a Debian package with its version, or a path.
    pub origin: String,
    /// The sum of the archive; none for a folder.
    pub sha256: Option<Sha256>,
}
