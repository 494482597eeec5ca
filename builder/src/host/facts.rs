//! Facts about a machine: files of `/proc`, `/sys` and `/usr`, and what its programs say of themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;

/// Where to look. Tests look into a folder that is laid out like a machine.
#[derive(Debug, Clone)]
pub struct Facts {
    root: PathBuf,
    /// Folders with programs.
    path: Vec<PathBuf>,
}

/// What a program said when asked for its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    /// It is not on the path.
    Absent,
    /// It is there and does not run: why.
    Unusable(String),
    /// Its first line.
    Says(String),
}

impl Facts {
    /// This machine, with the programs on `PATH`.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            root: PathBuf::from("/"),
            path: std::env::split_paths(&path).collect(),
        }
    }

    /// A machine laid out in a folder, with its programs in `usr/bin`.
    #[must_use]
    pub fn of_folder(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            path: vec![root.join("usr/bin")],
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, without the white space around it; `None` where it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.at(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The release of the running kernel, `6.1.0-56-amd64`.
    pub(super) fn kernel_release(&self) -> String {
        self.text("/proc/sys/kernel/osrelease").unwrap_or_default()
    }

    /// The release as numbers, for comparing.
    pub(super) fn kernel_version(&self) -> (u32, u32) {
        let release = self.kernel_release();
        let mut numbers = release
            .split(['.', '-', '+'])
            .map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// A line of `/proc/self/status`.
    fn status(&self, key: &str) -> Option<String> {
        let status = self.text("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches(':').trim().to_owned())
    }

    /// The effective user id.
    pub(super) fn effective_user(&self) -> Option<u32> {
        self.status("Uid")?
            .split_ascii_whitespace()
            .nth(1)?
            .parse()
            .ok()
    }

    /// Whether a capability (its number in linux/capability.h) is effective.
    pub(super) fn has_capability(&self, number: u32) -> bool {
        self.status("CapEff")
            .and_then(|text| u64::from_str_radix(&text, 16).ok())
            .is_some_and(|capabilities| capabilities & (1 << number) != 0)
    }

    /// The command that installs a package here; the names are Debian's and Fedora's.
    pub(super) fn install(&self, debian: &str, fedora: &str) -> String {
        let release = self.text("/etc/os-release").unwrap_or_default();
        let like = |name: &str| {
            release
                .lines()
                .filter_map(|line| {
                    line.strip_prefix("ID=")
                        .or_else(|| line.strip_prefix("ID_LIKE="))
                })
                .any(|ids| ids.trim_matches('"').split(' ').any(|id| id == name))
        };
        if like("debian") {
            format!("apt-get install {debian}")
        } else if like("fedora") || like("rhel") {
            format!("dnf install {fedora}")
        } else {
            format!("install {debian} (its name at Debian; at Fedora {fedora})")
        }
    }

    /// The name of a compiler: `gcc`, or one with a number or an architecture, `x86_64-linux-gnu-gcc-16`. A distribution's kernel headers
    /// name the very one that made the kernel, and may bring it along without the plain name.
    pub(super) fn compiler(&self) -> Option<String> {
        let is_compiler = |name: &str| {
            let name = name
                .rsplit_once("gcc")
                .filter(|(architecture, _)| architecture.is_empty() || architecture.ends_with('-'));
            name.is_some_and(|(_, number)| {
                number.is_empty()
                    || number
                        .strip_prefix('-')
                        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            })
        };
        let mut names: Vec<String> = self
            .path
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| is_compiler(name))
            .collect();
        // The plain name first.
        names.sort_by_key(String::len);
        names.into_iter().next()
    }

    /// Asks a program for its version.
    pub(super) fn version(&self, program: &str) -> Version {
        let Some(file) = self
            .path
            .iter()
            .map(|folder| folder.join(program))
            .find(|file| file.is_file())
        else {
            return Version::Absent;
        };
        let output = Command::new(file)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        match output {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Version::Absent,
            Err(error) => Version::Unusable(error.to_string()),
            Ok(output) => {
                // stap says it on stderr.
                let text = [output.stdout, output.stderr].concat();
                let text = String::from_utf8_lossy(&text);
                match text.lines().find(|line| !line.trim().is_empty()) {
                    Some(line) if output.status.success() => Version::Says(line.trim().to_owned()),
                    line => Version::Unusable(format!(
                        "{}, {}",
                        output.status,
                        line.unwrap_or("silent")
                    )),
                }
            }
        }
    }
}

/// The first `MAJOR.MINOR` in a text.
pub(super) fn first_version(text: &str) -> Option<(u32, u32)> {
    text.split(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .find_map(|part| {
            let (major, rest) = part.split_once('.')?;
            let minor = rest.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
}
