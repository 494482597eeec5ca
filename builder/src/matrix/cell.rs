//! One cell of the matrix: what tells it apart, and the command that builds it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use super::file::{Exclude, HOST, MatrixFile, NonsenseError, Variant, render};
use crate::build::options::{Markers, Optimize};
use crate::build::patching;
use crate::sources::Request;

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What it is called, also as a file's name.
    pub name: String,
    /// What `gilbuild build` is asked for: `3.13`, `3.13t`.
    pub python: String,
    /// What the image starts from, or `host`.
    pub distribution: String,
    /// The markers and their nop.
    pub markers: Markers,
    /// The compiler's effort.
    pub optimize: Optimize,
    /// What the image is called in registries.
    pub tags: Vec<String>,
}

impl MatrixFile {
    /// All cells, in the order of the file's lists. A version that has no free-threaded build has no cell for it.
    ///
    /// # Errors
    /// When nothing tells two of them apart, or a tag is none.
    pub fn cells(&self) -> Result<Vec<Cell>, NonsenseError> {
        let mut cells: Vec<Cell> = Vec::new();
        for version in &self.versions {
            for &variant in &self.variants {
                let Some(python) = python(version, variant) else {
                    continue;
                };
                for distribution in &self.distributions {
                    for &markers in &self.markers {
                        let is_meant = |exclude: &Exclude| {
                            exclude.means(version, variant, distribution, markers)
                        };
                        if !self.exclude.iter().any(is_meant) {
                            cells.push(self.cell(&python, distribution, markers)?);
                        }
                    }
                }
            }
        }
        let mut names = HashSet::new();
        let mut tags = HashMap::new();
        for cell in &cells {
            if !names.insert(&cell.name) {
                return Err(NonsenseError::SameCell(cell.name.clone()));
            }
            for tag in &cell.tags {
                if let Some(other) = tags.insert(tag, &cell.name) {
                    let [other, name] = [other, &cell.name].map(String::clone);
                    return Err(NonsenseError::SameTag(other, name, tag.clone()));
                }
            }
        }
        Ok(cells)
    }

    fn cell(
        &self,
        python: &str,
        distribution: &str,
        markers: Markers,
    ) -> Result<Cell, NonsenseError> {
        let nop = markers.to_string();
        let plain = as_file_name(distribution);
        let values = [
            ("python", python),
            ("distribution", plain.as_str()),
            ("markers", nop.as_str()),
        ];
        let tags = if distribution == HOST {
            Vec::new()
        } else {
            let tags = self.tags.iter().map(|tag| render(tag, &values));
            tags.collect::<Result<_, _>>()?
        };
        Ok(Cell {
            name: format!("{python}-{plain}-{nop}"),
            python: python.to_owned(),
            distribution: distribution.to_owned(),
            markers,
            optimize: self.optimize,
            tags,
        })
    }

    /// What `gilbuild` is told to build a cell. `archive` is where its image is written, `jobs` how many compilers run at once.
    #[must_use]
    pub fn command(&self, cell: &Cell, archive: &Path, jobs: usize, push: bool) -> Vec<OsString> {
        let is_image = cell.distribution != HOST;
        let mut words: Vec<OsString> = vec![if is_image { "image" } else { "build" }.into()];
        words.push(cell.python.as_str().into());
        words.push(format!("--markers={}", cell.markers).into());
        words.push(format!("--optimize={}", cell.optimize).into());
        words.push(format!("--jobs={jobs}").into());
        for argument in &self.configure {
            words.push(format!("--configure={argument}").into());
        }
        for patch in &self.patches {
            words.extend(["--patch".into(), patch.into()]);
        }
        if is_image {
            words.push(format!("--base={}", cell.distribution).into());
            let mut output = OsString::from("--output=oci-archive:");
            output.push(archive);
            words.push(output);
            words.push(format!("--tag=python:{}", cell.name).into());
            if push {
                words.extend(cell.tags.iter().map(|tag| format!("--push={tag}").into()));
            }
        }
        words
    }
}

