//! Asks the providers in turn for what was requested.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::environment::{GILBUILD_PYTHON_ORG, GILBUILD_SOURCE_DIR};
use crate::folders::{self, FolderError};

use super::cache::Cache;
use super::debian::Debian;
use super::local::Local;
use super::progress::Progress;
use super::provider::{self, Job, Provider, ProviderName, Refusal};
use super::python_org::PythonOrg;
use super::request::{self, Request, UnsupportedError, Wanted};
use super::sha256::Sha256;
use super::source::{Material, Source};
use super::table::{Table, TableError};
use super::version::{Series, Version};

/// How to fetch.
#[derive(Debug, Clone)]
pub struct FetchOptions<'a> {
    /// Whom to ask.
    pub source: SourceChoice,
    /// The sum that the archive must have.
    pub sha256: Option<Sha256>,
    /// The series that can be built.
    pub supported: &'a [Series],
}

/// Whom to ask: `auto`, `python.org`, `debian`, or a path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SourceChoice {
    /// Everyone in turn: local, cache, python.org, Debian.
    #[default]
    Auto,
    /// python.org alone. A file that was fetched before and has the right sum is not fetched again.
    PythonOrg,
    /// Debian alone; likewise.
    Debian,
    /// An archive, a source tree, or a folder of archives.
    Path(PathBuf),
}

/// The text is no choice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither auto, python.org, debian, nor the path of an existing source archive or folder"
)]
pub struct SourceChoiceError(String);

impl FromStr for SourceChoice {
    type Err = SourceChoiceError;

    fn from_str(text: &str) -> Result<Self, SourceChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "python.org" => Ok(Self::PythonOrg),
            "debian" => Ok(Self::Debian),
            path if Path::new(path).exists() => Ok(Self::Path(path.into())),
            other => Err(SourceChoiceError(other.to_owned())),
        }
    }
}

/// Nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The tree that was found cannot be built.
    #[error("`{}`: {source}", path.display())]
    Unsupported {
        /// The archive or folder.
        path: PathBuf,
        /// Which series can.
        source: UnsupportedError,
    },
    /// A sum for no certain archive.
    #[error(
        "--sha256 is the sum of one archive, and {0} may be any release; name the release or the archive"
    )]
    SumOfSeries(Series),
    /// A sum that contradicts the table.
    #[error(
        "--sha256 {given} is not the sum of {version} that the table of releases has; leave it out to use the table's"
    )]
    SumOfKnown {
        /// The release.
        version: Version,
        /// The sum that was given.
        given: Sha256,
    },
    /// Everyone who was asked refused.
    #[error("{}", none_serves(wanted, refusals))]
    NoneServes {
        /// What was asked for.
        wanted: Wanted,
        /// Who refused, and why.
        refusals: Vec<Refusal>,
    },
    /// The table of releases is malformed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// There is no cache folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// One line where one place was asked, else a line each.
fn none_serves(wanted: &Wanted, refusals: &[Refusal]) -> String {
    match (wanted, refusals) {
        // Why a path cannot be used already says what to do about it.
        (Wanted::Archive(_) | Wanted::Folder(_), [only]) => only.reason.to_string(),
        (_, [only]) => format!(
            "{} has no {wanted}: {}; {}",
            only.provider,
            only.reason,
            way_out(wanted)
        ),
        _ => {
            let lines: Vec<String> = refusals
                .iter()
                .map(|refusal| format!("  {refusal}\n"))
                .collect();
            format!(
                "no place has {wanted}:\n{}{}",
                lines.concat(),
                way_out(wanted)
            )
        }
    }
}

fn way_out(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Series(_) | Wanted::Exact(_) => format!(
            "put its archive (Python-X.Y.Z.tar.xz or .tgz) into a folder and name the folder in {GILBUILD_SOURCE_DIR}, \
             or name an archive or a source tree with --source PATH"
        ),
        Wanted::Archive(_) | Wanted::Folder(_) => {
            "name a source archive or tree of CPython, or a version".to_owned()
        }
    }
}

/// Where the providers look; each field stands for an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where fetched archives and Debian's indexes are kept.
    pub cache: PathBuf,
    /// `GILBUILD_SOURCE_DIR`.
    pub source_folders: Option<OsString>,
    /// `GILBUILD_PYTHON_ORG`.
    pub python_org: Option<OsString>,
}

