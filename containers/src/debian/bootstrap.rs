//! A root folder with a suite's smallest system, as Debian's own slim images have it.

use std::io;
use std::path::Path;
use std::process::Command;

use super::mirrors::{MirrorError, Mirrors, without_credentials};
use super::packages;
use crate::layer::{LayerReader, Limits, UnpackError, unpack};
use crate::process::{self, ProcessError};

/// The suites that a base can name.
pub const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "forky", "sid"];

/// When each suite was released, in seconds since 1970: the time that the files of its root get, at most. So images of different
/// content share their base's layer.
const RELEASED: [(&str, u64); 3] = [
    ("bullseye", 1_628_899_200),
    ("bookworm", 1_686_355_200),
    ("trixie", 1_754_697_600),
];

/// The time of a suite's root; `newest_s` where it is not released.
#[must_use]
pub fn time_of(suite: &str, newest_s: u64) -> u64 {
    let released = RELEASED.iter().find(|(name, _)| *name == suite);
    released.map_or(newest_s, |(_, time_s)| *time_s)
}

/// Why there is no root of a suite.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// There is no mirror.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// mmdebstrap is missing or failed.
    #[error("cannot make a root of Debian {suite}: {error}")]
    Process {
        /// The suite.
        suite: String,
        /// What went wrong.
        #[source]
        error: ProcessError,
    },
    /// What it made cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a container has no use for, left out by dpkg now and in the image later.
const LEFT_OUT: [&str; 9] = [
    "path-exclude /usr/share/doc/*",
    "path-include /usr/share/doc/*/copyright",
    "path-exclude /usr/share/groff/*",
    "path-exclude /usr/share/info/*",
    "path-exclude /usr/share/linda/*",
    "path-exclude /usr/share/lintian/*",
    "path-exclude /usr/share/locale/*",
    "path-include /usr/share/locale/locale.alias",
    "path-exclude /usr/share/man/*",
];

/// How apt behaves in the image: it keeps no packages and no second copy of its lists.
const APT: [&str; 5] = [
    "Acquire::Languages \"none\"",
    "Acquire::GzipIndexes \"true\"",
    "Apt::AutoRemove::SuggestsImportant \"false\"",
    "Dir::Cache::pkgcache \"\"",
    "Dir::Cache::srcpkgcache \"\"",
];

/// Puts a suite's smallest system, with `packages`, into the empty folder `root`. `newest_s` (seconds since 1970) is the time
/// that its files get, at most.
///
/// # Errors
/// When there is no mirror, mmdebstrap fails, or the folder takes no more.
pub fn bootstrap(
    suite: &str,
    packages: &[&str],
    newest_s: u64,
    root: &Path,
) -> Result<(), BootstrapError> {
    let lines = Mirrors::of_machine()?.lines(suite);
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("root.tar");
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=minbase", "--format=tar"])
        .arg(format!("--include={}", packages.join(",")))
        .args(LEFT_OUT.map(|option| format!("--dpkgopt={option}")))
        .args(APT.map(|option| format!("--aptopt={option}")))
        .env("SOURCE_DATE_EPOCH", newest_s.to_string())
        .arg(suite)
        .arg(&archive)
        .args(&lines);
    process::run(&mut command, "mmdebstrap").map_err(|error| BootstrapError::Process {
        suite: suite.to_owned(),
        error,
    })?;
    let reader = LayerReader::new(fs_err::File::open(&archive)?, Limits::default())
        .map_err(UnpackError::from)?;
    unpack(reader, root)?;
    let list: String = lines
        .iter()
        .map(|line| without_credentials(line) + "\n")
        .collect();
    fs_err::write(root.join("etc/apt/sources.list"), list)?;
    packages::clean(root)?;
    Ok(())
}
