//! CPython's releases at python.org, over https.

use std::error::Error;
use std::ffi::OsStr;

use super::archive_name::{ArchiveName, Packing};
use super::download::{self, Download, DownloadError};
use super::progress::Progress;
use super::provider::{Job, Provider, ProviderName};
use super::request::Wanted;
use super::sha256::Sha256;
use super::source::{Checked, Material, Source};
use super::version::{Series, Version};

const BASE: &str = "https://www.python.org";

/// Fetches releases whose sum is known.
pub(crate) struct PythonOrg {
    base: String,
}

#[derive(Debug, thiserror::Error)]
enum PythonOrgError {
    #[error("the table knows no release of {0}; name one, with its sum: --sha256")]
    UnknownSeries(Series),
    #[error("the table does not know {0}; give the sum of its .tar.xz with --sha256")]
    UnknownRelease(Version),
    #[error("a path is not served from there")]
    Path,
    #[error(transparent)]
    Download(#[from] DownloadError),
}

impl PythonOrg {
    /// `base` is what `GILBUILD_PYTHON_ORG` has: another place that is laid out like python.org.
    pub(crate) fn new(base: Option<&OsStr>) -> Self {
        let base = base.map(|base| base.to_string_lossy().trim_end_matches('/').to_owned());
        Self {
            base: base
                .filter(|base| !base.is_empty())
                .unwrap_or_else(|| BASE.to_owned()),
        }
    }

    fn url(&self, name: ArchiveName) -> String {
        format!(
            "{}/ftp/python/{}/{}",
            self.base,
            name.version.without_stage(),
            name.upstream()
        )
    }

    fn fetch(&self, job: &Job<'_>, progress: &mut dyn Progress) -> Result<Source, PythonOrgError> {
        let version = match job.wanted {
            Wanted::Series(series) => job
                .table
                .newest(*series)
                .ok_or(PythonOrgError::UnknownSeries(*series))?,
            Wanted::Exact(version) => *version,
            Wanted::Archive(_) | Wanted::Folder(_) => return Err(PythonOrgError::Path),
        };
        let (name, sha256, checked) =
            choose(version, job).ok_or(PythonOrgError::UnknownRelease(version))?;
        let url = self.url(name);
        let agent = download::agent(self.base.starts_with("https://"));
        let path = Download {
            url: &url,
            name,
            sha256,
        }
        .run(&agent, job.cache, progress)?;
        Ok(Source {
            version,
            material: Material::Archive {
                path,
                sha256,
                checked,
            },
            provider: ProviderName::PythonOrg,
            origin: url,
            refusals: Vec::new(),
        })
    }
}

/// The archive whose sum is known, the `.tar.xz` first. A sum that the user gave belongs to the `.tar.xz`, unless the
/// table has another for that.
fn choose(version: Version, job: &Job<'_>) -> Option<(ArchiveName, Sha256, Checked)> {
    let known = |packing| {
        let name = ArchiveName { version, packing };
        let sum = job.table.archive(name)?.sha256;
        let fits = job.given.is_none_or(|given| given == sum);
        fits.then_some((name, sum, Checked::Table))
    };
    known(Packing::Xz)
        .or_else(|| known(Packing::Gzip))
        .or_else(|| {
            let knows_xz = job
                .table
                .release(version)
                .is_some_and(|release| release.tar_xz.is_some());
            let packing = if knows_xz { Packing::Gzip } else { Packing::Xz };
            Some((ArchiveName { version, packing }, job.given?, Checked::Given))
        })
}

impl Provider for PythonOrg {
    fn name(&self) -> ProviderName {
        ProviderName::PythonOrg
    }

    fn serve(
        &self,
        job: &Job<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Source, Box<dyn Error + Send + Sync>> {
        Ok(self.fetch(job, progress)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pre_release_lies_in_the_folder_of_its_release() {
        let name = |version: &str, packing| ArchiveName {
            version: version.parse().unwrap(),
            packing,
        };
        let there = PythonOrg::new(None);
        assert_eq!(
            there.url(name("3.15.0rc2", Packing::Xz)),
            "https://www.python.org/ftp/python/3.15.0/Python-3.15.0rc2.tar.xz"
        );
        let mirror = PythonOrg::new(Some(OsStr::new("http://127.0.0.1:8000/")));
        assert_eq!(
            mirror.url(name("3.11.2", Packing::Gzip)),
            "http://127.0.0.1:8000/ftp/python/3.11.2/Python-3.11.2.tgz"
        );
    }
}
