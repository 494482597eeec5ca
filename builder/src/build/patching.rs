//! From a source tree to a patched tree: the marker header, the bundled patches, and the user's own.

use std::fmt;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::sources::Series;

/// The headers with the markers: where CPython's sources find each, and its text.
const HEADERS: [(&str, &str); 5] = [
    (
        "Python/gil_note.h",
        include_str!("../../../probes/include/gil_note.h"),
    ),
    (
        "Python/gil_text.h",
        include_str!("../../../probes/include/gil_text.h"),
    ),
    (
        "Python/gil_location.h",
        include_str!("../../../probes/include/gil_location.h"),
    ),
    (
        "Python/gil_names.h",
        include_str!("../../../probes/include/gil_names.h"),
    ),
    (
        "Python/gil_markers.h",
        include_str!("../../../probes/include/gil_markers.h"),
    ),
];

/// A bundled patch: the minor version that it is for, its name, its text.
type Bundled = (&'static str, &'static str, &'static str);

/// One patch for each of these minor versions.
macro_rules! bundled {
    ($name:literal: $($minor:literal),*) => {
        &[$(($minor, $name, include_str!(concat!("../../../patches/", $minor, "/", $name)))),*]
    };
}

/// The patches of every build.
const GIL: &[Bundled] =
    bundled!["0001-gil-markers.patch": "3.9", "3.11", "3.12", "3.13", "3.14", "3.15"];
const THREAD_NAMES: &[Bundled] =
    bundled!["0002-thread-names.patch": "3.9", "3.11", "3.12", "3.13", "3.14", "3.15"];

/// What free-threaded builds get besides, after those.
const FREE_THREADING: &[Bundled] = bundled!["0003-free-threading.patch": "3.13", "3.14", "3.15"];

/// The series that there are markers for.
#[must_use]
pub fn supported() -> Vec<Series> {
    GIL.iter()
        .filter_map(|(minor, ..)| minor.parse().ok())
        .collect()
}

/// A patch in unified format, its paths one folder deep (`a/Python/ceval.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// What to call it: the file's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Why a tree could not be patched.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The patch does not fit the tree.
    #[error(
        "the patch {patch} does not fit the source tree: {}; the tree is left in {} with what was rejected beside each file (*.rej)",
        list(rejected), tree.display()
    )]
    DoesNotFit {
        /// The patch's name.
        patch: String,
        /// The hunks that were refused.
        rejected: Vec<RejectedHunk>,
        /// Where the tree is left.
        tree: PathBuf,
    },
    /// The patch could not even be tried.
    #[error("the patch {patch} cannot be applied to {}: {reason}", tree.display())]
    Unusable {
        /// The patch's name.
        patch: String,
        /// What the tool said.
        reason: String,
        /// Where the tree is left.
        tree: PathBuf,
    },
    /// The tool that applies patches is missing.
    #[error("the program `patch` is not installed (Debian and Fedora: package patch)")]
    NoTool,
    /// A file could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A hunk that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedHunk {
    /// The file that it wants to change.
    pub file: String,
    /// Its number within the file, from 1.
    pub number: u32,
    /// The line at which it was expected to fit.
    pub line: u32,
}

impl fmt::Display for RejectedHunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} hunk {} (line {})",
            self.file, self.number, self.line
        )
    }
}

/// The bundled patches of a minor version such as `3.13`, in the order in which they are applied; none where it has none.
#[must_use]
pub fn bundled(minor: &str, free_threaded: bool) -> Vec<Patch> {
    let besides = if free_threaded { FREE_THREADING } else { &[] };
    GIL.iter()
        .chain(THREAD_NAMES)
        .chain(besides)
        .filter(|(version, ..)| *version == minor)
        .map(|&(_, name, text)| Patch {
            name: name.to_owned(),
            text: text.to_owned(),
        })
        .collect()
}

/// The object files that come to hold markers, as the bundled patches' headers name them, separated by spaces.
pub fn objects_with_markers(patches: &[Patch]) -> impl Iterator<Item = &str> {
    patches
        .iter()
        .flat_map(|patch| patch.text.lines().take_while(|line| *line != "---"))
        .filter_map(|line| line.strip_prefix("X-Markers-In: "))
        .flat_map(str::split_whitespace)
}

/// What the marker headers contribute to a build, for telling builds apart.
#[must_use]
pub fn headers() -> String {
    HEADERS.map(|(_, text)| text).concat()
}

