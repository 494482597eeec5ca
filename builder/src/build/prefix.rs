//! Installed prefixes: where they are, what they are called, and the record of how each was made.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::{Markers, Optimize};

/// Where a prefix keeps its record.
pub const RECORD: &str = "share/gilbuild/build.json";

/// How a prefix was made; kept in the prefix itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The version of this record's form.
    pub format: u32,
    /// The Python version, `3.13.5`.
    pub python: String,
    /// Whether it is the free-threaded build.
    pub free_threaded: bool,
    /// The markers and their nop.
    pub markers: Markers,
    /// The version of the marker contract that the markers keep.
    pub contract: u32,
    /// The compiler's effort.
    pub optimize: Optimize,
    /// Where the source came from.
    pub source: String,
    /// The SHA-256 of the source archive or, of a folder, of its contents.
    pub source_sha256: String,
    /// The patches that were applied, in order.
    pub patches: Vec<PatchRecord>,
    /// The arguments of `configure`.
    pub configure: Vec<String>,
    /// What the compiler calls itself.
    pub compiler: String,
    /// The SHA-256 of everything above: equal digests mean equal inputs.
    pub inputs: String,
}

/// One patch that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchRecord {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its text.
    pub sha256: String,
}

/// The form that this version writes and reads.
pub const FORMAT: u32 = 1;

impl BuildRecord {
    /// The name of the prefix's folder: what tells it apart, readable first.
    #[must_use]
    pub fn folder_name(&self) -> String {
        format!(
            "cpython-{}{}-gil-{}-{}-{}",
            self.python,
            if self.free_threaded { "t" } else { "" },
            self.markers,
            self.optimize,
            &self.inputs[..8]
        )
    }

    /// The record of a prefix; `None` where there is none that this version can read.
    #[must_use]
    pub fn read(prefix: &Path) -> Option<Self> {
        let text = fs_err::read_to_string(prefix.join(RECORD)).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        (record.format == FORMAT).then_some(record)
    }

    /// Writes the record into a prefix that is being made.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, prefix: &Path) -> std::io::Result<()> {
        let path = prefix.join(RECORD);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        fs_err::write(path, text + "\n")
    }
}

/// The complete prefixes in a folder, with their records, by name.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn list(pythons: &Path) -> std::io::Result<Vec<(PathBuf, BuildRecord)>> {
    if !pythons.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(pythons)? {
        let path = entry?.path();
        if let Some(record) = BuildRecord::read(&path) {
            found.push((path, record));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}
