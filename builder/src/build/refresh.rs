//! Patches written anew for a source tree in which their lines have moved.

use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use super::patching::{Patch, PatchError, apply, changed_files};

/// The field of a DEP-3 header that says when a patch was touched last.
const LAST_UPDATE: &str = "Last-Update: ";

/// The patches with the line numbers and the surroundings that the tree has, which stays as it is. Each keeps its header; one that
/// changes is dated `today` (`2026-11-21`).
///
/// # Errors
/// At the first patch that does not fit, as [`apply`] says it: that is one for a person.
pub fn refresh(tree: &Path, patches: &[Patch], today: &str) -> Result<Vec<Patch>, PatchError> {
    let copy = tempfile::tempdir()?;
    let (before, after) = (copy.path().join("a"), copy.path().join("b"));
    let mut refreshed = Vec::new();
    for file in patches.iter().flat_map(changed_files) {
        for side in [&before, &after] {
            let place = side.join(file);
            fs_err::create_dir_all(place.parent().unwrap_or(side))?;
            if tree.join(file).is_file() && !place.exists() {
                fs_err::copy(tree.join(file), place)?;
            }
        }
    }
    for patch in patches {
        apply(&after, std::slice::from_ref(patch))?;
        let header = patch
            .text
            .find("\n--- a/")
            .map_or("", |end| &patch.text[..=end]);
        let mut hunks = String::new();
        let mut files: Vec<PathBuf> = changed_files(patch).map(Path::to_owned).collect();
        files.dedup();
        for file in &files {
            hunks += &difference(copy.path(), file)?;
            // The next patch counts from here.
            fs_err::copy(after.join(file), before.join(file))?;
        }
        let mut text = format!("{header}{hunks}");
        if text != patch.text {
            text = format!("{}{hunks}", dated(header, today));
        }
        refreshed.push(Patch {
            name: patch.name.clone(),
            text,
        });
    }
    Ok(refreshed)
}

/// What differs in a file between the folders `a` and `b`, in unified form, without the names of functions: they come and go.
fn difference(folder: &Path, file: &Path) -> Result<String, PatchError> {
    let shell = Shell::new().map_err(std::io::Error::other)?;
    shell.change_dir(folder);
    let (before, after) = (Path::new("a").join(file), Path::new("b").join(file));
    let (old, new) = (before.display().to_string(), after.display().to_string());
    let output = cmd!(
        shell,
        "diff --unified --label {old} --label {new} {before} {after}"
    )
    .quiet()
    .ignore_status()
    .output()
    .map_err(|_| PatchError::NoTool)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn dated(header: &str, today: &str) -> String {
    header
        .lines()
        .map(|line| match line.strip_prefix(LAST_UPDATE) {
            Some(_) => format!("{LAST_UPDATE}{today}\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "Description: two\nLast-Update: 2020-01-01\n---\n--- a/Python/a.c\n+++ b/Python/a.c\n\
                         @@ -2,3 +2,3 @@\n one\n-two\n+2\n three\n";

    fn tree(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("Python")).unwrap();
        fs_err::write(folder.path().join("Python/a.c"), text).unwrap();
        folder
    }

    fn patch(name: &str, text: &str) -> Patch {
        Patch {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn one_that_fits_as_it_is_stays() {
        let tree = tree("top\none\ntwo\nthree\n");
        let once = refresh(tree.path(), &[patch("1", PATCH)], "2026-11-21").unwrap();
        let twice = refresh(tree.path(), &once, "2030-01-01").unwrap();
        assert_eq!(once, twice);
    }

    #[test]
    fn lines_that_have_moved_are_followed_through_all_patches() {
        let second = PATCH
            .replace("-two\n+2", "+half\n 2")
            .replace("-2,3 +2,3", "-2,3 +2,4");
        let text = "zero\ntop\none\ntwo\nthree\n";
        let tree = tree(text);
        let patches = [patch("1", PATCH), patch("2", &second)];
        let refreshed = refresh(tree.path(), &patches, "2026-11-21").unwrap();
        for patch in &refreshed {
            assert!(
                patch
                    .text
                    .contains("Last-Update: 2026-11-21\n---\n--- a/Python/a.c\n")
            );
            assert!(patch.text.contains("@@ -1,5 "), "{}", patch.text);
            assert!(patch.text.contains("\n zero\n"), "{}", patch.text);
        }
        apply(tree.path(), &refreshed).unwrap();
        let found = fs_err::read_to_string(tree.path().join("Python/a.c")).unwrap();
        assert_eq!(found, "zero\ntop\none\nhalf\n2\nthree\n");
    }

    #[test]
    fn one_that_does_not_fit_is_named() {
        let tree = tree("something else\n");
        let error = refresh(tree.path(), &[patch("mine", PATCH)], "2026-11-21").unwrap_err();
        assert!(
            error.to_string().contains("the patch mine does not fit"),
            "{error}"
        );
    }
}