/// Lays the marker headers into a tree.
///
/// # Errors
/// When a file cannot be written.
pub fn add_headers(tree: &Path) -> Result<(), PatchError> {
    for (place, text) in HEADERS {
        fs_err::write(tree.join(place), text)?;
    }
    Ok(())
}

/// Applies patches to a tree, in order and without fuzz.
///
/// # Errors
/// At the first patch that does not fit. The tree keeps what was applied so far, and the rejected hunks beside their files.
pub fn apply(tree: &Path, patches: &[Patch]) -> Result<(), PatchError> {
    let shell = Shell::new().map_err(std::io::Error::other)?;
    shell.change_dir(tree);
    for patch in patches {
        let output = cmd!(
            shell,
            "patch --strip=1 --fuzz=0 --forward --batch --no-backup-if-mismatch"
        )
        .env("LC_ALL", "C")
        .stdin(&patch.text)
        .quiet()
        .ignore_status()
        .output()
        .map_err(|_| PatchError::NoTool)?;
        if output.status.success() {
            continue;
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let rejected = rejected_hunks(&said);
        return Err(if rejected.is_empty() {
            PatchError::Unusable {
                patch: patch.name.clone(),
                reason: trouble(&said),
                tree: tree.to_owned(),
            }
        } else {
            PatchError::DoesNotFit {
                patch: patch.name.clone(),
                rejected,
                tree: tree.to_owned(),
            }
        });
    }
    Ok(())
}

/// Whether patches fit a tree, which stays as it is: they are applied to copies of the files that they change.
///
/// # Errors
/// At the first patch that does not fit, as [`apply`] says it; the copies are gone then.
pub fn check(tree: &Path, patches: &[Patch]) -> Result<(), PatchError> {
    let copy = tempfile::tempdir()?;
    for file in patches.iter().flat_map(changed_files) {
        // A file that is not there is for `apply` to complain of.
        if tree.join(file).is_file() {
            let place = copy.path().join(file);
            fs_err::create_dir_all(place.parent().unwrap_or(copy.path()))?;
            fs_err::copy(tree.join(file), place)?;
        }
    }
    apply(copy.path(), patches)
}

/// The files that a patch changes, by their paths in the tree; none outside of it.
pub(super) fn changed_files(patch: &Patch) -> impl Iterator<Item = &Path> {
    patch
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("+++ b/"))
        .filter_map(|rest| rest.split('\t').next())
        .map(Path::new)
        .filter(|path| {
            path.components()
                .all(|part| matches!(part, std::path::Component::Normal(_)))
        })
}

/// Reads `patching file F` and `Hunk #N FAILED at L.` out of what GNU patch says.
fn rejected_hunks(said: &str) -> Vec<RejectedHunk> {
    let mut file = "";
    let mut rejected = Vec::new();
    for line in said.lines() {
        if let Some(name) = line.strip_prefix("patching file ") {
            file = name.trim_matches('\'');
        } else if let Some((number, at)) = line
            .strip_prefix("Hunk #")
            .and_then(|rest| rest.split_once(" FAILED at "))
        {
            let digits = at.split(|c: char| !c.is_ascii_digit()).next();
            if let (Ok(number), Some(Ok(line))) = (number.parse(), digits.map(str::parse)) {
                rejected.push(RejectedHunk {
                    file: file.to_owned(),
                    number,
                    line,
                });
            }
        }
    }
    rejected
}

/// The line of GNU patch's complaint that says why it could not begin.
fn trouble(said: &str) -> String {
    said.lines()
        .find(|line| line.contains("can't find file to patch") || line.starts_with("patch: "))
        .or_else(|| said.lines().next())
        .unwrap_or("it is not a patch")
        .trim_start_matches("patch: ")
        .trim_start_matches("**** ")
        .to_owned()
}