impl Exclude {
    fn means(&self, version: &str, variant: Variant, distribution: &str, markers: Markers) -> bool {
        self.version.as_deref().is_none_or(|own| own == version)
            && self.variant.is_none_or(|own| own == variant)
            && self
                .distribution
                .as_deref()
                .is_none_or(|own| own == distribution)
            && self.markers.is_none_or(|own| own == markers)
    }
}

/// What is asked for, where there is such a build.
fn python(version: &str, variant: Variant) -> Option<String> {
    match variant {
        Variant::Gil => Some(version.to_owned()),
        Variant::FreeThreaded => {
            let python = format!("{version}t");
            let is_there = Request::parse(&python, &patching::supported()).is_ok();
            is_there.then_some(python)
        }
    }
}

/// A name without what file names and tags cannot have.
fn as_file_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    name.chars()
        .map(|c| if fits(c) { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> MatrixFile {
        MatrixFile {
            versions: vec!["3.11".to_owned(), "3.13".to_owned()],
            variants: vec![Variant::Gil, Variant::FreeThreaded],
            distributions: vec!["bookworm".to_owned(), HOST.to_owned()],
            tags: vec!["r.example/py:{python}-{distribution}".to_owned()],
            ..MatrixFile::default()
        }
    }

    fn names(file: &MatrixFile) -> Vec<String> {
        let cells = file.cells().unwrap();
        cells.into_iter().map(|cell| cell.name).collect()
    }

    #[test]
    fn every_combination_that_exists_is_a_cell() {
        let expected = [
            "3.11-bookworm-nop",
            "3.11-host-nop",
            "3.13-bookworm-nop",
            "3.13-host-nop",
            "3.13t-bookworm-nop",
            "3.13t-host-nop",
        ];
        assert_eq!(names(&file()), expected);
    }

    #[test]
    fn what_is_excluded_is_left_out() {
        let mut file = file();
        file.exclude = vec![
            Exclude {
                variant: Some(Variant::FreeThreaded),
                ..Exclude::default()
            },
            Exclude {
                version: Some("3.11".to_owned()),
                distribution: Some(HOST.to_owned()),
                ..Exclude::default()
            },
        ];
        let expected = ["3.11-bookworm-nop", "3.13-bookworm-nop", "3.13-host-nop"];
        assert_eq!(names(&file), expected);
    }

    #[test]
    fn cells_that_nothing_tells_apart_are_refused() {
        let mut same = file();
        same.tags = vec!["r.example/py:{distribution}".to_owned()];
        let message = same.cells().unwrap_err().to_string();
        assert!(message.contains("`r.example/py:bookworm`"), "{message}");
        let mut same = file();
        same.versions.push("3.11".to_owned());
        let message = same.cells().unwrap_err().to_string();
        assert!(
            message.contains("3.11-bookworm-nop is there twice"),
            "{message}"
        );
    }

    #[test]
    fn a_cell_says_everything_to_the_command() {
        let mut file = file();
        file.configure = vec!["--with-assertions".to_owned()];
        file.patches = vec!["/team/a.patch".into()];
        let cells = file.cells().unwrap();
        let words = file.command(&cells[0], Path::new("out/x.tar"), 2, true);
        let expected = [
            "image",
            "3.11",
            "--markers=nop",
            "--optimize=pgo+lto",
            "--jobs=2",
            "--configure=--with-assertions",
            "--patch",
            "/team/a.patch",
            "--base=bookworm",
            "--output=oci-archive:out/x.tar",
            "--tag=python:3.11-bookworm-nop",
            "--push=r.example/py:3.11-bookworm",
        ];
        assert_eq!(words, expected);
        let words = file.command(&cells[1], Path::new("out/x.tar"), 2, true);
        assert_eq!(words[..2], ["build", "3.11"]);
        assert!(
            words
                .iter()
                .all(|word| !word.to_string_lossy().contains("out/x.tar"))
        );
    }
}
