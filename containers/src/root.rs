//! A folder that programs run in as if it were the whole system.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};

use crate::process::{ProcessError, run};

/// A root folder with a distribution in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

/// Whether programs may use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// None at all: what is built then depends on nothing that is not in the root.
    None,
    /// The machine's own.
    Host,
}

/// The programs that are used to enter a root, and their Debian package.
const PACKAGE: &str = "util-linux";

/// The extended attribute of programs that may do more than their user.
const CAPABILITY: &str = "security.capability";

/// Folders for programs, on the machine and in the root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs in namespaces of its own: what is mounted here is gone when the program ends, and nobody else sees it. The root gets
/// the devices that a container gets, and no others.
const ENTER: &str = r#"
set -e
root=$1 folder=$2
shift 2
mount --make-rprivate /
mkdir -p "$root/proc" "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 gilbuild-dev "$root/dev"
for node in null zero full random urandom tty; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 gilbuild-shm "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts" 2>/dev/null || true
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
# An image may have no shell.
if [ "$folder" = / ]; then exec chroot "$root" "$@"; fi
exec chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"#;

impl Root {
    /// The root in a folder.
    ///
    /// # Errors
    /// When the folder's full path cannot be found.
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        Ok(Self(fs_err::canonicalize(folder)?))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Where a path inside the root is on the machine.
    #[must_use]
    pub fn outside(&self, inside: &Path) -> PathBuf {
        self.0.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Where on the machine what `inside` names really is: every link is followed as the root sees it, so that none leads out
    /// of the root. The path returned has no links left in it.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn find(&self, inside: &Path) -> io::Result<PathBuf> {
        let failed = |error: rustix::io::Errno| {
            let error = io::Error::from(error);
            io::Error::new(
                error.kind(),
                format!("{} of the image: {error}", inside.display()),
            )
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(&self.0, flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let found =
            rustix::fs::openat2(&root, inside, flags, Mode::empty(), resolve).map_err(failed)?;
        std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
    }

    /// The folder of that name, made where it is missing. Its last part alone may be missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_folder(&self, inside: &Path) -> io::Result<PathBuf> {
        if let Ok(found) = self.find(inside) {
            return Ok(found);
        }
        let parent = self.find(inside.parent().unwrap_or(Path::new("/")))?;
        let folder = parent.join(inside.file_name().unwrap_or_default());
        fs_err::create_dir(&folder)?;
        Ok(folder)
    }

    /// Gives the file `inside` other content; its owner, mode and capabilities stay.
    ///
    /// # Errors
    /// When one of the files cannot be read or written.
    pub fn replace(&self, inside: &Path, content: &Path) -> io::Result<()> {
        let place = self.find(inside)?;
        let metadata = fs_err::metadata(&place)?;
        let mut capability = [0_u8; 64];
        let length = rustix::fs::lgetxattr(&place, CAPABILITY, &mut capability);
        // Beside it and renamed: the old file may have other names, or be running.
        let beside =
            tempfile::Builder::new().tempfile_in(place.parent().unwrap_or(Path::new("/")))?;
        fs_err::copy(content, beside.path())?;
        std::os::unix::fs::chown(beside.path(), Some(metadata.uid()), Some(metadata.gid()))?;
        let mode = std::fs::Permissions::from_mode(metadata.mode() & 0o7777);
        fs_err::set_permissions(beside.path(), mode)?;
        if let Ok(length) = length {
            let value = &capability[..length];
            rustix::fs::lsetxattr(beside.path(), CAPABILITY, value, XattrFlags::empty())?;
        }
        beside.persist(&place).map_err(|error| error.error)?;
        Ok(())
    }

    /// What a path below the root's folder is called inside.
    #[must_use]
    pub fn inside(&self, outside: &Path) -> PathBuf {
        let below = outside.strip_prefix(&self.0).unwrap_or(outside);
        Path::new("/").join(below)
    }

    /// A program to be run inside, in the folder `folder` (as it is called inside), with an environment of its own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>, folder: &Path, network: Network) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if network == Network::None {
            command.arg("--net");
        }
        command
            .args(["--", "sh", "-c", ENTER, "sh"])
            .arg(&self.0)
            .arg(folder)
            .arg(program)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a program inside, without a network, and returns what it wrote to stdout.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, ProcessError> {
        let mut command = self.command(program, Path::new("/"), Network::None);
        run(command.args(arguments), PACKAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_as_the_root_sees_them() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let root = Root::new(folder.path())?;
        fs_err::create_dir_all(root.outside(Path::new("/opt/bin")))?;
        fs_err::write(root.outside(Path::new("/opt/bin/python3.13")), "old")?;
        for (target, link) in [
            ("/opt", "local"),
            ("python3.13", "opt/bin/python3"),
            ("../../../../opt", "climbs"),
            ("/etc", "out"),
        ] {
            std::os::unix::fs::symlink(target, root.folder().join(link))?;
        }
        let program = root.folder().join("opt/bin/python3.13");
        for name in ["/local/bin/python3", "/climbs/bin/python3"] {
            assert_eq!(root.find(Path::new(name))?, program, "{name}");
        }
        let outside = root.find(Path::new("/out/passwd"));
        assert!(outside.is_err(), "{outside:?}");
        assert!(root.make_folder(Path::new("/out/new")).is_err());

        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o750))?;
        fs_err::write(root.folder().join("new"), "new")?;
        root.replace(Path::new("/local/bin/python3"), &root.folder().join("new"))?;
        assert_eq!(fs_err::read_to_string(&program)?, "new");
        assert_eq!(fs_err::metadata(&program)?.mode() & 0o7777, 0o750);
        Ok(())
    }
}
