//! From what a provider delivered to a tree that may be patched.

use std::io;
use std::path::{Path, PathBuf};

use super::copy::{self, CopyError};
use super::extract::{self, Limits};
use super::extract_error::ExtractError;
use super::patchlevel::{self, PatchlevelError};
use super::progress::Progress;
use super::source::{Material, Source, SourceTree};
use super::version::Version;

/// No tree was made; nothing stands at the destination.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something is there already.
    #[error("`{}` exists already; remove it or choose another folder", .0.display())]
    DestinationExists(PathBuf),
    /// The archive is broken or refused.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The folder could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// What came out is no source tree.
    #[error(transparent)]
    NoTree(#[from] PatchlevelError),
    /// The name and the content differ.
    #[error("`{}` holds CPython {found}, not {expected} as its name says; rename it or get the right one", path.display())]
    OtherVersion {
        /// The archive or folder.
        path: PathBuf,
        /// What its name says.
        expected: Version,
        /// What its patchlevel.h says.
        found: Version,
    },
    /// The destination could not be written.
    #[error("the source tree could not be laid down: {0}")]
    Io(#[from] io::Error),
}

/// Unpacks or copies `source` to `destination`, which must not exist. It appears there complete or not at all.
///
/// # Errors
/// A broken or hostile archive, another version than promised, a destination that exists or cannot be written.
pub fn unpack(
    source: &Source,
    destination: &Path,
    progress: &mut dyn Progress,
) -> Result<SourceTree, UnpackError> {
    if destination.symlink_metadata().is_ok() {
        return Err(UnpackError::DestinationExists(destination.to_owned()));
    }
    let parent = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs_err::create_dir_all(parent)?;
    let beside = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(parent)?;
    let root = beside.path().join("tree");
    fs_err::create_dir(&root)?;
    let sha256 = match &source.material {
        Material::Archive { path, sha256, .. } => {
            progress.step(&format!("unpacking {}", path.display()));
            extract::extract(path, &root, Limits::default(), progress)?;
            Some(*sha256)
        }
        Material::Folder(path) => {
            progress.step(&format!("copying {}", path.display()));
            copy::copy(path, &root, Limits::default(), progress)?;
            None
        }
    };
    let found = patchlevel::version_of_folder(&root)
        .map_err(|error| naming(error, source.material.path()))?;
    if found != source.version {
        return Err(UnpackError::OtherVersion {
            path: source.material.path().to_owned(),
            expected: source.version,
            found,
        });
    }
    fs_err::rename(&root, destination)?;
    Ok(SourceTree {
        version: found,
        root: destination.to_owned(),
        provider: source.provider,
        origin: source.origin.clone(),
        sha256,
    })
}

/// The user knows the archive, not the folder beside the destination.
fn naming(error: PatchlevelError, path: &Path) -> PatchlevelError {
    let path = path.to_owned();
    match error {
        PatchlevelError::Missing { .. } => PatchlevelError::Missing { path },
        PatchlevelError::NoVersion { .. } => PatchlevelError::NoVersion { path },
        other => other,
    }
}