fn list(rejected: &[RejectedHunk]) -> String {
    let hunks: Vec<String> = rejected.iter().map(ToString::to_string).collect();
    hunks.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("Python")).unwrap();
        fs_err::write(folder.path().join("Python/a.c"), text).unwrap();
        folder
    }

    fn patch(text: &str) -> Patch {
        Patch {
            name: "mine.patch".to_owned(),
            text: text.to_owned(),
        }
    }

    const CHANGE: &str =
        "--- a/Python/a.c\n+++ b/Python/a.c\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";

    #[test]
    fn a_patch_that_fits() {
        let tree = tree("one\ntwo\nthree\n");
        apply(tree.path(), &[patch(CHANGE)]).unwrap();
        let text = fs_err::read_to_string(tree.path().join("Python/a.c")).unwrap();
        assert_eq!(text, "one\n2\nthree\n");
    }

    #[test]
    fn a_patch_that_would_need_fuzz_names_file_and_hunk() {
        let tree = tree("ONE\ntwo\nthree\n");
        let error = apply(tree.path(), &[patch(CHANGE)])
            .unwrap_err()
            .to_string();
        assert!(error.contains("mine.patch does not fit"), "{error}");
        assert!(error.contains("Python/a.c hunk 1 (line 1)"), "{error}");
        assert!(tree.path().join("Python/a.c.rej").exists());
    }

    #[test]
    fn a_tree_is_checked_and_stays_as_it_is() {
        let good = tree("one\ntwo\nthree\n");
        check(good.path(), &[patch(CHANGE)]).unwrap();
        let bad = tree("ONE\ntwo\nthree\n");
        let error = check(bad.path(), &[patch(CHANGE)]).unwrap_err();
        assert!(matches!(error, PatchError::DoesNotFit { .. }), "{error}");
        for (tree, text) in [(good, "one\ntwo\nthree\n"), (bad, "ONE\ntwo\nthree\n")] {
            let files: Vec<_> = fs_err::read_dir(tree.path().join("Python"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(files, ["a.c"]);
            let found = fs_err::read_to_string(tree.path().join("Python/a.c")).unwrap();
            assert_eq!(found, text);
        }
    }

    #[test]
    fn a_patch_for_a_file_that_is_not_there() {
        let tree = tree("");
        let text = CHANGE.replace("a.c", "b.c");
        let error = apply(tree.path(), &[patch(&text)]).unwrap_err();
        assert!(matches!(error, PatchError::Unusable { .. }), "{error}");
    }

    #[test]
    fn a_patch_that_leaves_the_tree_is_refused() {
        let tree = tree("");
        let outside = tempfile::tempdir().unwrap();
        let file = outside.path().join("victim");
        fs_err::write(&file, "one\ntwo\nthree\n").unwrap();
        let text = CHANGE.replace(
            "a/Python/a.c",
            &format!("a/../../../../../..{}", file.display()),
        );
        let text = text.replace(
            "b/Python/a.c",
            &format!("b/../../../../../..{}", file.display()),
        );
        apply(tree.path(), &[patch(&text)]).unwrap_err();
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn what_is_no_patch() {
        let tree = tree("");
        apply(tree.path(), &[patch("hello\n")]).unwrap_err();
    }

    #[test]
    fn every_bundled_patch_has_a_dep3_header() {
        assert_eq!(supported().len(), GIL.len());
        for (minor, name, text) in GIL.iter().chain(FREE_THREADING) {
            let (header, _) = text.split_once("\n---\n").unwrap();
            for field in [
                "Description: ",
                "Origin: ",
                "Forwarded: ",
                "X-Markers-In: ",
                "Last-Update: ",
            ] {
                assert!(
                    header.lines().any(|line| line.starts_with(field)),
                    "{minor}/{name} has no {field}"
                );
            }
        }
    }

    #[test]
    fn a_free_threaded_build_gets_more_patches() {
        let names = |minor, free_threaded| {
            let patches = bundled(minor, free_threaded);
            let names: Vec<_> = patches.iter().map(|patch| patch.name.clone()).collect();
            let objects: Vec<_> = objects_with_markers(&patches).map(str::to_owned).collect();
            (names, objects)
        };
        let markers = ["0001-gil-markers.patch", "0002-thread-names.patch"];
        let (with_gil, with_names) = names("3.13", false);
        assert_eq!(with_gil, markers);
        let (free_threaded, objects) = names("3.13", true);
        assert_eq!(free_threaded[..2], markers);
        assert_eq!(free_threaded[2..], ["0003-free-threading.patch"]);
        assert_eq!(objects[..with_names.len()], with_names);
        assert_eq!(
            objects[with_names.len()..],
            ["Python/lock.o", "Python/pystate.o"]
        );
        assert_eq!(names("3.8", false).0, [""; 0]);
    }
}
