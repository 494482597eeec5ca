//! The interface of a place that serves CPython's source, and the list of those places.

use std::error::Error;
use std::fmt;

use super::archive_name::ArchiveName;
use super::cache::{Cache, CacheProvider};
use super::debian::Debian;
use super::local::Local;
use super::progress::Progress;
use super::python_org::PythonOrg;
use super::request::Wanted;
use super::sha256::Sha256;
use super::source::{Checked, Source};
use super::table::Table;

/// The name of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderName {
    /// A path that the user gave, and the folders in `GILBUILD_SOURCE_DIR`.
    Local,
    /// What was fetched before.
    Cache,
    /// CPython's releases at python.org.
    PythonOrg,
    /// Debian source packages.
    Debian,
}

/// A place that serves CPython's source.
pub(crate) trait Provider {
    /// Its name, for messages.
    fn name(&self) -> ProviderName;

    /// Serves any release that the job accepts, checked, or says why it cannot.
    fn serve(
        &self,
        job: &Job<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Source, Box<dyn Error + Send + Sync>>;
}

/// What a provider is asked for, and what it may use.
pub(crate) struct Job<'a> {
    pub(crate) wanted: &'a Wanted,
    /// The sum that the user gave for the archive.
    pub(crate) given: Option<Sha256>,
    pub(crate) table: &'a Table,
    pub(crate) cache: &'a Cache,
}

impl Job<'_> {
    /// The sum that an archive must have, and who says so: the user before the table.
    pub(crate) fn expected(&self, name: ArchiveName) -> Option<(Sha256, Checked)> {
        let known = self.table.archive(name).map(|facts| facts.sha256);
        match (self.given, known) {
            (Some(given), known) if known != Some(given) => Some((given, Checked::Given)),
            (_, known) => known.map(|sum| (sum, Checked::Table)),
        }
    }
}

/// A provider that could not serve, and why.
#[derive(Debug)]
pub struct Refusal {
    /// Who.
    pub provider: ProviderName,
    /// Why. Its text is complete: the causes are in it.
    pub reason: Box<dyn Error + Send + Sync>,
}

/// Every provider, in the order in which `auto` asks them.
pub(crate) fn all(local: Local, python_org: PythonOrg, debian: Debian) -> Vec<Box<dyn Provider>> {
    vec![
        Box::new(local),
        Box::new(CacheProvider),
        Box::new(python_org),
        Box::new(debian),
    ]
}

impl fmt::Display for ProviderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Local => "local",
            Self::Cache => "cache",
            Self::PythonOrg => "python.org",
            Self::Debian => "debian",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.provider, self.reason)
    }
}
