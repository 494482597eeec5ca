//! `gilbuild image`: from a version to an image with an interpreter that has GIL markers, without a daemon.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use gil_containers::archive::ArchiveError;
use gil_containers::base::{Base, BaseError};
use gil_containers::debian::{BootstrapError, PackageError};
use gil_containers::digest::Digest;
use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::Compression;
use gil_containers::layout::{Layout, LayoutError};
use gil_containers::output::Output;
use gil_containers::platform::Platform;
use gil_containers::process::ProcessError;
use gil_containers::registry::{Reference, Transport};

use super::build::Inputs;
use crate::build::options::Optimize;
use crate::environment::SOURCE_DATE_EPOCH;
use crate::error::{CommandError, Exit};
use crate::folders;
use crate::image::assemble::{Assembled, assemble};
use crate::image::interpreter::{self, InterpreterError};
use crate::image::privilege;
use crate::image::push::Push;
use crate::sources::{self, Source};
use crate::sources_progress::Shown;
use crate::terminal::{self, Progress, Unit};

/// Build a container image with an interpreter that has GIL markers
///
/// The image is laid out like the official slim ones. The interpreter is compiled in a root of the image's own
/// distribution. Prints the reference with its digest on stdout. Needs no daemon, and no root where user namespaces are
/// allowed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to build: a series (3.13), a release (3.13.5), each with `t` behind it for the free-threaded build, a
    /// source archive, or a source folder
    #[arg(value_name = "VERSION|PATH")]
    wanted: String,
    /// What the image starts from: a Debian suite, an image in a registry, oci:DIR[:TAG], oci-archive:FILE[:TAG],
    /// rootfs:DIR, or a tar archive
    #[arg(long, default_value = "bookworm")]
    base: Base,
    /// The compiler's effort
    #[arg(long, value_enum, default_value_t = Optimize::PgoLto)]
    optimize: Optimize,
    #[command(flatten)]
    inputs: Inputs,
    /// How layers are compressed: gzip, zstd or none
    #[arg(long, default_value_t)]
    compression: Compression,
    /// What to call the image [default: python:VERSION-gil]
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Where to put it: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG] (any number)
    #[arg(long, required_unless_present = "push")]
    output: Vec<Output>,
    /// Send it to a registry, with the login of `podman login` or `docker login` (any number)
    #[arg(long, value_name = "REF")]
    push: Vec<Reference>,
    /// Speak to registries without encryption; on this machine itself that needs no saying
    #[arg(long)]
    plain_http: bool,
}

/// Runs the command.
///
/// # Errors
/// When a source or the base cannot be had, a step of the build fails, or an output cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    privilege::ensure().map_err(|error| CommandError::because(Exit::NotThisMachine, &error))?;
    let start = Instant::now();
    let (source, options) = arguments
        .inputs
        .resolve(&arguments.wanted, arguments.optimize)?;

    let work = tempfile::Builder::new()
        .prefix("gilbuild-image")
        .tempdir()?;
    let folder = |name: &str| -> std::io::Result<PathBuf> {
        let folder = work.path().join(name);
        fs_err::create_dir(&folder)?;
        Ok(folder)
    };
    let tree = work.path().join("tree");
    unpack(&source, &tree)?;
    let layer_options = LayerOptions {
        newest_s: newest_s(&tree)?,
        compression: arguments.compression,
        created_by: format!("gilbuild image {}", source.version),
    };
    let layout = Layout::create(&work.path().join("layout"))
        .map_err(|error| CommandError::because(Exit::Failed, &error))?;

    let mut image = fetch_base(
        &arguments.base,
        &layout,
        &folder("base")?,
        &layer_options,
        transport(arguments),
    )?;
    let interpreter = interpreter::build(
        &source,
        &tree,
        &options,
        &image,
        &layout,
        layer_options.newest_s,
    )
    .map_err(|error| interpreter_failure(&error))?;
    for module in &interpreter.missing {
        terminal::warning(&format!("the module {} is not in it", module.name));
    }

    let progress = Progress::start("Assembling", "the image");
    let Assembled { layer, sbom } = assemble(
        &mut image,
        &layout,
        &interpreter,
        &folder("assembly")?,
        &layer_options,
    )
    .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    progress.finish();
    terminal::step(
        "Layer",
        &format!(
            "{} ({:.1} MB, {:.1} MB unpacked)",
            layer.digest,
            megabytes(layer.size),
            megabytes(layer.unpacked_size)
        ),
    );
    deliver(arguments, &source, &layout, &image, &sbom)?;
    let seconds = start.elapsed().as_secs();
    terminal::step(
        "Done",
        &format!("in {} min {:02} s", seconds / 60, seconds % 60),
    );
    Ok(())
}

