//! Copies a user's source tree, so that the user's own is never patched or built in.
//!
//! Left out: version control's folders and what a build in the tree left behind.

use std::io;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::symlink;

use super::extract::Limits;
use super::links;
use super::progress::Progress;

const VERSION_CONTROL: &[&str] = &[".git", ".hg", ".svn"];

const PRODUCT_SUFFIXES: &[&str] = &["o", "a", "so", "pyc", "gcda", "gcno", "profclang"];

/// What configure and make write into CPython's tree, relative to its root.
const PRODUCTS: &[&str] = &[
    "Makefile",
    "Makefile.pre",
    "_bootstrap_python",
    "build",
    "config.cache",
    "config.log",
    "config.status",
    "Misc/python-config.sh",
    "Misc/python-embed.pc",
    "Misc/python.pc",
    "Modules/config.c",
    "Modules/ld_so_aix",
    "Modules/Setup.bootstrap",
    "Modules/Setup.stdlib",
    "platform",
    "Programs/_freeze_module",
    "Programs/_testembed",
    "pybuilddir.txt",
    "pyconfig.h",
    "python",
    "python-config",
    "python-config.py",
    "python-gdb.py",
];

/// A folder that was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file could not be read or written.
    #[error("the source tree could not be copied: {0}")]
    Io(#[from] io::Error),
    /// A symbolic link to outside: patching through it would change what it leads to.
    #[error("the source tree has a link that leads out of it: `{}` to `{}`; replace the link by what it leads to", link.display(), target.display())]
    Link {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A device, pipe or socket.
    #[error("the source tree has something that is neither file, folder nor link: `{}`; remove it", .0.display())]
    Kind(PathBuf),
    /// Far more than a source tree.
    #[error("`{}` holds more than a source tree of CPython (over {} files or {} bytes); name a clean tree", path.display(), limits.entries, limits.bytes)]
    TooLarge {
        /// The tree.
        path: PathBuf,
        /// The bounds.
        limits: Limits,
    },
    /// The copy would contain itself.
    #[error("the source tree `{}` cannot be copied into itself; choose a work folder outside of it", .0.display())]
    IntoItself(PathBuf),
}

/// Copies the tree at `from` into the existing, empty folder `into`.
pub(crate) fn copy(
    from: &Path,
    into: &Path,
    limits: Limits,
    progress: &mut dyn Progress,
) -> Result<(), CopyError> {
    let (real_from, real_into) = (fs_err::canonicalize(from)?, fs_err::canonicalize(into)?);
    if real_into.starts_with(&real_from) {
        return Err(CopyError::IntoItself(from.to_owned()));
    }
    let mut copying = Copying {
        from,
        into,
        limits,
        entries: 0,
        bytes: 0,
        progress,
    };
    copying.folder(Path::new(""))
}

struct Copying<'a> {
    from: &'a Path,
    into: &'a Path,
    limits: Limits,
    entries: u64,
    bytes: u64,
    progress: &'a mut dyn Progress,
}

impl Copying<'_> {
    fn folder(&mut self, below: &Path) -> Result<(), CopyError> {
        for entry in fs_err::read_dir(self.from.join(below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if is_left_out(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            let size = if kind.is_file() {
                entry.metadata()?.len()
            } else {
                0
            };
            self.account(size)?;
            let to = self.into.join(&path);
            if kind.is_dir() {
                fs_err::create_dir(&to)?;
                self.folder(&path)?;
            } else if kind.is_file() {
                copy_file(&entry.path(), &to)?;
            } else if kind.is_symlink() {
                let target = fs_err::read_link(entry.path())?;
                if !links::stays_inside(&path, &target) {
                    return Err(CopyError::Link {
                        link: entry.path(),
                        target,
                    });
                }
                symlink(target, to)?;
            } else {
                return Err(CopyError::Kind(entry.path()));
            }
        }
        Ok(())
    }

    fn account(&mut self, size: u64) -> Result<(), CopyError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.progress.bytes(self.bytes, None);
        if self.entries > self.limits.entries || self.bytes > self.limits.bytes {
            return Err(CopyError::TooLarge {
                path: self.from.to_owned(),
                limits: self.limits,
            });
        }
        Ok(())
    }
}

