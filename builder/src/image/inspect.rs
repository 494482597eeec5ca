//! The interpreter of an image, found in its layers: nothing of the image is run.

use std::io;
use std::path::{Path, PathBuf};

use gil_containers::base::{Base, BaseError};
use gil_containers::image::{ImageError, LayerOptions};
use gil_containers::layer::Compression;
use gil_containers::layout::{Layout, LayoutError};
use gil_containers::platform::Platform;
use gil_containers::registry::Transport;
use tempfile::TempDir;

use crate::build::verification::interpreter_file;

/// Why there is no interpreter to look at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The image cannot be had.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The image cannot be unpacked.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The layout for it cannot be made.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The image has none.
    #[error("the image {image} has no Python in {}", places.join(", "))]
    NoPython {
        /// The image.
        image: String,
        /// Where it was looked for.
        places: Vec<String>,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An image's files, unpacked for as long as this lives.
#[derive(Debug)]
pub struct Inspected {
    /// The file that holds the interpreter's code.
    pub interpreter: PathBuf,
    /// What the image calls that file.
    pub inside: PathBuf,
    _work: TempDir,
}

/// Where images have their Python.
const PREFIXES: [&str; 3] = ["usr/local", "usr", "opt/python"];

/// Unpacks an image and finds its interpreter.
///
/// # Errors
/// When the image cannot be had, is corrupt or hostile, or has no interpreter.
pub fn inspect(image: &Base, transport: Transport) -> Result<Inspected, InspectError> {
    let work = tempfile::Builder::new()
        .prefix("gilbuild-verify")
        .tempdir()?;
    let layout = Layout::create(&work.path().join("layout"))?;
    let meanwhile = work.path().join("base");
    let root = work.path().join("root");
    fs_err::create_dir(&meanwhile)?;
    fs_err::create_dir(&root)?;
    let options = LayerOptions {
        newest_s: 0,
        compression: Compression::None,
        created_by: String::new(),
    };
    let fetched = image.fetch(
        &layout,
        &meanwhile,
        &Platform::host(),
        &options,
        transport,
        &mut |_, _, _| {},
    )?;
    fetched.image.unpack(&layout, &root)?;
    let root = fs_err::canonicalize(&root)?;
    let Some(interpreter) = PREFIXES.iter().find_map(|prefix| find(&root, prefix)) else {
        return Err(InspectError::NoPython {
            image: image.to_string(),
            places: PREFIXES.map(|prefix| format!("/{prefix}")).to_vec(),
        });
    };
    let below = interpreter.strip_prefix(&root).unwrap_or(&interpreter);
    Ok(Inspected {
        inside: Path::new("/").join(below),
        interpreter,
        _work: work,
    })
}

/// The interpreter of a prefix; not one that a link of the image leads to on this machine.
fn find(root: &Path, prefix: &str) -> Option<PathBuf> {
    interpreter_file(&root.join(prefix))
        .ok()
        .filter(|file| file.starts_with(root))
}
