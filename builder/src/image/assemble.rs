//! An interpreter put into an image: its libraries' packages, its files, what describes it, all in one layer.

use std::io;
use std::path::Path;

use gil_containers::configuration::Configuration;
use gil_containers::debian::{self, PackageError};
use gil_containers::image::{Image, ImageError, LayerOptions};
use gil_containers::layer::{Layer, Snapshot};
use gil_containers::layout::Layout;
use gil_containers::process::{self, ProcessError};
use gil_containers::root::{Network, Root};

use super::description::{self, DescriptionError, Subject};
use super::interpreter::{Interpreter, copy};
use super::{labels, recipe};
use crate::build::options::BuildOptions;
use crate::build::pipeline::{self, BuildError};
use crate::build::prefix::BuildRecord;
use crate::build::verification::{self, VerifyError};
use crate::sources::Source;

/// Why the image cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The base cannot be unpacked, or the layer not written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The packages of the interpreter's libraries cannot be installed.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// A program failed; so may the new interpreter.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The interpreter is not what it should be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The record of what was built cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It cannot be described.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What has come onto the image.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The layer.
    pub layer: Layer,
    /// The list of what is in the image, an SPDX document.
    pub sbom: String,
}

/// Puts the interpreter onto the image. `work` is an empty folder for what is needed meanwhile.
///
/// # Errors
/// When a step fails; the image is then as it was.
pub fn assemble(
    image: &mut Image,
    layout: &Layout,
    interpreter: &Interpreter,
    work: &Path,
    options: &LayerOptions,
) -> Result<Assembled, AssembleError> {
    let target = work.join("target");
    fs_err::create_dir(&target)?;
    image.unpack(layout, &target)?;
    let before = Snapshot::of(&target)?;
    let root = Root::new(&target)?;

    let packages: Vec<String> = interpreter.packages.iter().cloned().collect();
    debian::install(&root, &packages, options.newest_s)?;
    let prefix = root.make_folder(Path::new(recipe::PREFIX))?;
    copy(&interpreter.prefix.join("."), &prefix)?;
    add_pip(&prefix.join("bin"))?;
    finish(image, layout, &root, &before, &interpreter.record, options)
}

/// Takes over what an engine has made of the image, as one layer of our own. `work` is an empty folder for what is needed meanwhile.
///
/// # Errors
/// When a step fails, or its markers break the contract; the image is then as it was.
pub fn adopt(
    image: &mut Image,
    layout: &Layout,
    made: &Made<'_>,
    work: &Path,
    options: &LayerOptions,
) -> Result<Assembled, AssembleError> {
    let [bare, target] = ["bare", "target"].map(|name| work.join(name));
    fs_err::create_dir(&bare)?;
    image.unpack(layout, &bare)?;
    let before = Snapshot::of(&bare)?;
    fs_err::remove_dir_all(&bare)?;
    fs_err::create_dir(&target)?;
    made.image.unpack(layout, &target)?;
    let root = Root::new(&target)?;

    let prefix = root.find(Path::new(recipe::PREFIX))?;
    let compiler = prefix.join(description::FOLDER).join("compiler");
    let name = fs_err::read_to_string(&compiler)?.trim().to_owned();
    fs_err::remove_file(compiler)?;
    let mut record = pipeline::record_of(made.source, made.options, name)?;
    record.source = format!("CPython {}", made.source.version);
    record.write(&prefix)?;
    let code = verification::interpreter_file(&prefix)?;
    verification::check_markers(&code, record.markers)?;
    finish(image, layout, &root, &before, &record, options)
}

/// What an engine has made of what.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The engine's image, in the layout of the base.
    pub image: &'a Image,
    /// Where the source came from.
    pub source: &'a Source,
    /// What was chosen.
    pub options: &'a BuildOptions,
}

/// From files to a layer, and to what the image says of itself.
fn finish(
    image: &mut Image,
    layout: &Layout,
    root: &Root,
    before: &Snapshot,
    record: &BuildRecord,
    options: &LayerOptions,
) -> Result<Assembled, AssembleError> {
    let prefix = root.find(Path::new(recipe::PREFIX))?;
    let folder = prefix.join(description::FOLDER);
    fs_err::create_dir_all(&folder)?;
    let code = verification::interpreter_file(&prefix)?;
    let subject = Subject {
        root,
        prefix: &prefix,
        code: &code,
        record,
    };
    let sbom = subject.describe(&folder, options.newest_s)?;
    root.run("ldconfig", &[])?;
    for program in ["python3", "pip3"] {
        try_out(root, program)?;
    }

    let mut changes = before.changes_to(&Snapshot::of(root.folder())?);
    changes.forget(debian::is_leftover);
    // dpkg keeps the state before its last change.
    changes.forget(|path| {
        path.starts_with("var/lib/dpkg") && path.to_string_lossy().ends_with("-old")
    });
    let layer = image.add_layer(layout, root.folder(), &changes, options)?;
    configure(&mut image.configuration, record);
    Ok(Assembled { layer, sbom })
}

/// `ensurepip` leaves the name `pip` to whoever installs.
fn add_pip(bin: &Path) -> io::Result<()> {
    if bin.join("pip3").exists() && !bin.join("pip").exists() {
        fs_err::os::unix::fs::symlink("pip3", bin.join("pip"))?;
    }
    Ok(())
}

fn try_out(root: &Root, program: &str) -> Result<(), ProcessError> {
    let mut command = root.command(program, Path::new("/"), Network::None);
    command.arg("--version").env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(&mut command, "python3").map(drop)
}

/// The environment, the command and the labels.
fn configure(configuration: &mut Configuration, record: &BuildRecord) {
    let path = configuration
        .variable("PATH")
        .unwrap_or(recipe::DEFAULT_PATH)
        .to_owned();
    let bin = format!("{}/bin", recipe::PREFIX);
    if !path.starts_with(&format!("{bin}:")) {
        configuration.set_variable("PATH", &format!("{bin}:{path}"));
    }
    configuration.set_variable("LANG", recipe::LANG);
    configuration.set_variable("PYTHON_VERSION", &record.python);
    configuration.set_variable("PYTHON_SHA256", &record.source_sha256);
    configuration.set_command(&recipe::COMMAND);
    for (name, value) in labels::of_image(record)
        .into_iter()
        .chain(labels::of_interpreter(record))
    {
        configuration.set_label(name, &value);
    }
}
