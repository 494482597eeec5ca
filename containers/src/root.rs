//! A folder that programs run in as if it were the whole system.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

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
