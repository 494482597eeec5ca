//! Where gilbuild keeps what it makes and what it fetched, after the XDG base directory specification.

use std::env;
use std::path::PathBuf;

use crate::environment::{GILBUILD_HOME, HOME, XDG_CACHE_HOME, XDG_DATA_HOME};

/// No folder to keep things in could be named.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Neither the variable for this folder nor `HOME` is set.
    #[error(
        "no folder to keep files in: neither {variable} nor HOME is set to an absolute path; set {variable}"
    )]
    Unset {
        /// The variable that would name the folder.
        variable: &'static str,
    },
}

/// Built interpreters: `$GILBUILD_HOME`, or `$XDG_DATA_HOME/gilbuild`.
///
/// # Errors
/// None of `GILBUILD_HOME`, `XDG_DATA_HOME` and `HOME` names an absolute path.
pub fn home() -> Result<PathBuf, FolderError> {
    match absolute(GILBUILD_HOME) {
        Some(folder) => Ok(folder),
        None => base(XDG_DATA_HOME, ".local/share").ok_or(FolderError::Unset {
            variable: GILBUILD_HOME,
        }),
    }
}

/// What can be fetched again: `$XDG_CACHE_HOME/gilbuild`.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` names an absolute path.
pub fn cache() -> Result<PathBuf, FolderError> {
    base(XDG_CACHE_HOME, ".cache").ok_or(FolderError::Unset {
        variable: XDG_CACHE_HOME,
    })
}

fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let base = absolute(variable).or_else(|| Some(absolute(HOME)?.join(below_home)))?;
    Some(base.join("gilbuild"))
}

/// The specification says that a relative path is invalid and is to be ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    path.is_absolute().then_some(path)
}
