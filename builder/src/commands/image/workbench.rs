//! What all ways to an image share: the base, the source, the time, the interpreter.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gil_containers::base::{Base, BaseError, Fetched};
use gil_containers::debian::{BootstrapError, PackageError};
use gil_containers::digest::Digest;
use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::Layer;
use gil_containers::layout::{Layout, LayoutError};
use gil_containers::platform::Platform;
use gil_containers::process::ProcessError;
use gil_containers::registry::Transport;
use tempfile::TempDir;

use crate::environment::SOURCE_DATE_EPOCH;
use crate::error::{CommandError, Exit};
use crate::image::interpreter::{self, Interpreter, InterpreterError, Order};
use crate::sources::{self, Source};
use crate::sources_progress::Shown;
use crate::terminal::{self, Progress, Unit};

/// A folder for the time that the command runs, with the layout that the image grows in.
#[derive(Debug)]
pub(super) struct Workbench {
    work: TempDir,
    pub(super) layout: Layout,
}

impl Workbench {
    pub(super) fn new() -> Result<Self, CommandError> {
        let work = tempfile::Builder::new()
            .prefix("gilbuild-image")
            .tempdir()?;
        let layout = Layout::create(&work.path().join("layout"))
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        Ok(Self { work, layout })
    }

    /// A new, empty folder.
    pub(super) fn folder(&self, name: &str) -> std::io::Result<PathBuf> {
        let folder = self.work.path().join(name);
        fs_err::create_dir(&folder)?;
        Ok(folder)
    }

    /// Unpacks the source and returns its folder.
    pub(super) fn unpack(&self, source: &Source) -> Result<PathBuf, CommandError> {
        let tree = self.work.path().join("tree");
        let mut shown = Shown::default();
        sources::unpack(source, &tree, &mut shown)
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        shown.finish();
        Ok(tree)
    }

    /// Puts the image of a base into the layout.
    pub(super) fn fetch(
        &self,
        base: &Base,
        folder: &str,
        options: &LayerOptions,
        transport: Transport,
    ) -> Result<Fetched, CommandError> {
        let mut progress = Progress::start("Fetching", &format!("the image {base}"));
        let mut shown = |digest: &Digest, done, total| {
            progress.part(&digest.to_string(), true);
            progress.position(done, total, Unit::Bytes);
        };
        let fetched = base
            .fetch(
                &self.layout,
                &self.folder(folder)?,
                &Platform::host(),
                options,
                transport,
                &mut shown,
            )
            .map_err(|error| base_failure(&error))?;
        progress.finish();
        Ok(fetched)
    }

    /// Builds the interpreter and says what is not in it.
    pub(super) fn build(
        &self,
        order: &Order<'_>,
        base: &Image,
    ) -> Result<Interpreter, CommandError> {
        let interpreter = interpreter::build(order, base, &self.layout)
            .map_err(|error| interpreter_failure(&error))?;
        for module in &interpreter.missing {
            terminal::warning(&format!("the module {} is not in it", module.name));
        }
        Ok(interpreter)
    }
}

/// The time that everything in the image gets, at most: that of the source, unless the user says another. So the same source makes
/// the same image.
pub(super) fn newest_s(tree: &Path) -> Result<u64, CommandError> {
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

/// Says how large a layer has become.
pub(super) fn say(layer: &Layer) {
    terminal::step(
        "Layer",
        &format!(
            "{} ({:.1} MB, {:.1} MB unpacked)",
            layer.digest,
            megabytes(layer.size),
            megabytes(layer.unpacked_size)
        ),
    );
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

pub(super) fn base_failure(error: &BaseError) -> CommandError {
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
