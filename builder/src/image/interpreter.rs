//! The interpreter of an image: built in a root of the image's own distribution, so that it fits the libraries there.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use fs_err::File;
use gil_containers::debian::{self, PackageError};
use gil_containers::digest::Digest;
use gil_containers::image::{Image, ImageError};
use gil_containers::layout::Layout;
use gil_containers::process::{self, ProcessError};
use gil_containers::root::{Network, Root};
use walkdir::WalkDir;

use super::{gilprobe, recipe};
use crate::build::log::Log;
use crate::build::options::BuildOptions;
use crate::build::pipeline::{BuildError, Job};
use crate::build::prefix::BuildRecord;
use crate::build::verification::MissingModule;
use crate::build::workshop::Workshop;
use crate::folders::{self, FolderError};
use crate::sources::Source;
use crate::terminal::Progress;

/// Why there is no interpreter for the image.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// The base cannot be unpacked.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What it is built with cannot be installed.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// The build failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A program of the build root failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// There is no folder to keep things in.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Where the source came from.
    pub source: &'a Source,
    /// The source, unpacked.
    pub tree: &'a Path,
    /// What was chosen.
    pub options: &'a BuildOptions,
    /// Where the interpreter will stand in the image.
    pub prefix: &'a Path,
    /// The time that it may contain, in seconds since 1970.
    pub newest_s: u64,
    /// Whether the Python package `gilprobe` comes with it.
    pub gilprobe: bool,
}

/// An interpreter that is ready to be put into an image.
#[derive(Debug)]
pub struct Interpreter {
    /// The folder that becomes the prefix in the image.
    pub prefix: PathBuf,
    /// How it was made.
    pub record: BuildRecord,
    /// The Debian packages whose libraries it links.
    pub packages: BTreeSet<String>,
    /// Modules that could not be built.
    pub missing: Vec<MissingModule>,
}

/// The prefix, in the folder where it is kept.
const INSTALLED: &str = "prefix";
/// The list of needed packages, beside it.
const PACKAGES: &str = "packages";

/// Builds the interpreter in a root of `base`, or finds the one that was built from the same inputs on the same base.
///
/// # Errors
/// When a step fails; then nothing is kept of it but its log.
pub fn build(
    order: &Order<'_>,
    base: &Image,
    layout: &Layout,
) -> Result<Interpreter, InterpreterError> {
    let newest_s = order.newest_s;
    let key = key_of_root(base)?;
    let kept = folders::cache()?.join("images");
    // One build at a time in a root: whoever wants the same waits, and finds it done.
    let _lock = lock(&kept, &key)?;
    let root = build_root(base, layout, &kept.join("roots").join(&key), newest_s)?;
    let mut job = Job::new(order.source, order.options, workshop(&root, newest_s)?)?;
    // Where on this machine the source was is nothing that an image should tell, and would make images differ.
    job.record.source = format!("CPython {}", order.source.version);
    let inputs = format!(
        "{} {key} {newest_s} {} {}",
        job.record.inputs,
        order.prefix.display(),
        if order.gilprobe {
            gilprobe::digest().to_string()
        } else {
            String::new()
        }
    );
    let digest = Digest::of(inputs.as_bytes());
    let place = kept.join("interpreters").join(format!(
        "{}-{}",
        job.record.folder_name(),
        &digest.hex()[..8]
    ));
    if let Some(packages) = kept_packages(&place)? {
        return Ok(Interpreter {
            prefix: place.join(INSTALLED),
            record: job.record,
            packages,
            missing: Vec::new(),
        });
    }

    let inside = root.outside(Path::new(recipe::SOURCE));
    let staging = root.outside(Path::new("/usr/src/staging"));
    remove(&inside)?;
    remove(&staging)?;
    copy(order.tree, &inside)?;
    let log = kept.join("logs").join(format!("{}.log", digest.hex()));
    let (staged, missing) = job.make(&inside, order.prefix, &staging, &mut Log::create(&log)?)?;
    if order.gilprobe {
        gilprobe::write(&inside)?;
        let mut command = root.command("sh", Path::new(recipe::SOURCE), Network::None);
        command.arg(gilprobe::INSTALL).arg(root.inside(&staged));
        process::run(&mut command, "gcc")?;
    }
    leave_out(&staged)?;
    let packages = debian::needed_by(&root, &root.inside(&staged), &recipe::WITHOUT_PACKAGES)?;
    remove(&place)?;
    fs_err::create_dir_all(&place)?;
    fs_err::rename(&staged, place.join(INSTALLED))?;
    let list: Vec<&str> = packages.iter().map(String::as_str).collect();
    // Written last: with it, the prefix is complete.
    fs_err::write(place.join(PACKAGES), list.join("\n"))?;
    remove(&inside)?;
    remove(&staging)?;
    Ok(Interpreter {
        prefix: place.join(INSTALLED),
        record: job.record,
        packages,
        missing,
    })
}

