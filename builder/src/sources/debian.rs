//! Debian source packages: upstream's own archives, behind Debian's signatures.
//!
//! Which archive to ask is read from the machine's apt. Its suites are asked in turn until one has a fitting release.

use std::error::Error;
use std::fmt;
use std::io;

use super::apt::{Apt, AptError, SourcePackage, Suite};
use super::archive_name::{ArchiveName, debian_package, debian_upstream_version};
use super::progress::Progress;
use super::provider::{Job, Provider, ProviderName};
use super::request::Wanted;
use super::sha256::Sha256;
use super::source::{Checked, Material, Source};
use super::version::{Series, Version};

/// From oldest to newest.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "forky", "sid"];

/// Serves what Debian's suites have.
pub(crate) struct Debian;

/// Why Debian does not serve.
#[derive(Debug, thiserror::Error)]
enum DebianError {
    #[error(transparent)]
    Apt(#[from] AptError),
    #[error("a path is not served from there")]
    Path,
    #[error("{}", join(.0))]
    NoSuiteServes(Vec<(&'static str, Miss)>),
}

/// Why one suite does not serve.
#[derive(Debug)]
enum Miss {
    NoPackage(String),
    OtherVersions(Vec<String>),
    WrongSum {
        version: Version,
        found: Sha256,
        expected: Sha256,
    },
    Package {
        version: Version,
        error: AptError,
    },
    /// Each fitting version for its own reason, newest first.
    Each(Vec<Miss>),
    Suite(AptError),
}

impl fmt::Display for Miss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPackage(package) => write!(formatter, "has no {package}"),
            Self::OtherVersions(versions) => write!(formatter, "has {}", versions.join(" and ")),
            Self::WrongSum {
                version,
                found,
                expected,
            } => {
                write!(
                    formatter,
                    "names {version} with SHA-256 {found}, but expected is {expected}"
                )
            }
            Self::Package { version, error } => write!(formatter, "names {version}, but {error}"),
            Self::Each(misses) => {
                let misses: Vec<String> = misses.iter().map(ToString::to_string).collect();
                formatter.write_str(&misses.join(", and "))
            }
            Self::Suite(error) => write!(formatter, "{error}"),
        }
    }
}

impl From<io::Error> for Miss {
    fn from(error: io::Error) -> Self {
        Self::Suite(error.into())
    }
}

impl From<AptError> for Miss {
    fn from(error: AptError) -> Self {
        Self::Suite(error)
    }
}

fn join(misses: &[(&str, Miss)]) -> String {
    let misses: Vec<String> = misses
        .iter()
        .map(|(suite, miss)| format!("{suite} {miss}"))
        .collect();
    misses.join("; ")
}

impl Debian {
    fn fetch(job: &Job<'_>, progress: &mut dyn Progress) -> Result<Source, DebianError> {
        let series = match job.wanted {
            Wanted::Series(series) => *series,
            Wanted::Exact(version) => version.series,
            Wanted::Archive(_) | Wanted::Folder(_) => return Err(DebianError::Path),
        };
        let apt = Apt::of_machine()?;
        let mut misses = Vec::new();
        for suite in suites(series) {
            match Self::ask(&apt, suite, series, job, progress) {
                Ok(source) => return Ok(source),
                // Every suite is at the same place.
                Err(Miss::Suite(error @ AptError::Unreachable(_))) => return Err(error.into()),
                Err(miss) => misses.push((suite, miss)),
            }
        }
        Err(DebianError::NoSuiteServes(misses))
    }

