//! An application's image whose interpreter is exchanged for the same release with markers: one layer, and nothing else changes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use gil_containers::digest::Digest;
use gil_containers::image::{Image, ImageError, LayerOptions};
use gil_containers::layer::{Changes, Layer};
use gil_containers::layout::Layout;
use gil_containers::process::{self, ProcessError};
use gil_containers::root::{Network, Root};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::description::{self, DescriptionError, Subject, write_json};
use super::interpreter::Interpreter;
use super::labels;
use super::survey::Found;
use crate::build::prefix::RECORD;

/// Why the interpreter cannot be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The layer cannot be written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image's interpreter does not run, before or after.
    #[error("the interpreter does not run in the image {when}: {error}")]
    Run {
        /// Before or after the exchange.
        when: &'static str,
        /// What it said.
        #[source]
        error: ProcessError,
    },
    /// The new one is not the old one with markers.
    #[error(
        "the new interpreter answers otherwise than the image's own, which must be made in another way than its configure arguments say:\n    before: {before}\n    after:  {after}"
    )]
    Differs {
        /// What the image's own said of itself.
        before: String,
        /// What the new one says.
        after: String,
    },
    /// It cannot be described.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was exchanged: kept in the layer itself, so that it can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The version of this record's form.
    pub format: u32,
    /// The digest of the image that the layer was put onto, where it had one.
    pub onto: Option<Digest>,
    /// The files that have other content.
    pub replaced: Vec<Replaced>,
    /// The labels of gilbuild's that the image had before.
    pub labels: Vec<(String, String)>,
}

/// One file that has other content now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its path in the image.
    pub path: PathBuf,
    /// The digest of what it was.
    pub before: Digest,
    /// The digest of what it is.
    pub after: Digest,
}

/// The form that this version writes and reads.
pub const FORMAT: u32 = 1;
/// The record, in the folder that describes the interpreter.
pub const FILE: &str = "exchange.json";

/// What has come onto the image.
#[derive(Debug)]
pub struct Exchanged {
    /// The layer.
    pub layer: Layer,
    /// All files of the layer and all that it removes.
    pub changes: Changes,
    /// Those of the written files that were there before.
    pub replaced: BTreeSet<PathBuf>,
    /// The list of what is in the image, an SPDX document.
    pub sbom: String,
}

/// An image that is unpacked, with the interpreter that was found in it.
#[derive(Debug, Clone, Copy)]
pub struct Application<'a> {
    /// Its files.
    pub root: &'a Root,
    /// Its interpreter.
    pub found: &'a Found,
    /// What its registry or layout calls it.
    pub digest: Option<&'a Digest>,
}

/// Exchanges the interpreter of an image. `root` holds the image's files and is changed, too.
///
/// # Errors
/// When the new interpreter does not answer as the old one did, or a file cannot be written; the image is then as it was.
pub fn exchange(
    application: &Application<'_>,
    interpreter: &Interpreter,
    image: &mut Image,
    layout: &Layout,
    options: &LayerOptions,
) -> Result<Exchanged, ExchangeError> {
    let Application {
        root,
        found,
        digest,
    } = *application;
    let before = facts(root, &found.program, "as it is")?;
    let mut replaced = Vec::new();
    for file in found.files() {
        let below = file.strip_prefix(&found.prefix).unwrap_or(file);
        replaced.push(replace(root, file, &interpreter.prefix.join(below))?);
    }
    // A program that only calls its library is the same as before.
    replaced.retain(|file: &Replaced| file.before != file.after);
    let after = facts(root, &found.program, "with the new files")?;
    if before != after {
        return Err(ExchangeError::Differs { before, after });
    }

    let record = Exchange {
        format: FORMAT,
        onto: digest.cloned(),
        replaced,
        labels: own_labels(image),
    };
    let Description {
        changes,
        replaced,
        sbom,
    } = describe(application, interpreter, &record, options.newest_s)?;
    let created = image.configuration.created().map(str::to_owned);
    let layer = image.add_layer(layout, root.folder(), &changes, options)?;
    // The application is as old as it was.
    if let Some(created) = created {
        image.configuration.set_created(&created);
    }
    let mut new = labels::of_interpreter(&interpreter.record);
    new.push((labels::LAYER, layer.diff_id.to_string()));
    new.extend(digest.map(|digest| (labels::ONTO, digest.to_string())));
    for (name, value) in new {
        image.configuration.set_label(name, &value);
    }
    Ok(Exchanged {
        layer,
        changes,
        replaced,
        sbom,
    })
}