impl Places {
    /// What the environment says.
    ///
    /// # Errors
    /// It names no cache folder.
    pub fn from_environment() -> Result<Self, FolderError> {
        Ok(Self {
            cache: folders::cache()?.join("sources"),
            source_folders: env::var_os(GILBUILD_SOURCE_DIR),
            python_org: env::var_os(GILBUILD_PYTHON_ORG),
        })
    }
}

/// Fetches the source of what was requested, from the first place that has it; the environment says where to look.
///
/// # Errors
/// Nobody has it, or what there is cannot be used.
pub fn fetch(
    request: &Request,
    options: &FetchOptions<'_>,
    progress: &mut dyn Progress,
) -> Result<Source, FetchError> {
    fetch_from(&Places::from_environment()?, request, options, progress)
}

/// [`fetch`], looking where `places` says.
///
/// # Errors
/// Nobody has it, or what there is cannot be used.
pub fn fetch_from(
    places: &Places,
    request: &Request,
    options: &FetchOptions<'_>,
    progress: &mut dyn Progress,
) -> Result<Source, FetchError> {
    let job = Job {
        wanted: &request.wanted,
        given: options.sha256,
        table: &Table::bundled()?,
        cache: &Cache::new(places.cache.clone()),
    };
    ask_in_turn(&providers(places, options), &job, options, progress)
}

fn providers(places: &Places, options: &FetchOptions<'_>) -> Vec<Box<dyn Provider>> {
    let path = match &options.source {
        SourceChoice::Path(path) => Some(path.clone()),
        SourceChoice::Auto | SourceChoice::PythonOrg | SourceChoice::Debian => None,
    };
    provider::all(
        Local::new(path, places.source_folders.as_deref()),
        PythonOrg::new(places.python_org.as_deref()),
        Debian,
    )
}

fn ask_in_turn(
    providers: &[Box<dyn Provider>],
    job: &Job<'_>,
    options: &FetchOptions<'_>,
    progress: &mut dyn Progress,
) -> Result<Source, FetchError> {
    check_sum(job, options)?;
    let mut refusals = Vec::new();
    for provider in providers
        .iter()
        .filter(|provider| is_asked(provider.name(), job.wanted, options))
    {
        let name = provider.name();
        progress.asking(name);
        match provider.serve(job, progress) {
            Ok(mut source) => {
                source.refusals = refusals;
                check_supported(&source, options)?;
                return Ok(source);
            }
            Err(reason) => {
                let refusal = Refusal {
                    provider: name,
                    reason,
                };
                progress.refused(&refusal);
                refusals.push(refusal);
            }
        }
    }
    Err(FetchError::NoneServes {
        wanted: job.wanted.clone(),
        refusals,
    })
}

/// A path, whether requested or chosen, is looked for on this machine only.
fn is_asked(provider: ProviderName, wanted: &Wanted, options: &FetchOptions<'_>) -> bool {
    if matches!(wanted, Wanted::Archive(_) | Wanted::Folder(_)) {
        return provider == ProviderName::Local;
    }
    match &options.source {
        SourceChoice::Auto => true,
        SourceChoice::PythonOrg => provider == ProviderName::PythonOrg,
        SourceChoice::Debian => provider == ProviderName::Debian,
        SourceChoice::Path(_) => provider == ProviderName::Local,
    }
}

fn check_sum(job: &Job<'_>, options: &FetchOptions<'_>) -> Result<(), FetchError> {
    let is_path = matches!(options.source, SourceChoice::Path(_));
    let Some(given) = job.given.filter(|_| !is_path) else {
        return Ok(());
    };
    match *job.wanted {
        Wanted::Series(series) => Err(FetchError::SumOfSeries(series)),
        Wanted::Exact(version) => {
            let Some(release) = job.table.release(version) else {
                return Ok(());
            };
            let known = [release.tar_xz, release.tgz];
            let contradicts = known
                .iter()
                .all(|facts| facts.is_some_and(|facts| facts.sha256 != given));
            if contradicts {
                Err(FetchError::SumOfKnown { version, given })
            } else {
                Ok(())
            }
        }
        Wanted::Archive(_) | Wanted::Folder(_) => Ok(()),
    }
}

/// What a path holds is only known now.
fn check_supported(source: &Source, options: &FetchOptions<'_>) -> Result<(), FetchError> {
    let version = source.version;
    request::check_supported(&version.to_string(), version.series, options.supported).map_err(
        |error| {
            let path = match &source.material {
                Material::Archive { path, .. } | Material::Folder(path) => path.clone(),
            };
            FetchError::Unsupported {
                path,
                source: error,
            }
        },
    )
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
