//! The whole way from a source to a verified prefix, done once for the same inputs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fs_err::File;
use gil_probes::catalogue::CONTRACT_VERSION;
use serde::Serialize;
use walkdir::WalkDir;

use super::compile::{Compilation, CompilerError, compiler, configure_arguments};
use super::install;
use super::log::{Log, LogError};
use super::options::{BuildOptions, Markers};
use super::patching::{self, Patch, PatchError};
use super::prefix::{BuildRecord, FORMAT, PatchRecord};
use super::verification::{self, MissingModule, VerifyError};
use super::workshop::Workshop;
use crate::folders::{self, FolderError};
use crate::sources::{Material, Progress, Sha256, Source, UnpackError, unpack};
use crate::terminal;

/// Why there is no prefix.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The source archive could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A patch does not fit.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// There is no compiler.
    #[error(transparent)]
    NoCompiler(#[from] CompilerError),
    /// `configure` or `make` failed.
    #[error(transparent)]
    Compile(#[from] LogError),
    /// What was built is not what it should be.
    #[error("what was built is not right and was not installed: {0}")]
    Verify(#[from] VerifyError),
    /// The folders of gilbuild are not known.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is something at the place of the prefix that gilbuild has not made.
    #[error("{} is there already and was not made by gilbuild from the same inputs: remove it, or name another folder with --prefix", .0.display())]
    Occupied(PathBuf),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A prefix that is ready for use.
#[derive(Debug)]
pub struct Built {
    /// Where it is.
    pub prefix: PathBuf,
    /// How it was made.
    pub record: BuildRecord,
    /// Whether it was there already.
    pub was_there: bool,
    /// Modules that the machine has not got the libraries for.
    pub missing: Vec<MissingModule>,
}

/// Builds a prefix from a source, or finds the one that was built from the same inputs.
///
/// `place` is where it is to stand; without it, in gilbuild's own folder under a name that tells its inputs.
///
/// # Errors
/// When a step fails. The place of the prefix is only touched when everything is complete.
pub fn build(
    source: &Source,
    options: &BuildOptions,
    place: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Built, BuildError> {
    let job = Job::new(source, options, Workshop::Machine)?;
    let record = &job.record;
    let name = record.folder_name();
    let home = folders::home()?;
    let prefix = match place {
        Some(place) => std::path::absolute(place)?,
        None => home.join("pythons").join(&name),
    };
    // Whoever builds the same meanwhile is waited for, and its result used.
    let _lock = lock(&home, &name)?;
    if let Some(there) = BuildRecord::read(&prefix).filter(|there| there.inputs == record.inputs) {
        return Ok(Built {
            prefix,
            record: there,
            was_there: true,
            missing: Vec::new(),
        });
    }
    if prefix.exists() {
        return Err(BuildError::Occupied(prefix));
    }

    let work = home.join("work").join(&name);
    remove(&work)?;
    let tree = work.join("tree");
    unpack(source, &tree, progress)?;
    let mut log = Log::create(&home.join("logs").join(format!("{name}.log")))?;
    // Beside its place, so that the last step is a rename.
    let staging = beside(&prefix)?;
    remove(&staging)?;
    let (staged, missing) = job.make(&tree, &prefix, &staging, &mut log)?;
    fs_err::rename(&staged, &prefix)?;
    remove(&staging)?;
    remove(&work)?;
    Ok(Built {
        prefix,
        record: job.record,
        was_there: false,
        missing,
    })
}

/// One interpreter to be made: everything that decides what comes out.
pub struct Job<'a> {
    options: &'a BuildOptions,
    workshop: Workshop,
    patches: Vec<Patch>,
    /// How it will have been made.
    pub record: BuildRecord,
}

impl<'a> Job<'a> {
    /// Collects what decides about the outcome.
    ///
    /// # Errors
    /// When the source cannot be read or the workshop has no compiler.
    pub fn new(
        source: &Source,
        options: &'a BuildOptions,
        workshop: Workshop,
    ) -> Result<Self, BuildError> {
        let patches = all_patches(source, options);
        let additional = workshop.configure_arguments();
        let compiler = compiler(&workshop)?;
        let record = record(source, options, &patches, compiler, additional)?;
        Ok(Self {
            options,
            workshop,
            patches,
            record,
        })
    }

    /// From an unpacked tree to a verified prefix below `staging`; `prefix` is its place in the end, as the workshop calls it.
    ///
    /// # Errors
    /// When a step fails.
    pub fn make(
        &self,
        tree: &Path,
        prefix: &Path,
        staging: &Path,
        log: &mut Log,
    ) -> Result<(PathBuf, Vec<MissingModule>), BuildError> {
        patch(tree, &self.patches, self.options)?;
        let compilation = Compilation {
            tree,
            prefix,
            workshop: &self.workshop,
            options: self.options,
            configure: &self.record.configure,
            objects: patching::objects_with_markers(&self.patches)
                .map(str::to_owned)
                .collect(),
        };
        compilation.run(log)?;
        let staged = install::stage(&compilation, staging, log)?;
        self.record.write(&staged)?;
        let missing = verification::verify(&self.workshop, &staged, self.options.markers)?;
        Ok((staged, missing))
    }
}

/// A source tree made ready for being compiled by others: header and patches are in it. Returns the object files that hold markers.
///
/// # Errors
/// When a patch does not fit.
pub fn prepare(
    source: &Source,
    options: &BuildOptions,
    tree: &Path,
) -> Result<Vec<String>, BuildError> {
    let patches = all_patches(source, options);
    patch(tree, &patches, options)?;
    Ok(patching::objects_with_markers(&patches)
        .map(str::to_owned)
        .collect())
}

/// The record of a tree that others have compiled, with what their compiler calls itself.
///
/// # Errors
/// When the source cannot be read.
pub fn record_of(
    source: &Source,
    options: &BuildOptions,
    compiler: String,
) -> Result<BuildRecord, BuildError> {
    let patches = all_patches(source, options);
    record(source, options, &patches, compiler, &[])
}

fn patch(tree: &Path, patches: &[Patch], options: &BuildOptions) -> Result<(), PatchError> {
    if options.markers != Markers::None {
        patching::add_headers(tree)?;
    }
    patching::apply(tree, patches)
}

fn all_patches(source: &Source, options: &BuildOptions) -> Vec<Patch> {
    let mut patches = Vec::new();
    if options.markers != Markers::None {
        let series = source.version.series.to_string();
        patches.extend(patching::bundled(&series, options.free_threaded));
    }
    patches.extend(options.patches.iter().cloned());
    patches
}

fn record(
    source: &Source,
    options: &BuildOptions,
    patches: &[Patch],
    compiler: String,
    additional: &[String],
) -> Result<BuildRecord, BuildError> {
    let mut record = BuildRecord {
        format: FORMAT,
        python: source.version.to_string(),
        free_threaded: options.free_threaded,
        markers: options.markers,
        contract: CONTRACT_VERSION,
        optimize: options.optimize,
        source: String::new(),
        source_sha256: digest_of_material(&source.material)?,
        patches: patches
            .iter()
            .map(|patch| {
                Ok(PatchRecord {
                    name: patch.name.clone(),
                    sha256: digest_of_bytes(patch.text.as_bytes())?,
                })
            })
            .collect::<std::io::Result<_>>()?,
        configure: options.configure.clone().unwrap_or_else(|| {
            let own = configure_arguments(options);
            [own, additional.to_vec()].concat()
        }),
        compiler,
        inputs: String::new(),
    };
    let headers = (options.markers != Markers::None).then(patching::headers);
    record.inputs = digest(&Inputs {
        record: &record,
        header: headers,
    })?;
    // The same bytes from another place are the same input.
    record.source.clone_from(&source.origin);
    Ok(record)
}

/// What decides what is built: everything that the record says, and the headers.
#[derive(Serialize)]
struct Inputs<'a> {
    record: &'a BuildRecord,
    header: Option<String>,
}

fn digest(inputs: &Inputs<'_>) -> std::io::Result<String> {
    let bytes = serde_json::to_vec(inputs).map_err(std::io::Error::other)?;
    digest_of_bytes(&bytes)
}

fn digest_of_material(material: &Material) -> std::io::Result<String> {
    match material {
        Material::Archive { sha256, .. } => Ok(sha256.to_string()),
        Material::Folder(folder) => digest_of_folder(folder),
    }
}

/// The digest of a folder's files, by name and content; version control's own folder is not part of the source.
fn digest_of_folder(folder: &Path) -> std::io::Result<String> {
    let mut manifest = String::new();
    let entries = WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".git");
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let sum = Sha256::of_file(entry.path())?;
            let _ = writeln!(manifest, "{sum} {}", name.display());
        }
    }
    digest_of_bytes(manifest.as_bytes())
}

fn digest_of_bytes(bytes: &[u8]) -> std::io::Result<String> {
    Ok(Sha256::of_reader(bytes)?.to_string())
}

fn lock(home: &Path, name: &str) -> std::io::Result<File> {
    let folder = home.join("locks");
    fs_err::create_dir_all(&folder)?;
    let file = File::create(folder.join(name))?;
    if file.file().try_lock().is_err() {
        terminal::step("Waiting", "the same is being built by another gilbuild");
        file.file().lock()?;
    }
    Ok(file)
}

fn beside(prefix: &Path) -> std::io::Result<PathBuf> {
    let parent = prefix.parent().unwrap_or(Path::new("/"));
    fs_err::create_dir_all(parent)?;
    let name = prefix.file_name().unwrap_or_default().to_string_lossy();
    Ok(parent.join(format!(".{name}.staging")))
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