/// Writes the image to where it was asked for, files first, and prints each reference.
fn deliver(
    arguments: &Arguments,
    source: &Source,
    layout: &Layout,
    image: &Image,
    sbom: &str,
) -> Result<(), CommandError> {
    let tag = arguments
        .tag
        .clone()
        .unwrap_or_else(|| format!("python:{}-gil", source.version));
    write(&arguments.output, layout, image, &tag)?;
    let push = Push {
        transport: transport(arguments),
        base: match &arguments.base {
            Base::Registry(reference) => Some(reference),
            _ => None,
        },
        sessions: &folders::cache()
            .map_err(|error| CommandError::because(Exit::Failed, &error))?
            .join("uploads"),
    };
    for reference in &arguments.push {
        let descriptor = image
            .store(layout)
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        push.run(reference, layout, &descriptor, sbom)
            .map_err(|error| {
                CommandError::new(
                    Exit::Failed,
                    format!("cannot push {}: {error}", reference.whole()),
                )
            })?;
        terminal::result(&format!("{}@{}", reference.whole(), descriptor.digest()))?;
    }
    Ok(())
}

fn transport(arguments: &Arguments) -> Transport {
    if arguments.plain_http {
        Transport::Plain
    } else {
        Transport::Encrypted
    }
}

/// Puts the base's image into the layout, and notes in its labels what it is.
fn fetch_base(
    base: &Base,
    layout: &Layout,
    work: &Path,
    options: &LayerOptions,
    transport: Transport,
) -> Result<Image, CommandError> {
    let mut progress = Progress::start("Fetching", &format!("the base {base}"));
    let mut shown = |digest: &Digest, done, total| {
        progress.part(&digest.to_string(), true);
        progress.position(done, total, Unit::Bytes);
    };
    let fetched = base
        .fetch(
            layout,
            work,
            &Platform::host(),
            options,
            transport,
            &mut shown,
        )
        .map_err(|error| base_failure(&error))?;
    progress.finish();
    let mut image = fetched.image;
    if let Base::Suite(_) | Base::Registry(_) = base {
        let name = "org.opencontainers.image.base.name";
        image.configuration.set_label(name, &base.to_string());
    }
    if let Some(digest) = fetched.digest {
        let name = "org.opencontainers.image.base.digest";
        image.configuration.set_label(name, &digest.to_string());
    }
    Ok(image)
}

fn unpack(source: &Source, tree: &Path) -> Result<(), CommandError> {
    let mut shown = Shown::default();
    sources::unpack(source, tree, &mut shown)
        .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    shown.finish();
    Ok(())
}

/// The time that everything in the image gets, at most: that of the source, unless the user says another. So the same source makes
/// the same image.
fn newest_s(tree: &Path) -> Result<u64, CommandError> {
    if let Some(text) = std::env::var_os(SOURCE_DATE_EPOCH) {
        let text = text.to_string_lossy();
        return text.parse().map_err(|_| {
            CommandError::new(
                Exit::Usage,
                format!(
                    "{SOURCE_DATE_EPOCH} is `{text}`: it must be a number of seconds since 1970"
                ),
            )
        });
    }
    let time = fs_err::metadata(tree.join("Include/patchlevel.h"))?.modified()?;
    // A clock before 1970 is no source's.
    let since_1970 = time
        .duration_since(UNIX_EPOCH)
        .or_else(|_| SystemTime::now().duration_since(UNIX_EPOCH));
    Ok(since_1970.map_or(0, |duration| duration.as_secs()))
}

fn write(
    outputs: &[Output],
    layout: &Layout,
    image: &Image,
    tag: &str,
) -> Result<(), CommandError> {
    for output in outputs {
        let progress = Progress::start("Writing", &output.to_string());
        let descriptor = output
            .write(layout, image, Some(tag))
            .map_err(|error| output_failure(output, &error))?;
        progress.finish();
        terminal::result(&format!("{output}@{}", descriptor.digest()))?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn output_failure(output: &Output, error: &ArchiveError) -> CommandError {
    CommandError::new(Exit::Failed, format!("cannot write {output}: {error}"))
}

fn base_failure(error: &BaseError) -> CommandError {
    let exit = match error {
        BaseError::Bootstrap(
            BootstrapError::Mirror(_)
            | BootstrapError::Process {
                error: ProcessError::Missing { .. },
                ..
            },
        ) => Exit::NotThisMachine,
        BaseError::Layout(LayoutError::NoImage { .. }) => Exit::Usage,
        _ => Exit::Failed,
    };
    CommandError::because(exit, error)
}

fn interpreter_failure(error: &InterpreterError) -> CommandError {
    let exit = match error {
        InterpreterError::Packages(PackageError::NoApt) => Exit::Usage,
        _ => Exit::Failed,
    };
    CommandError::because(exit, error)
}
