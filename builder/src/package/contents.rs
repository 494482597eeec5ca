//! What goes into an archive: the files of a prefix, without the traces of the machine where it was made.

use std::io;
use std::path::{Path, PathBuf};

use gil_containers::root::Root;
use walkdir::WalkDir;

use crate::build::prefix::{BuildRecord, RECORD};
use crate::build::verification::{VerifyError, interpreter_file};
use crate::image::description::{DescriptionError, FOLDER, Subject};
use crate::image::recipe::{LEFT_OUT_FOLDERS, LEFT_OUT_SUFFIXES};
use crate::image::sysconfig::Sysconfig;

/// Stands for the prefix in files that name it. uv knows it from python-build-standalone and puts the real one in its place.
pub const INSTALL: &str = "/install";
/// Stands for the folder in which the interpreter was compiled.
const BUILD: &str = "/build";
/// The terms under which the markers and this program are offered.
const OWN_LICENSE: &str = include_str!("../../../LICENSE");

/// Why a prefix cannot be packaged.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// It has no record of how it was made.
    #[error("{} was not made by gilbuild: it has no {RECORD}", .0.display())]
    NoRecord(PathBuf),
    /// There is no interpreter in it.
    #[error(transparent)]
    NoPython(#[from] VerifyError),
    /// Its description cannot be made.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One file, folder or link of the archive, by its path below the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it goes.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A link with this target.
    Link(PathBuf),
    /// The file of the prefix as it is.
    File {
        /// Whether it can be run.
        executable: bool,
    },
    /// A text made for the archive, or made free of this machine's paths.
    Text {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether it can be run.
        executable: bool,
    },
}

/// A prefix, looked at.
#[derive(Debug)]
pub struct Contents {
    /// Where it is.
    pub prefix: PathBuf,
    /// How it was made; where its source was on this machine is not told.
    pub record: BuildRecord,
    /// What goes into the archive, sorted by path.
    pub items: Vec<Item>,
    /// The list of what is in it, an SPDX document.
    pub sbom: String,
}

impl Contents {
    /// Looks at a prefix. `newest_s` is the time that stands in its description.
    ///
    /// # Errors
    /// When it was not made by gilbuild, has no interpreter, or a file cannot be read.
    pub fn of(prefix: &Path, newest_s: u64) -> Result<Self, ContentsError> {
        let prefix = fs_err::canonicalize(prefix)?;
        let mut record =
            BuildRecord::read(&prefix).ok_or_else(|| ContentsError::NoRecord(prefix.clone()))?;
        record.source = format!("CPython {}", record.python);
        let code = interpreter_file(&prefix)?;

        let described = tempfile::tempdir()?;
        let root = Root::new(&prefix)?;
        let subject = Subject {
            root: &root,
            prefix: &prefix,
            code: &code,
            record: &record,
        };
        let sbom = subject.describe(described.path(), newest_s)?;

        let paths = Paths::of(&prefix)?;
        let mut items = files(&prefix, &paths)?;
        let text = serde_json::to_string_pretty(&record).map_err(io::Error::other)? + "\n";
        put(&mut items, RECORD, text.into_bytes());
        for name in ["sbom.spdx.json", "markers.json"] {
            let file = described.path().join(name);
            if file.exists() {
                put(&mut items, &format!("{FOLDER}/{name}"), fs_err::read(file)?);
            }
        }
        let license = format!("{FOLDER}/licenses/LICENSE.gilbuild.txt");
        put(&mut items, &license, OWN_LICENSE.as_bytes().to_vec());
        if let Some(own) = items
            .iter()
            .find(|item| item.path.ends_with("LICENSE.txt") && item.path.starts_with("lib"))
        {
            let bytes = fs_err::read(prefix.join(&own.path))?;
            put(
                &mut items,
                &format!("{FOLDER}/licenses/LICENSE.cpython.txt"),
                bytes,
            );
        }
        items.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self {
            prefix,
            record,
            items,
            sbom,
        })
    }
}

/// Adds a text, in the place of the file that was there, with the folders above it.
fn put(items: &mut Vec<Item>, path: &str, bytes: Vec<u8>) {
    let path = PathBuf::from(path);
    items.retain(|item| item.path != path);
    for folder in path.ancestors().skip(1) {
        let known = folder.as_os_str().is_empty() || items.iter().any(|item| item.path == folder);
        if !known {
            items.push(Item {
                path: folder.to_owned(),
                kind: Kind::Folder,
            });
        }
    }
    items.push(Item {
        path,
        kind: Kind::Text {
            bytes,
            executable: false,
        },
    });
}

/// The paths of this machine that stand in a prefix's texts, and what stands for them in the archive.
struct Paths(Vec<(String, &'static str)>);

impl Paths {
    fn of(prefix: &Path) -> io::Result<Self> {
        let mut paths = vec![(prefix.display().to_string(), INSTALL)];
        for entry in WalkDir::new(prefix.join("lib")).max_depth(2) {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if !is_sysconfig(&name) {
                continue;
            }
            let sysconfig = Sysconfig::parse(&fs_err::read_to_string(entry.path())?);
            // Where it was installed first, should it have been moved since, and where it was compiled.
            for (variable, stand_in) in [("prefix", INSTALL), ("abs_builddir", BUILD)] {
                if let Some(path) = sysconfig.get(variable)
                    && Path::new(path).components().count() > 2
                    && paths.iter().all(|(known, _)| known != path)
                {
                    paths.push((path.to_owned(), stand_in));
                }
            }
        }
        // A longer path first: it may begin with a shorter one.
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(Self(paths))
    }

    /// The text without these paths; `None` if there are none in it.
    fn replaced(&self, text: &str) -> Option<String> {
        let mut replaced = text.to_owned();
        for (path, stand_in) in &self.0 {
            replaced = replaced.replace(path, stand_in);
        }
        (replaced != text).then_some(replaced)
    }
}

fn is_sysconfig(name: &str) -> bool {
    name.starts_with("_sysconfigdata_")
        && Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "py")
}

fn files(prefix: &Path, paths: &Paths) -> Result<Vec<Item>, ContentsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut items = Vec::new();
    let mut walk = WalkDir::new(prefix)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name().to_string_lossy();
        let kind = entry.file_type();
        if kind.is_dir() && (LEFT_OUT_FOLDERS.contains(&&*name) || name == "__pycache__") {
            walk.skip_current_dir();
            continue;
        }
        let path = entry.path().strip_prefix(prefix).unwrap_or(entry.path());
        let kind = if kind.is_dir() {
            Kind::Folder
        } else if kind.is_symlink() {
            Kind::Link(fs_err::read_link(entry.path())?)
        } else if kind.is_file() {
            let left_out = Path::new(&*name)
                .extension()
                .is_some_and(|end| LEFT_OUT_SUFFIXES.iter().any(|suffix| end == *suffix));
            if left_out {
                continue;
            }
            let metadata = entry.metadata().map_err(io::Error::from)?;
            let executable = metadata.permissions().mode() & 0o111 != 0;
            // What is no text names no path of the machine, or cannot be changed.
            let bytes = fs_err::read(entry.path())?;
            match str::from_utf8(&bytes)
                .ok()
                .and_then(|text| paths.replaced(text))
            {
                Some(text) => Kind::Text {
                    bytes: text.into_bytes(),
                    executable,
                },
                None => Kind::File { executable },
            }
        } else {
            continue;
        };
        items.push(Item {
            path: path.to_owned(),
            kind,
        });
    }
    Ok(items)
}
