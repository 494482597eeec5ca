//! Which symbolic links may stand in a source tree.

use std::path::{Component, Path};

/// Whether a link at `link` (relative to the tree's root) to `target` can only lead to places inside of the tree.
///
/// `..` may stand only in front: behind a name it would climb out of wherever that name, perhaps a link itself, leads to.
/// With that, and with no link among the folders above `link`, every step stays inside.
pub(crate) fn stays_inside(link: &Path, target: &Path) -> bool {
    let depth = link.components().count().saturating_sub(1);
    let mut climbed = 0;
    let mut descending = false;
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => descending = true,
            Component::ParentDir if !descending && climbed < depth => climbed += 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !target.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_inside_the_tree_are_taken() {
        for (link, target) in [
            ("a", "b"),
            ("a", "./b/c"),
            ("x/y/a", "../../b"),
            ("x/a", ".."),
        ] {
            assert!(
                stays_inside(Path::new(link), Path::new(target)),
                "{link} -> {target}"
            );
        }
    }

    #[test]
    fn links_that_leave_or_could_leave_are_not() {
        for (link, target) in [
            ("a", ".."),
            ("a", "/etc/passwd"),
            ("x/a", "../../b"),
            ("x/a", "b/.."),
            ("x/y/a", "../b/../../.."),
            ("a", ""),
        ] {
            assert!(
                !stays_inside(Path::new(link), Path::new(target)),
                "{link} -> {target}"
            );
        }
    }
}
