//! Debian packages: put into a root, and found out from what programs link.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::process::{self, ProcessError};
use crate::root::{Network, Root};

/// Why packages cannot be installed or found.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The root has no apt: it is not of Debian's family.
    #[error("the base has no apt-get: only bases of Debian's family can be built on")]
    NoApt,
    /// apt failed.
    #[error("cannot install packages into the base's root: {0}")]
    Install(#[source] ProcessError),
    /// The libraries of programs cannot be listed.
    #[error("cannot find out which packages the programs need: {0}")]
    Query(#[source] ProcessError),
    /// A file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Installs packages, without those that are only recommended, from the root's own sources.
///
/// # Errors
/// When the root has no apt, or apt fails.
pub fn install(root: &Root, packages: &[String], newest_s: u64) -> Result<(), PackageError> {
    if packages.is_empty() {
        return Ok(());
    }
    if root.find(Path::new("/usr/bin/apt-get")).is_err() {
        return Err(PackageError::NoApt);
    }
    let resolver = Resolver::lend(root)?;
    let mut update = apt(root, newest_s);
    process::run(update.arg("update"), "apt").map_err(PackageError::Install)?;
    let mut install = apt(root, newest_s);
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    process::run(&mut install, "apt").map_err(PackageError::Install)?;
    resolver.take_back()?;
    Ok(())
}

fn apt(root: &Root, newest_s: u64) -> std::process::Command {
    let mut command = root.command("apt-get", Path::new("/"), Network::Host);
    // apt's own user may be missing where the root is not really root.
    command
        .args(["--quiet", "--option=APT::Sandbox::User=root"])
        .args(["--option=APT::Update::Error-Mode=any"])
        .args(["--option=Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("SOURCE_DATE_EPOCH", newest_s.to_string());
    for (key, value) in std::env::vars_os() {
        let is_proxy = key
            .to_str()
            .is_some_and(|key| key.to_lowercase().ends_with("_proxy"));
        if is_proxy {
            command.env(key, value);
        }
    }
    command
}

/// The machine's way to look up names, lent to a root for a while.
struct Resolver {
    place: std::path::PathBuf,
    before: Option<Vec<u8>>,
}

impl Resolver {
    fn lend(root: &Root) -> io::Result<Self> {
        let place = root.find(Path::new("/etc"))?.join("resolv.conf");
        // A link would lead, as the machine sees it, out of the root.
        let before = match place.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Some(fs_err::read(&place)?),
            Ok(_) => {
                fs_err::remove_file(&place)?;
                None
            }
            Err(_) => None,
        };
        if let Ok(ours) = fs_err::read("/etc/resolv.conf") {
            fs_err::write(&place, ours)?;
        }
        Ok(Self { place, before })
    }

    fn take_back(self) -> io::Result<()> {
        match &self.before {
            Some(before) => fs_err::write(&self.place, before),
            None => remove(&self.place),
        }
    }
}

/// The packages that have the libraries which the programs and libraries below `folder` (as it is called inside) link. Programs
/// whose name contains one of `without` do not count.
///
/// # Errors
/// When they cannot be listed.
pub fn needed_by(
    root: &Root,
    folder: &Path,
    without: &[&str],
) -> Result<BTreeSet<String>, PackageError> {
    let script = r#"
folder=$1; shift
find "$folder" -type f \( -name '*.so*' -o -perm /111 \) "$@" -exec ldd {} ';' 2>/dev/null || true
"#;
    let mut command = root.command("sh", Path::new("/"), Network::None);
    command.args(["-c", script, "sh"]).arg(folder);
    for name in without {
        command.args(["-not", "-name", &format!("*{name}*")]);
    }
    let linked = process::run(&mut command, "libc-bin").map_err(PackageError::Query)?;
    let own = folder.to_string_lossy();
    // "libssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x…)"; dpkg may know the file with or without /usr.
    let patterns: BTreeSet<String> = linked
        .lines()
        .filter_map(|line| line.split_once("=> ")?.1.split_whitespace().next())
        .filter(|path| path.starts_with('/') && !path.starts_with(&*own))
        .map(|path| format!("*{}", path.strip_prefix("/usr").unwrap_or(path)))
        .collect();
    if patterns.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut command = root.command("dpkg-query", Path::new("/"), Network::None);
    let found = process::run(command.arg("--search").args(patterns), "dpkg")
        .map_err(PackageError::Query)?;
    // "libssl3:amd64: /usr/lib/x86_64-linux-gnu/libssl.so.3"
    Ok(found
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(packages, _)| !packages.starts_with("diversion "))
        .flat_map(|(packages, _)| packages.split(", ").map(str::to_owned))
        .collect())
}

/// Folders of files that can be made again: only what is in them is removed.
const CACHES: [&str; 5] = [
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/log",
    "tmp",
    "var/tmp",
];

/// Files that hold times, or belong to the machine that ran apt.
const LEFTOVERS: [&str; 11] = [
    "etc/resolv.conf",
    "etc/hostname",
    "etc/machine-id",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/lib/dpkg/status-old",
];

/// Removes what installing packages leaves behind and an image has no use for.
///
/// # Errors
/// When something cannot be removed.
pub fn clean(root: &Path) -> io::Result<()> {
    for cache in CACHES {
        empty(&root.join(cache))?;
    }
    for file in LEFTOVERS {
        remove(&root.join(file))?;
    }
    Ok(())
}

/// Whether a path, relative to the root, is one that [`clean`] removes.
#[must_use]
pub fn is_leftover(path: &Path) -> bool {
    let in_cache = CACHES
        .iter()
        .any(|cache| path.starts_with(cache) && path != Path::new(cache));
    in_cache || LEFTOVERS.iter().any(|file| path == Path::new(file))
}

/// Removes the files below a folder; its folders stay: packages own some of them.
fn empty(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() || folder.is_symlink() {
        return Ok(());
    }
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            empty(&entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove(file: &Path) -> io::Result<()> {
    match fs_err::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
