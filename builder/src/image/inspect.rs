//! The interpreter of an image, found in its layers: nothing of the image is run.

use std::io;
use std::path::{Path, PathBuf};

use gil_containers::base::{Base, BaseError};
use gil_containers::image::{ImageError, LayerOptions};
use gil_containers::layer::Compression;
use gil_containers::layout::{Layout, LayoutError};
use gil_containers::platform::Platform;
use gil_containers::registry::Transport;
use gil_containers::root::Root;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::description;
use crate::build::verification::interpreter_file;
use gil_record::scripts::Tool;

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
    /// What the image calls the folder with the interpreter's description.
    pub description: PathBuf,
    root: Root,
    _work: TempDir,
}

impl Inspected {
    /// Copies the tracing scripts that came with the image into a folder, and returns how many files they are.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn copy_scripts(&self, to: &Path) -> io::Result<usize> {
        let mut copied = 0;
        for tool in [Tool::Bpftrace, Tool::Systemtap] {
            let Ok(folder) = self.root.find(&self.description.join(tool.folder())) else {
                continue;
            };
            for entry in WalkDir::new(&folder) {
                let entry = entry?;
                // Nothing that a link of the image leads to.
                if !entry.file_type().is_file() {
                    continue;
                }
                let below = entry.path().strip_prefix(&folder).unwrap_or(entry.path());
                let place = to.join(tool.folder()).join(below);
                fs_err::create_dir_all(place.parent().unwrap_or(to))?;
                fs_err::copy(entry.path(), place)?;
                copied += 1;
            }
        }
        Ok(copied)
    }
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
    let root = Root::new(&root)?;
    let found = PREFIXES
        .iter()
        .find_map(|prefix| Some((prefix, find(root.folder(), prefix)?)));
    let Some((prefix, interpreter)) = found else {
        return Err(InspectError::NoPython {
            image: image.to_string(),
            places: PREFIXES.map(|prefix| format!("/{prefix}")).to_vec(),
        });
    };
    Ok(Inspected {
        inside: root.inside(&interpreter),
        description: Path::new("/").join(prefix).join(description::FOLDER),
        interpreter,
        root,
        _work: work,
    })
}

/// The interpreter of a prefix; not one that a link of the image leads to on this machine.
fn find(root: &Path, prefix: &str) -> Option<PathBuf> {
    interpreter_file(&root.join(prefix))
        .ok()
        .filter(|file| file.starts_with(root))
}
