//! Root, or root of a user namespace: what owning an image's files takes.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// This user may not do it.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no user namespace for the user.
    #[error(
        "images are built as root or in a user namespace, and there is none for this user ({0}): install the packages uidmap and util-linux, \
         give the user ranges in /etc/subuid and /etc/subgid, or run as root"
    )]
    NoNamespace(String),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The namespaces in which the user is root, has the ids of a range of their own, and may mount.
const NAMESPACE: [&str; 5] = ["--user", "--mount", "--map-root-user", "--map-auto", "--"];

/// Returns when the process is root; else starts it again in a user namespace where it is.
///
/// # Errors
/// When there can be no such namespace.
pub fn ensure() -> Result<(), PrivilegeError> {
    if is_root()? {
        return Ok(());
    }
    let tried = Command::new("unshare").args(NAMESPACE).arg("true").output();
    let refusal = match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    };
    match refusal {
        Some(reason) => Err(PrivilegeError::NoNamespace(reason)),
        None => match again()? {},
    }
}

fn again() -> io::Result<Infallible> {
    let program = std::env::current_exe()?;
    let error = Command::new("unshare")
        .args(NAMESPACE)
        .arg(program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error)
}

fn is_root() -> io::Result<bool> {
    let text = fs_err::read_to_string("/proc/self/status")?;
    let ids = text.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, file system.
    Ok(ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0"))
}
