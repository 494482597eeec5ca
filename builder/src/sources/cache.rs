//! Archives that were fetched before, in the user's cache folder, and the provider that serves them.
//!
//! An archive stands there under upstream's name, with its sum beside it in the form of `sha256sum`. Who writes or removes
//! one holds its lock; who reads one needs none, because a file is only ever replaced as a whole.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err::File;

use super::archive_name::ArchiveName;
use super::progress::{Progress, Silent};
use super::provider::{Job, Provider, ProviderName};
use super::sha256::Sha256;
use super::source::{Checked, Material, Source};
use super::version::Version;

/// The cache folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// Held while a file in the cache is written; let go when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Serves what is in the cache.
pub(crate) struct CacheProvider;

#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("nothing fitting in `{}`", .0.display())]
    Nothing(PathBuf),
    #[error("`{}` had a wrong SHA-256 and was removed: {found} instead of {expected}", path.display())]
    Removed {
        path: PathBuf,
        expected: Sha256,
        found: Sha256,
    },
    #[error("`{}` has SHA-256 {found}, not {given} as was asked for", path.display())]
    NotAsGiven {
        path: PathBuf,
        given: Sha256,
        found: Sha256,
    },
    #[error("nothing vouches for `{}`; remove it, or give its sum with --sha256", .0.display())]
    Unknown(PathBuf),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, name: ArchiveName) -> PathBuf {
        self.folder.join(name.upstream())
    }

    /// Waits until no other build writes what `name` stands for.
    pub(crate) fn lock(&self, name: &str, progress: &mut dyn Progress) -> io::Result<Lock> {
        let locks = self.folder.join("locks");
        fs_err::create_dir_all(&locks)?;
        let path = locks.join(name);
        let file = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        if file.file().try_lock().is_err() {
            progress.step(&format!("waiting for another build that fetches {name}"));
            file.file().lock()?;
        }
        Ok(Lock { _file: file })
    }

    /// The archive, if it is there with this sum.
    pub(crate) fn find(&self, name: ArchiveName, sha256: Sha256) -> Option<PathBuf> {
        let path = self.path(name);
        (Sha256::of_file(&path).ok()? == sha256).then_some(path)
    }

    /// Moves a checked file into its place. The caller holds the lock.
    pub(crate) fn keep(
        &self,
        file: &Path,
        name: ArchiveName,
        sha256: Sha256,
    ) -> io::Result<PathBuf> {
        let path = self.path(name);
        let mut sum = tempfile::NamedTempFile::new_in(&self.folder)?;
        writeln!(sum, "{sha256}  {}", name.upstream())?;
        fs_err::rename(file, &path)?;
        sum.persist(sum_path(&path))?;
        Ok(path)
    }

    fn remove(&self, name: ArchiveName, wrong: Sha256) -> io::Result<()> {
        let _lock = self.lock(&name.upstream(), &mut Silent)?;
        let path = self.path(name);
        // Another build may have replaced it while this one waited.
        if Sha256::of_file(&path)? == wrong {
            fs_err::remove_file(&path)?;
            let _ = fs_err::remove_file(sum_path(&path));
        }
        Ok(())
    }

    fn kept_sum(&self, name: ArchiveName) -> Option<Sha256> {
        let text = fs_err::read_to_string(sum_path(&self.path(name))).ok()?;
        text.split_whitespace().next()?.parse().ok()
    }

    /// Fitting archives, best first.
    fn candidates(&self, accepts: impl Fn(Version) -> bool) -> io::Result<Vec<ArchiveName>> {
        if !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs_err::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let name = name
                .to_str()
                .and_then(|text| ArchiveName::parse(text).filter(|name| name.upstream() == text));
            names.extend(name.filter(|name| accepts(name.version)));
        }
        names.sort_by_key(|name| std::cmp::Reverse((name.version.preference(), name.packing)));
        Ok(names)
    }
}

fn sum_path(archive: &Path) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(".sha256");
    path.into()
}

impl CacheProvider {
    fn check(name: ArchiveName, job: &Job<'_>) -> Result<Source, CacheError> {
        let path = job.cache.path(name);
        let found = Sha256::of_file(&path)?;
        let known = job.table.archive(name).map(|facts| facts.sha256);
        let (expected, checked) = match (known, job.cache.kept_sum(name), job.given) {
            (Some(known), _, _) => (known, Checked::Table),
            (None, Some(kept), _) => (kept, Checked::Kept),
            (None, None, Some(given)) => (given, Checked::Given),
            (None, None, None) => return Err(CacheError::Unknown(path)),
        };
        if found != expected {
            job.cache.remove(name, found)?;
            return Err(CacheError::Removed {
                path,
                expected,
                found,
            });
        }
        if let Some(given) = job.given.filter(|given| *given != found) {
            return Err(CacheError::NotAsGiven { path, given, found });
        }
        Ok(Source {
            version: name.version,
            origin: path.display().to_string(),
            material: Material::Archive {
                path,
                sha256: found,
                checked,
            },
            provider: ProviderName::Cache,
            refusals: Vec::new(),
        })
    }
}

impl Provider for CacheProvider {
    fn name(&self) -> ProviderName {
        ProviderName::Cache
    }

    fn serve(
        &self,
        job: &Job<'_>,
        _progress: &mut dyn Progress,
    ) -> Result<Source, Box<dyn Error + Send + Sync>> {
        let mut refused = CacheError::Nothing(job.cache.folder().to_owned());
        for name in job
            .cache
            .candidates(|version| job.wanted.accepts(version))?
        {
            match Self::check(name, job) {
                Ok(source) => return Ok(source),
                Err(error) => refused = error,
            }
        }
        Err(refused.into())
    }
}
