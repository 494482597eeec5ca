//! Getting CPython's source: from a version, an archive or a folder to a tree that may be patched.
//!
//! ```no_run
//! use gilbuild::sources::{self, FetchOptions, Request, Series, Silent, SourceChoice};
//!
//! let supported = [Series { major: 3, minor: 13 }];
//! let request = Request::parse("3.13", &supported)?;
//! let options = FetchOptions { source: SourceChoice::Auto, sha256: None, supported: &supported };
//! let source = sources::fetch(&request, &options, &mut Silent)?;
//! let tree = sources::unpack(&source, "work/tree".as_ref(), &mut Silent)?;
//! assert_eq!(tree.version.series, supported[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A place that serves source is one file that implements `provider::Provider`, and one line in `provider::all`.
//! Errors say everything in their own text; a caller prints that and no chain of causes.

mod apt;
mod archive;
mod archive_name;
mod cache;
mod copy;
mod debian;
mod download;
mod extract;
mod extract_error;
mod fetch;
mod links;
mod local;
mod patchlevel;
mod progress;
mod provider;
mod python_org;
mod refresh;
mod request;
mod sha256;
mod source;
mod table;
mod unpack;
mod version;

pub use archive::ArchiveError;
pub use archive_name::{ArchiveName, Packing};
pub use copy::CopyError;
pub use extract::Limits;
pub use extract_error::{ExtractError, Hostile};
pub use fetch::{
    FetchError, FetchOptions, Places, SourceChoice, SourceChoiceError, fetch, fetch_from,
};
pub use patchlevel::{PatchlevelError, version_of_folder as version_of_tree};
pub use progress::{Progress, Silent};
pub use provider::{ProviderName, Refusal};
pub use refresh::{RefreshError, Refreshed, refresh};
pub use request::{Request, RequestError, SupportedList, UnsupportedError, Wanted};
pub use sha256::{Sha256, Sha256Error};
pub use source::{Checked, Material, Source, SourceTree};
pub use table::{ArchiveFacts, Release, Table, TableError};
pub use unpack::{UnpackError, unpack};
pub use version::{Series, Stage, Version, VersionError};
