//! What an image says about its interpreter, in files beside it: markers, scripts, the list of what is in the image.

use std::io;
use std::path::{Path, PathBuf};

use gil_containers::root::Root;
use gil_containers::sbom::{self, Component};
use gil_probes::check::check;
use gil_probes::elf::{self, ReadError};

use crate::build::options::Markers;
use crate::build::prefix::BuildRecord;
use crate::build::verification;
use gil_record::scripts;

/// Why an image cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// The interpreter's file cannot be understood.
    #[error(transparent)]
    Elf(#[from] ReadError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where the description is, below the prefix.
pub const FOLDER: &str = "share/gilbuild";

/// The list of what is in the image.
const SBOM: &str = "sbom.spdx.json";

/// An interpreter in an unpacked image.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The image's files.
    pub root: &'a Root,
    /// The interpreter's prefix among them.
    pub prefix: &'a Path,
    /// The file with the interpreter's code.
    pub code: &'a Path,
    /// How it was made.
    pub record: &'a BuildRecord,
}

impl Subject<'_> {
    /// Writes the description into an empty folder or beside the build's record, and returns the list of what is in the image, an
    /// SPDX document. `newest_s` is the time that stands in it.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn describe(&self, folder: &Path, newest_s: u64) -> Result<String, DescriptionError> {
        if self.record.markers != Markers::None {
            let elf = elf::read(self.code)?;
            let inside = self.root.inside(self.code);
            let manifest = verification::manifest(&inside, &elf, &check(&elf));
            write_json(&folder.join("markers.json"), &manifest)?;
            // For whoever traces a container from inside it, or copies them out.
            scripts::write_all(folder)?;
        }
        let mut components = vec![cpython(self.record)];
        components.extend(self.python_packages()?);
        components.extend(sbom::debian_packages(self.root)?);
        let name = format!("python-{}", self.record.python);
        let document = sbom::spdx(&name, &components, newest_s);
        Ok(write_json(&folder.join(SBOM), &document)?)
    }

    /// What is in site-packages, by the names of its `NAME-VERSION.dist-info` folders.
    fn python_packages(&self) -> io::Result<Vec<Component>> {
        let mut found = Vec::new();
        for library in self.folders_in(&self.prefix.join("lib"))? {
            for folder in self.folders_in(&library.join("site-packages"))? {
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                let Some((name, version)) = name
                    .strip_suffix(".dist-info")
                    .and_then(|name| name.split_once('-'))
                else {
                    continue;
                };
                found.push(Component {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    purl: format!("pkg:pypi/{}@{version}", name.to_lowercase()),
                    origin: None,
                    sha256: None,
                    license: None,
                });
            }
        }
        Ok(found)
    }

    /// The folders in a folder of the image; none where it is not there, or a link that leads out of the image.
    fn folders_in(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let Ok(folder) = self.root.find(&self.root.inside(folder)) else {
            return Ok(Vec::new());
        };
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut folders = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        folders.sort();
        Ok(folders)
    }
}

/// Writes a document, readable, and returns its text.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> io::Result<String> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs_err::write(path, &text)?;
    Ok(text)
}

fn cpython(record: &BuildRecord) -> Component {
    Component {
        name: "cpython".to_owned(),
        version: record.python.clone(),
        purl: format!("pkg:generic/cpython@{}", record.python),
        origin: Some(record.source.clone()),
        sha256: Some(record.source_sha256.clone()),
        license: Some("PSF-2.0"),
    }
}
