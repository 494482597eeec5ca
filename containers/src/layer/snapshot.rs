//! What a folder looked like, and what has changed in it since.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::digest::Digest;

/// All files below a folder, with what a layer would say about them. Times do not count: two files that differ in nothing
/// else are the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, State>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    mode: u32,
    uid: u32,
    gid: u32,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    File(Digest),
    Link(PathBuf),
    Other(u64),
}

/// What is different in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// New or changed files, folders and links, relative to the folder.
    pub written: BTreeSet<PathBuf>,
    /// Those that are gone; of a folder that is gone with all that was in it, the folder alone.
    pub removed: BTreeSet<PathBuf>,
}

impl Changes {
    /// Leaves out changes of files that do not belong into a layer.
    pub fn forget(&mut self, unwanted: impl Fn(&Path) -> bool) {
        self.written.retain(|path| !unwanted(path));
        self.removed.retain(|path| !unwanted(path));
    }
}

impl Snapshot {
    /// Reads the whole folder. Files are hashed.
    ///
    /// # Errors
    /// When something in it cannot be read.
    pub fn of(root: &Path) -> io::Result<Self> {
        let mut states = BTreeMap::new();
        for entry in WalkDir::new(root).min_depth(1) {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let kind = metadata.file_type();
            // A socket lives only as long as its process.
            if kind.is_socket() {
                continue;
            }
            let content = if kind.is_dir() {
                Content::Folder
            } else if kind.is_file() {
                Content::File(Digest::of_reader(fs_err::File::open(entry.path())?)?)
            } else if kind.is_symlink() {
                Content::Link(fs_err::read_link(entry.path())?)
            } else {
                Content::Other(metadata.rdev())
            };
            let state = State {
                mode: metadata.mode(),
                uid: metadata.uid(),
                gid: metadata.gid(),
                content,
            };
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
            states.insert(path.to_owned(), state);
        }
        Ok(Self(states))
    }

    /// A snapshot of nothing: everything is new to it.
    #[must_use]
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// What has changed from this snapshot to a later one.
    #[must_use]
    pub fn changes_to(&self, later: &Self) -> Changes {
        let mut changes = Changes::default();
        for (path, state) in &later.0 {
            if self.0.get(path) != Some(state) {
                changes.written.insert(path.clone());
            }
        }
        for path in self.0.keys().filter(|path| !later.0.contains_key(*path)) {
            let folder_gone = path
                .ancestors()
                .skip(1)
                .any(|folder| changes.removed.contains(folder));
            if !folder_gone {
                changes.removed.insert(path.clone());
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn only_what_differs_is_a_change() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let path = |name: &str| root.path().join(name);
        fs_err::create_dir_all(path("gone/deep"))?;
        fs_err::write(path("gone/deep/file"), "x")?;
        fs_err::write(path("same"), "same")?;
        fs_err::write(path("other"), "before")?;
        let before = Snapshot::of(root.path())?;

        fs_err::remove_dir_all(path("gone"))?;
        // Written again with the same content: a new time, no change.
        fs_err::write(path("same"), "same")?;
        fs_err::write(path("other"), "behind")?;
        fs_err::create_dir(path("new"))?;
        fs_err::os::unix::fs::symlink("../other", path("new/link"))?;
        let after = Snapshot::of(root.path())?;

        let changes = before.changes_to(&after);
        assert_eq!(changes.written, paths(&["other", "new", "new/link"]));
        assert_eq!(changes.removed, paths(&["gone"]));
        assert_eq!(after.changes_to(&after), Changes::default());
        Ok(())
    }
}