fn replace(root: &Root, file: &Path, content: &Path) -> io::Result<Replaced> {
    let digest = || Digest::of_reader(fs_err::File::open(root.find(file)?)?);
    let before = digest()?;
    root.replace(file, content)?;
    Ok(Replaced {
        path: file.to_owned(),
        before,
        after: digest()?,
    })
}

/// What an interpreter says of itself: its release, what it has built in, and which of its extension modules it can load.
const FACTS: &str = "
import importlib, json, os, sys, sysconfig
modules = []
for folder in sys.path:
    if os.path.basename(folder) == 'lib-dynload':
        for name in sorted(os.listdir(folder)):
            name = name.partition('.')[0]
            # CPython's own tests may do anything when they are loaded.
            if not name.startswith(('_test', 'xx', '_xx')):
                try:
                    importlib.import_module(name)
                    modules.append(name)
                except ImportError:
                    pass
print(json.dumps([sys.version_info, sys.abiflags, sys.prefix, sys.path, sysconfig.get_config_var('SOABI'), sys.builtin_module_names, modules]))
";

fn facts(root: &Root, program: &Path, when: &'static str) -> Result<String, ExchangeError> {
    let mut command = root.command(program, Path::new("/"), Network::None);
    // Nothing of the application's is run.
    command.args(["-I", "-S", "-B", "-c", FACTS]);
    process::run(&mut command, "util-linux")
        .map(|said| said.trim().to_owned())
        .map_err(|error| ExchangeError::Run { when, error })
}

/// The labels that a version of gilbuild has put there.
fn own_labels(image: &Image) -> Vec<(String, String)> {
    let labels = image.configuration.labels().into_iter();
    labels
        .filter(|(name, _)| name.starts_with(labels::OWN))
        .collect()
}

/// The description of an interpreter, laid beside it.
struct Description {
    /// All that has changed in the image.
    changes: Changes,
    /// What was there before.
    replaced: BTreeSet<PathBuf>,
    /// The list of what is in the image.
    sbom: String,
}

/// Lays the description beside the new interpreter, in place of an older one.
fn describe(
    application: &Application<'_>,
    interpreter: &Interpreter,
    record: &Exchange,
    newest_s: u64,
) -> Result<Description, ExchangeError> {
    let Application { root, found, .. } = *application;
    let mut changes = Changes::default();
    for file in &record.replaced {
        changes.written.insert(below(root, &root.find(&file.path)?));
    }
    let mut replaced = changes.written.clone();
    // Folders above it that are new belong to the layer.
    let mut folder = found.prefix.clone();
    for part in Path::new(description::FOLDER) {
        folder.push(part);
        let is_new = root.find(&folder).is_err();
        let place = root.make_folder(&folder)?;
        if is_new {
            changes.written.insert(below(root, &place));
        }
    }
    let folder = root.find(&folder)?;
    let old: Vec<PathBuf> = files_below(root, &folder)?;
    for entry in fs_err::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    let name = Path::new(RECORD).file_name().unwrap_or_default();
    let built = serde_json::to_value(&interpreter.record).map_err(io::Error::from)?;
    write_json(&folder.join(name), &built)?;
    let code = found.library.as_ref().unwrap_or(&found.program);
    let subject = Subject {
        root,
        prefix: &root.find(&found.prefix)?,
        code: &root.find(code)?,
        record: &interpreter.record,
    };
    let sbom = subject.describe(&folder, newest_s)?;
    let value = serde_json::to_value(record).map_err(io::Error::from)?;
    write_json(&folder.join(FILE), &value)?;

    changes.written.extend(files_below(root, &folder)?);
    let (kept, gone): (Vec<_>, Vec<_>) = old
        .into_iter()
        .partition(|path| changes.written.contains(path));
    replaced.extend(kept);
    changes.removed = gone.into_iter().collect();
    // A folder that is gone takes along what was in it.
    let folders = changes.removed.clone();
    changes.removed.retain(|path| {
        !path
            .ancestors()
            .skip(1)
            .any(|above| folders.contains(above))
    });
    Ok(Description {
        changes,
        replaced,
        sbom,
    })
}

fn files_below(root: &Root, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1) {
        files.push(below(root, entry?.path()));
    }
    Ok(files)
}

/// A file of the root, as a layer names it.
fn below(root: &Root, place: &Path) -> PathBuf {
    place
        .strip_prefix(root.folder())
        .unwrap_or(place)
        .to_owned()
}