/// CPython's Makefile compares times, so they are kept.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs_err::copy(from, to)?;
    let metadata = fs_err::metadata(from)?;
    // A read-only tree (a package's, a mounted image) must be patchable once it is copied.
    let mode = metadata.permissions().mode();
    fs_err::set_permissions(to, std::fs::Permissions::from_mode((mode & 0o777) | 0o600))?;
    let file = fs_err::OpenOptions::new().write(true).open(to)?;
    file.file().set_modified(metadata.modified()?)
}

fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let is_product_suffix = path
        .extension()
        .is_some_and(|suffix| PRODUCT_SUFFIXES.iter().any(|product| suffix == *product));
    is_product_suffix
        || name == "__pycache__"
        || VERSION_CONTROL.iter().any(|folder| name == *folder)
        || PRODUCTS.iter().any(|product| path == Path::new(product))
        || is_library(path)
        || is_frozen_module(path)
}

/// `libpython3.13.so.1.0` and its like, at the root.
fn is_library(path: &Path) -> bool {
    path.components().count() == 1
        && path
            .to_str()
            .is_some_and(|name| name.starts_with("libpython"))
}

/// Modules that make froze; the tree itself holds only a README there.
fn is_frozen_module(path: &Path) -> bool {
    path.parent() == Some(Path::new("Python/frozen_modules"))
        && path.extension().is_some_and(|suffix| suffix == "h")
        || path.parent() == Some(Path::new("Python/deepfreeze"))
            && path.extension().is_some_and(|suffix| suffix == "c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::progress::Silent;
    use tempfile::TempDir;

    fn fixture() -> (TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (from, into) = (folder.path().join("from"), folder.path().join("into"));
        fs_err::create_dir_all(from.join("Include")).unwrap();
        fs_err::create_dir(&into).unwrap();
        fs_err::write(
            from.join("Include/patchlevel.h"),
            "#define PY_VERSION \"3.12.5\"\n",
        )
        .unwrap();
        (folder, from, into)
    }

    #[test]
    fn products_and_version_control_are_left_out() {
        let (_folder, from, into) = fixture();
        for path in [
            ".git/config",
            "Lib/__pycache__/os.pyc",
            "Makefile",
            "Doc/Makefile",
            "Python/ceval.o",
            "Python/ceval.c",
            "build/x",
            "Tools/build/x.py",
            "pyconfig.h",
            "PC/pyconfig.h",
            "Python/frozen_modules/os.h",
            "Python/frozen_modules/README.txt",
            "libpython3.12.so.1.0",
        ] {
            fs_err::create_dir_all(from.join(path).parent().unwrap()).unwrap();
            fs_err::write(from.join(path), path).unwrap();
        }
        symlink("ceval.c", from.join("Python/link.c")).unwrap();
        copy(&from, &into, Limits::default(), &mut Silent).unwrap();
        for (path, kept) in [
            (".git", false),
            ("Lib/__pycache__", false),
            ("Makefile", false),
            ("Doc/Makefile", true),
            ("Python/ceval.o", false),
            ("Python/ceval.c", true),
            ("build", false),
            ("Tools/build/x.py", true),
            ("pyconfig.h", false),
            ("PC/pyconfig.h", true),
            ("Python/frozen_modules/os.h", false),
            ("Python/frozen_modules/README.txt", true),
            ("Include/patchlevel.h", true),
            ("libpython3.12.so.1.0", false),
            ("Python/link.c", true),
        ] {
            assert_eq!(into.join(path).exists(), kept, "{path}");
        }
        fs_err::write(into.join("Python/link.c"), "patched").unwrap();
        assert_eq!(
            fs_err::read(from.join("Python/ceval.c")).unwrap(),
            b"Python/ceval.c"
        );
    }

    #[test]
    fn links_that_leave_are_refused() {
        let (_folder, from, into) = fixture();
        symlink(from.join("Include"), from.join("absolute")).unwrap();
        let error = copy(&from, &into, Limits::default(), &mut Silent).unwrap_err();
        assert!(matches!(error, CopyError::Link { .. }), "{error}");
    }

    #[test]
    fn a_tree_is_not_copied_into_itself_nor_without_bound() {
        let (_folder, from, into) = fixture();
        let inside = from.join("work");
        fs_err::create_dir(&inside).unwrap();
        let error = copy(&from, &inside, Limits::default(), &mut Silent).unwrap_err();
        assert!(matches!(error, CopyError::IntoItself(_)), "{error}");
        let few = Limits {
            entries: 1,
            ..Limits::default()
        };
        let error = copy(&from, &into, few, &mut Silent).unwrap_err();
        assert!(matches!(error, CopyError::TooLarge { .. }), "{error}");
    }
}
