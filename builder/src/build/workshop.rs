//! Where the commands of a build run: on this machine, or in a root with another distribution.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use gil_containers::root::{Network, Root};

use crate::environment::{CC, SOURCE_DATE_EPOCH};

/// Where the commands of a build run, and what the place adds to them.
#[derive(Debug, Clone)]
pub enum Workshop {
    /// On this machine, for a prefix that can be moved.
    Machine,
    /// In a root, for a prefix that stays at its place in an image.
    Root {
        /// The root; it has a compiler and the libraries.
        root: Root,
        /// Arguments for `configure` beside those that every build gets.
        configure: Vec<String>,
        /// The distribution's own flags for the compiler.
        compiler_flags: String,
        /// Flags for the linker.
        linker_flags: String,
        /// The time that the compiler may write into what it makes, in seconds since 1970.
        newest_s: u64,
    },
}

/// What would make a build depend on the user's Python, make or shell.
const UNWANTED: [&str; 7] = [
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    "MAKEFLAGS",
    "DESTDIR",
    "CFLAGS",
    "LDFLAGS",
];

/// Where distributions keep links with the names of compilers that lead to ccache.
const CCACHE_FOLDERS: [&str; 2] = ["/usr/lib/ccache", "/usr/lib64/ccache"];

/// The PATH on which compilers are ccache's, where it is installed and nobody has chosen a compiler.
fn path_with_ccache() -> Option<OsString> {
    if std::env::var_os(CC).is_some() {
        return None;
    }
    let folder = CCACHE_FOLDERS
        .iter()
        .map(Path::new)
        .find(|folder| folder.join("gcc").exists())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).ok()
}

impl Workshop {
    /// A program to be run in `folder`, whose outcome does not depend on the user's surroundings.
    #[must_use]
    pub fn command(&self, program: &str, folder: &Path) -> Command {
        match self {
            Self::Machine => {
                let mut command = Command::new(program);
                command.current_dir(folder).env("LC_ALL", "C.UTF-8");
                for name in UNWANTED {
                    command.env_remove(name);
                }
                if let Some(path) = path_with_ccache() {
                    // Each build has a folder of its own, which is gone afterwards: its name is no reason to compile anew.
                    command
                        .env("PATH", path)
                        .env("CCACHE_BASEDIR", folder)
                        .env("CCACHE_NOHASHDIR", "1");
                }
                command
            }
            Self::Root { root, newest_s, .. } => {
                let mut command = root.command(program, &root.inside(folder), Network::None);
                command.env(SOURCE_DATE_EPOCH, newest_s.to_string());
                command
            }
        }
    }

    /// What the commands call a path of this machine.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        match self {
            Self::Machine => path.to_owned(),
            Self::Root { root, .. } => root.inside(path),
        }
    }

    /// Arguments for `configure` beside those that every build gets.
    #[must_use]
    pub fn configure_arguments(&self) -> &[String] {
        match self {
            Self::Machine => &[],
            Self::Root { configure, .. } => configure,
        }
    }

    /// Flags for the compiler beside those that every build gets.
    #[must_use]
    pub fn compiler_flags(&self) -> &str {
        match self {
            Self::Machine => "",
            Self::Root { compiler_flags, .. } => compiler_flags,
        }
    }

    /// Flags for the linker beside those that every build gets.
    #[must_use]
    pub fn linker_flags(&self) -> &str {
        match self {
            Self::Machine => "",
            Self::Root { linker_flags, .. } => linker_flags,
        }
    }

    /// Whether the prefix may be moved once it is installed.
    #[must_use]
    pub fn makes_movable(&self) -> bool {
        matches!(self, Self::Machine)
    }
}