/// The same base and the same packages for building make the same root.
fn key_of_root(base: &Image) -> Result<String, InterpreterError> {
    let layers = base.configuration.diff_ids().map_err(ImageError::from)?;
    let mut text = recipe::BUILD_PACKAGES.join(" ");
    for layer in layers {
        text.push(' ');
        text.push_str(&layer.to_string());
    }
    Ok(Digest::of(text.as_bytes()).hex()[..16].to_owned())
}

/// The base's root with what CPython is compiled with, made once.
fn build_root(
    base: &Image,
    layout: &Layout,
    place: &Path,
    newest_s: u64,
) -> Result<Root, InterpreterError> {
    if !place.is_dir() {
        let progress = Progress::start(
            "Preparing",
            "a build root: the base with compiler and libraries",
        );
        let unfinished = place.with_extension("unfinished");
        remove(&unfinished)?;
        fs_err::create_dir_all(&unfinished)?;
        base.unpack(layout, &unfinished)?;
        let root = Root::new(&unfinished)?;
        let packages = recipe::BUILD_PACKAGES.map(str::to_owned);
        debian::install(&root, &packages, newest_s)?;
        fs_err::rename(&unfinished, place)?;
        progress.finish();
    }
    Ok(Root::new(place)?)
}

/// The root, with the flags that its distribution builds its own packages with.
fn workshop(root: &Root, newest_s: u64) -> Result<Workshop, InterpreterError> {
    let folder = Path::new(recipe::SOURCE);
    fs_err::create_dir_all(root.outside(folder))?;
    let ask = |program: &str, arguments: &[&str]| {
        let mut command = root.command(program, folder, Network::None);
        let answer = process::run(command.args(arguments), "dpkg-dev")?;
        Ok::<_, ProcessError>(answer.trim().to_owned())
    };
    let architecture = ask("dpkg-architecture", &["--query", "DEB_BUILD_GNU_TYPE"])?;
    let linker_flags = ask("dpkg-buildflags", &["--get", "LDFLAGS"])?;
    Ok(Workshop::Root {
        root: root.clone(),
        configure: vec![format!("--build={architecture}")],
        compiler_flags: ask("dpkg-buildflags", &["--get", "CFLAGS"])?,
        linker_flags: format!("{linker_flags} {}", recipe::LINKER_FLAGS),
        newest_s,
    })
}

/// Removes from a prefix what an image has no use for.
fn leave_out(prefix: &Path) -> io::Result<()> {
    let mut entries = WalkDir::new(prefix).into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() {
            if recipe::LEFT_OUT_FOLDERS.contains(&&*name) {
                fs_err::remove_dir_all(path)?;
                entries.skip_current_dir();
            }
        } else if path.extension().is_some_and(|end| {
            recipe::LEFT_OUT_SUFFIXES
                .iter()
                .any(|suffix| end == *suffix)
        }) {
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}

fn kept_packages(place: &Path) -> io::Result<Option<BTreeSet<String>>> {
    match fs_err::read_to_string(place.join(PACKAGES)) {
        Ok(list) => Ok(Some(list.lines().map(str::to_owned).collect())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies a folder with all that files have.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), ProcessError> {
    let mut command = std::process::Command::new("cp");
    command.arg("--archive").arg("--").arg(from).arg(to);
    process::run(&mut command, "coreutils").map(drop)
}

fn lock(folder: &Path, name: &str) -> io::Result<File> {
    let locks = folder.join("locks");
    fs_err::create_dir_all(&locks)?;
    let file = File::create(locks.join(name))?;
    file.file().lock()?;
    Ok(file)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
