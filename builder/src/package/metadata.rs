//! What other tools are told about an archive: its name, uv's list of downloads, checksums, a definition for pyenv.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::build::prefix::BuildRecord;
use crate::sources::{Stage, Version};

/// The file with uv's list, for `--python-downloads-json-url`.
pub const DOWNLOADS: &str = "downloads.json";
/// The file with the checksums, as `sha256sum --check` reads it.
pub const SUMS: &str = "SHA256SUMS";

/// An archive that is ready.
#[derive(Debug, Clone)]
pub struct Package<'a> {
    /// What is in it.
    pub record: &'a BuildRecord,
    /// Its version.
    pub version: Version,
    /// The day of its time, `20251121`.
    pub day: &'a str,
    /// Whether it was stripped.
    pub stripped: bool,
}

impl Package<'_> {
    /// Its name without the ending for the compression, as python-build-standalone would name it.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "cpython-{}+{}-{}-unknown-linux-gnu-{}{}",
            self.record.python,
            self.day,
            std::env::consts::ARCH,
            if self.record.free_threaded {
                "freethreaded-"
            } else {
                ""
            },
            if self.stripped {
                "install_only_stripped"
            } else {
                "install_only"
            }
        )
    }

    /// Its entry in uv's list, with its key.
    #[must_use]
    pub fn download(&self, url: String, sha256: String) -> (String, Download) {
        let version = self.version;
        let key = format!(
            "cpython-{}{}-linux-{}-gnu",
            self.record.python,
            if self.record.free_threaded {
                "+freethreaded"
            } else {
                ""
            },
            std::env::consts::ARCH
        );
        let prerelease = match version.stage {
            Stage::Final => String::new(),
            Stage::Alpha => format!("a{}", version.serial),
            Stage::Beta => format!("b{}", version.serial),
            Stage::Candidate => format!("rc{}", version.serial),
        };
        let download = Download {
            name: "cpython".to_owned(),
            arch: Arch {
                family: std::env::consts::ARCH.to_owned(),
                variant: None,
            },
            os: "linux".to_owned(),
            libc: "gnu".to_owned(),
            major: version.series.major,
            minor: version.series.minor,
            patch: version.micro,
            prerelease,
            url,
            sha256,
            variant: self.record.free_threaded.then(|| "freethreaded".to_owned()),
            build: Some(self.day.to_owned()),
        };
        (key, download)
    }

    /// Its definition for pyenv's python-build: a file of that name makes `pyenv install` know it.
    #[must_use]
    pub fn pyenv(&self, url: &str, sha256: &str) -> (String, String) {
        let t = if self.record.free_threaded { "t" } else { "" };
        let name = format!("{}{t}-gil", self.record.python);
        let series = format!("{}{}", self.version.series.major, self.version.series.minor);
        let text =
            format!("install_package \"python\" \"{url}#{sha256}\" copy verify_py{series}\n");
        (name, text)
    }
}

/// uv's list of downloads, by key.
pub type Downloads = BTreeMap<String, Download>;

/// One entry of uv's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    name: String,
    arch: Arch,
    os: String,
    libc: String,
    major: u8,
    minor: u8,
    patch: u8,
    prerelease: String,
    url: String,
    sha256: String,
    variant: Option<String>,
    build: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Arch {
    family: String,
    variant: Option<String>,
}

/// The list of checksums with those of some files put in, sorted by name. A line that is none is dropped.
#[must_use]
pub fn sums(before: &str, files: &[(String, String)]) -> String {
    let mut all: BTreeMap<&str, &str> = before
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    all.extend(
        files
            .iter()
            .map(|(name, sum)| (name.as_str(), sum.as_str())),
    );
    let mut text = String::new();
    for (name, sum) in all {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{sum}  {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_kept_and_replaced() {
        let files = [
            ("b".to_owned(), "2".to_owned()),
            ("a".to_owned(), "1".to_owned()),
        ];
        assert_eq!(sums("9  b\n3  c\njunk\n", &files), "1  a\n2  b\n3  c\n");
    }
}
