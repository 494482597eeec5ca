//! Source that is on this machine: a path that the user gave, and the folders in `GILBUILD_SOURCE_DIR`.

use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::archive_name::ArchiveName;
use super::patchlevel::{self, PatchlevelError};
use super::progress::Progress;
use super::provider::{Job, Provider, ProviderName};
use super::request::Wanted;
use super::sha256::Sha256;
use super::source::{Checked, Material, Source};
use super::version::Version;

/// Serves a path, and folders that hold archives or a tree.
pub(crate) struct Local {
    /// What the user named with `--source`; then nothing else is looked at.
    path: Option<PathBuf>,
    /// The folders in `GILBUILD_SOURCE_DIR`.
    folders: Vec<PathBuf>,
}

/// Why nothing on this machine serves.
#[derive(Debug, thiserror::Error)]
enum LocalError {
    #[error("GILBUILD_SOURCE_DIR is not set")]
    NoFolders,
    #[error("nothing fitting in {}", list(.0))]
    Nothing(Vec<PathBuf>),
    #[error("`{}` does not exist", .0.display())]
    Missing(PathBuf),
    #[error("`{}` holds CPython {found}", path.display())]
    OtherVersion { path: PathBuf, found: Version },
    #[error(
        "`{}` has SHA-256 {found}, expected is {expected}; get it again, or name it with --source if it is meant to differ",
        path.display()
    )]
    WrongSum {
        path: PathBuf,
        found: Sha256,
        expected: Sha256,
    },
    #[error("`{}` has SHA-256 {found}, not {given} as was asked for", path.display())]
    NotAsGiven {
        path: PathBuf,
        found: Sha256,
        given: Sha256,
    },
    #[error("`{}` is a folder, and a folder has no SHA-256; leave --sha256 out", .0.display())]
    SumOfFolder(PathBuf),
    #[error(transparent)]
    Tree(#[from] PatchlevelError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    quoted.join(", ")
}

impl Local {
    /// `folders` as `GILBUILD_SOURCE_DIR` has them: separated by colons.
    pub(crate) fn new(path: Option<PathBuf>, folders: Option<&OsStr>) -> Self {
        let folders = folders
            .map(|folders| {
                std::env::split_paths(folders)
                    .filter(|folder| !folder.as_os_str().is_empty())
                    .collect()
            })
            .unwrap_or_default();
        Self { path, folders }
    }

    fn find(&self, job: &Job<'_>) -> Result<Source, LocalError> {
        if let Some(path) = &self.path {
            return named(path, job);
        }
        if let Wanted::Archive(path) | Wanted::Folder(path) = job.wanted {
            return named(path, job);
        }
        if self.folders.is_empty() {
            return Err(LocalError::NoFolders);
        }
        let mut refused = LocalError::Nothing(self.folders.clone());
        for folder in &self.folders {
            match in_folder(folder, job) {
                Ok(Some(source)) => return Ok(source),
                Ok(None) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// What the user named: an archive, a tree, or a folder of archives.
fn named(path: &Path, job: &Job<'_>) -> Result<Source, LocalError> {
    if !path.exists() {
        return Err(LocalError::Missing(path.to_owned()));
    }
    if path.is_dir() {
        if patchlevel::is_tree(path) {
            return tree(path, job);
        }
        let nothing = || match job.wanted {
            Wanted::Archive(_) | Wanted::Folder(_) => PatchlevelError::Missing {
                path: path.to_owned(),
            }
            .into(),
            Wanted::Series(_) | Wanted::Exact(_) => LocalError::Nothing(vec![path.to_owned()]),
        };
        if matches!(job.wanted, Wanted::Folder(_)) {
            return Err(nothing());
        }
        return in_folder(path, job)?.ok_or_else(nothing);
    }
    let sha256 = Sha256::of_file(path)?;
    if let Some(given) = job.given.filter(|given| *given != sha256) {
        return Err(LocalError::NotAsGiven {
            path: path.to_owned(),
            found: sha256,
            given,
        });
    }
    let version = patchlevel::version_of_archive(path)?;
    if !job.wanted.accepts(version) {
        return Err(LocalError::OtherVersion {
            path: path.to_owned(),
            found: version,
        });
    }
    let is_released = job.table.release(version).is_some_and(|release| {
        let sums = [release.tar_xz, release.tgz];
        sums.iter().flatten().any(|facts| facts.sha256 == sha256)
    });
    let checked = match (is_released, job.given) {
        (true, _) => Checked::Table,
        (false, Some(_)) => Checked::Given,
        (false, None) => Checked::Nothing,
    };
    Ok(archive(path.to_owned(), version, sha256, checked))
}

fn tree(path: &Path, job: &Job<'_>) -> Result<Source, LocalError> {
    if job.given.is_some() {
        return Err(LocalError::SumOfFolder(path.to_owned()));
    }
    let version = patchlevel::version_of_folder(path)?;
    if !job.wanted.accepts(version) {
        return Err(LocalError::OtherVersion {
            path: path.to_owned(),
            found: version,
        });
    }
    Ok(Source {
        version,
        material: Material::Folder(path.to_owned()),
        provider: ProviderName::Local,
        origin: path.display().to_string(),
        refusals: Vec::new(),
    })
}

/// The best fitting archive of a folder, or the folder itself if it is a tree that fits.
fn in_folder(folder: &Path, job: &Job<'_>) -> Result<Option<Source>, LocalError> {
    if patchlevel::is_tree(folder) {
        return tree(folder, job).map(Some);
    }
    let mut candidates = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(ArchiveName::parse);
        candidates.extend(
            name.filter(|name| job.wanted.accepts(name.version))
                .map(|name| (name, entry.path())),
        );
    }
    candidates
        .sort_by_key(|(name, _)| std::cmp::Reverse((name.version.preference(), name.packing)));
    let mut refused = None;
    for (name, path) in candidates {
        match checked(name, path, job) {
            Ok(source) => return Ok(Some(source)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn checked(name: ArchiveName, path: PathBuf, job: &Job<'_>) -> Result<Source, LocalError> {
    let found = Sha256::of_file(&path)?;
    match job.expected(name) {
        Some((expected, _)) if expected != found => Err(LocalError::WrongSum {
            path,
            found,
            expected,
        }),
        Some((_, checked)) => Ok(archive(path, name.version, found, checked)),
        None => Ok(archive(path, name.version, found, Checked::Nothing)),
    }
}

fn archive(path: PathBuf, version: Version, sha256: Sha256, checked: Checked) -> Source {
    Source {
        version,
        origin: path.display().to_string(),
        material: Material::Archive {
            path,
            sha256,
            checked,
        },
        provider: ProviderName::Local,
        refusals: Vec::new(),
    }
}

impl Provider for Local {
    fn name(&self) -> ProviderName {
        ProviderName::Local
    }

    fn serve(
        &self,
        job: &Job<'_>,
        _progress: &mut dyn Progress,
    ) -> Result<Source, Box<dyn Error + Send + Sync>> {
        Ok(self.find(job)?)
    }
}
