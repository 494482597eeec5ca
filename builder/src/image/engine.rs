//! An image built by another program: what it needs, laid out for it, and what is to be done said in build arguments.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gil_containers::engine::{self, Engine, EngineError};
use gil_containers::image::Image;
use gil_containers::layout::Layout;
use walkdir::WalkDir;

use super::interpreter::Order;
use super::{gilprobe, recipe};
use crate::build::compile::{FRAME_POINTERS, configure_arguments};
use crate::build::options::Markers;
use crate::build::pipeline::{self, BuildError};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum EngineBuildError {
    /// A patch does not fit.
    #[error(transparent)]
    Patch(#[from] BuildError),
    /// The engine is not here or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const CONTAINERFILE: &str = include_str!("../../../containers/Containerfile");

/// Has an engine build the image on a base, and puts it into the base's layout. `work` is an empty folder; the order's tree is
/// moved into it.
///
/// # Errors
/// When the engine is not here, or a step of the build fails.
pub fn build(
    engine: Engine,
    order: &Order<'_>,
    base: &Image,
    layout: &Layout,
    work: &Path,
) -> Result<Image, EngineBuildError> {
    let context = work.join("context");
    fs_err::create_dir(&context)?;
    let objects = pipeline::prepare(order.source, order.options, order.tree)?;
    if order.gilprobe {
        gilprobe::write(order.tree)?;
    }
    fs_err::rename(order.tree, context.join("source"))?;
    make_as_old(&context.join("source"), order.newest_s)?;
    fs_err::write(context.join("Containerfile"), CONTAINERFILE)?;
    let quoted: Vec<String> = configure_arguments(order.options)
        .iter()
        .map(|argument| format!("'{}'", argument.replace('\'', "'\\''")))
        .collect();
    let nop5 = order.options.markers == Markers::Nop5;
    let arguments = [
        ("BUILD_PACKAGES", recipe::BUILD_PACKAGES.join(" ")),
        ("PREFIX", order.prefix.display().to_string()),
        ("CONFIGURE", quoted.join(" ")),
        ("COMPILER_FLAGS", FRAME_POINTERS.to_owned()),
        ("LINKER_FLAGS", recipe::LINKER_FLAGS.to_owned()),
        (
            "NOP5_OBJECTS",
            if nop5 {
                objects.join(" ")
            } else {
                String::new()
            },
        ),
        (
            "GILPROBE",
            if order.gilprobe {
                gilprobe::INSTALL
            } else {
                ""
            }
            .to_owned(),
        ),
        ("JOBS", order.options.jobs().to_string()),
        ("SOURCE_DATE_EPOCH", order.newest_s.to_string()),
    ];
    let order = engine::Order {
        context: &context,
        arguments: &arguments,
    };
    Ok(engine.build(&order, base, layout, work)?)
}

/// Gives what was patched the time of the source: engines find what they have built from the same files, and times count for them.
fn make_as_old(tree: &Path, newest_s: u64) -> io::Result<()> {
    let newest = SystemTime::UNIX_EPOCH + Duration::from_secs(newest_s);
    for entry in WalkDir::new(tree) {
        let entry = entry?;
        let is_plain = entry.file_type().is_file() || entry.file_type().is_dir();
        if is_plain && entry.metadata()?.modified()? > newest {
            fs_err::File::open(entry.path())?
                .file()
                .set_modified(newest)?;
        }
    }
    Ok(())
}