    fn ask(
        apt: &Apt,
        suite: &str,
        series: Series,
        job: &Job<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Source, Miss> {
        progress.step(&format!("reading the index of Debian {suite}"));
        let _lock = job.cache.lock(&format!("debian-{suite}"), progress)?;
        let index = apt.update(suite, &job.cache.folder().join("debian").join(suite))?;
        let package = format!("python{series}");
        let offered = index.versions(&package)?;
        if offered.is_empty() {
            return Err(Miss::NoPackage(package));
        }
        let mut fitting: Vec<_> = offered
            .iter()
            .filter_map(|package| Some((pristine(package)?, package)))
            .filter(|(name, _)| job.wanted.accepts(name.version))
            .collect();
        fitting.sort_by_key(|(name, _)| std::cmp::Reverse(name.version.preference()));
        if fitting.is_empty() {
            let versions = offered.into_iter().map(|package| package.version);
            return Err(Miss::OtherVersions(versions.collect()));
        }
        let mut missed = Vec::new();
        for (name, package) in fitting {
            match Self::take(&index, name, package, job, progress) {
                Ok(source) => return Ok(source),
                Err(miss) => missed.push(miss),
            }
        }
        Err(Miss::Each(missed))
    }

    fn take(
        index: &Suite,
        name: ArchiveName,
        package: &SourcePackage,
        job: &Job<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Source, Miss> {
        let version = name.version;
        let expected = job.expected(name);
        let compare = |found: Sha256| match expected {
            Some((expected, _)) if expected != found => Err(Miss::WrongSum {
                version,
                found,
                expected,
            }),
            _ => Ok(()),
        };
        compare(package.sha256)?;
        let upstream = name.upstream();
        let _lock = job.cache.lock(&upstream, progress)?;
        let path = if let Some(path) = job.cache.find(name, package.sha256) {
            path
        } else {
            progress.step(&format!("downloading Debian's {}", package.original));
            let folder = tempfile::Builder::new()
                .prefix(".debian-")
                .tempdir_in(job.cache.folder())?;
            let file = index
                .download(package, folder.path())
                .map_err(|error| Miss::Package { version, error })?;
            let found = Sha256::of_file(&file)?;
            compare(found)?;
            job.cache.keep(&file, name, found)?
        };
        Ok(Source {
            version,
            material: Material::Archive {
                path,
                sha256: package.sha256,
                checked: expected.map_or(Checked::DebianIndex, |(_, checked)| checked),
            },
            provider: ProviderName::Debian,
            origin: format!("Debian source package {} {}", package.name, package.version),
            refusals: Vec::new(),
        })
    }
}

/// The release that a package holds unchanged. Debian marks what it repacked (`+ds`, `+dfsg`), and that is none.
fn pristine(package: &SourcePackage) -> Option<ArchiveName> {
    let name = ArchiveName::parse(&package.original)?;
    let without_epoch = package
        .version
        .split_once(':')
        .map_or(&*package.version, |(_, version)| version);
    let (upstream, _revision) = without_epoch.rsplit_once('-')?;
    let agrees = debian_upstream_version(upstream) == Some(name.version)
        && debian_package(name.version) == package.name;
    agrees.then_some(name)
}

/// The suite that was made with this series first, then the others.
fn suites(series: Series) -> Vec<&'static str> {
    let first = match series.minor {
        ..=9 => "bullseye",
        10..=11 => "bookworm",
        12..=13 => "trixie",
        14 => "forky",
        _ => "sid",
    };
    let others = SUITES.into_iter().filter(|suite| *suite != first);
    std::iter::once(first).chain(others).collect()
}

impl Provider for Debian {
    fn name(&self) -> ProviderName {
        ProviderName::Debian
    }

    fn serve(
        &self,
        job: &Job<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Source, Box<dyn Error + Send + Sync>> {
        Ok(Self::fetch(job, progress)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_asked_the_likeliest_first() {
        let asked = |minor| suites(Series { major: 3, minor });
        assert_eq!(asked(9), ["bullseye", "bookworm", "trixie", "forky", "sid"]);
        assert_eq!(
            asked(13),
            ["trixie", "bullseye", "bookworm", "forky", "sid"]
        );
        assert_eq!(
            asked(15),
            ["sid", "bullseye", "bookworm", "trixie", "forky"]
        );
    }

    #[test]
    fn repacked_archives_are_not_pristine() {
        let package = |version: &str, original: &str| SourcePackage {
            name: "python3.13".to_owned(),
            version: version.to_owned(),
            original: original.to_owned(),
            sha256: "0".repeat(64).parse().unwrap(),
        };
        let name = pristine(&package(
            "3.13.5-2+deb13u5",
            "python3.13_3.13.5.orig.tar.xz",
        ));
        assert_eq!(
            name.map(ArchiveName::upstream).as_deref(),
            Some("Python-3.13.5.tar.xz")
        );
        let name = pristine(&package(
            "1:3.13.0~rc2-1",
            "python3.13_3.13.0~rc2.orig.tar.xz",
        ));
        assert_eq!(
            name.map(ArchiveName::upstream).as_deref(),
            Some("Python-3.13.0rc2.tar.xz")
        );
        assert_eq!(
            pristine(&package("3.13.5+ds-2", "python3.13_3.13.5+ds.orig.tar.xz")),
            None
        );
        assert_eq!(
            pristine(&package("3.13.6-2", "python3.13_3.13.5.orig.tar.xz")),
            None
        );
    }
}
