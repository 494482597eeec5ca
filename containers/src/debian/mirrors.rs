//! Where this machine gets Debian from: read from its own apt.

use std::collections::BTreeSet;
use std::process::Command;

use crate::process::{self, ProcessError};

/// The machine's mirrors of Debian's archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    main: String,
    security: Option<String>,
}

/// Why no mirror is known.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// apt is not there or does not work.
    #[error(
        "cannot ask this machine's apt for its mirror of Debian: {0}; name a base that needs none, as oci:DIR or TAR"
    )]
    NoApt(#[from] ProcessError),
    /// apt knows other archives.
    #[error(
        "this machine's apt has no mirror of Debian: run `apt-get update`, or name a base that needs none, as oci:DIR or TAR"
    )]
    NoMirror,
}

impl Mirrors {
    /// Asks the machine's apt.
    ///
    /// # Errors
    /// When there is no apt, or it knows no archive of Debian.
    pub fn of_machine() -> Result<Self, MirrorError> {
        let mut command = Command::new("apt-get");
        command.args([
            "indextargets",
            "--format",
            "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)",
            "Created-By: Packages",
        ]);
        Self::from_targets(&process::run(&mut command, "apt")?).ok_or(MirrorError::NoMirror)
    }

    fn from_targets(text: &str) -> Option<Self> {
        let of_label = |wanted: &str| {
            let found: BTreeSet<&str> = text
                .lines()
                .filter_map(|line| match line.split('|').collect::<Vec<_>>()[..] {
                    [uri, "Debian", label, "main"] if label == wanted => Some(uri),
                    _ => None,
                })
                .collect();
            found
                .first()
                .map(|uri| uri.trim_end_matches('/').to_owned())
        };
        Some(Self {
            main: of_label("Debian")?,
            security: of_label("Debian-Security"),
        })
    }

    /// The lines of a `sources.list` for a suite, with its updates.
    #[must_use]
    pub fn lines(&self, suite: &str) -> Vec<String> {
        let main = &self.main;
        let mut lines = vec![format!("deb {main} {suite} main")];
        if matches!(suite, "sid" | "unstable") {
            return lines;
        }
        lines.push(format!("deb {main} {suite}-updates main"));
        if let Some(security) = &self.security {
            lines.push(format!("deb {security} {suite}-security main"));
        }
        lines
    }
}

/// The same line without a name and password: those are the machine's, not the image's.
pub(super) fn without_credentials(line: &str) -> String {
    let Some((head, rest)) = line.split_once("://") else {
        return line.to_owned();
    };
    let host_end = rest.find(['/', ' ']).unwrap_or(rest.len());
    match rest[..host_end].rfind('@') {
        Some(at) => format!("{head}://{}", &rest[at + 1..]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
http://other.example/repository/|cloud-sdk|gcloud|main
http://mirror.example/debian/|Debian|Debian|main
http://mirror.example/debian/|Debian|Debian|main
http://mirror.example/debian/|Debian|Debian|contrib
http://mirror.example/security/|Debian|Debian-Security|main
";

    #[test]
    fn the_machines_mirror_serves_every_suite() {
        let mirrors = Mirrors::from_targets(TARGETS).unwrap();
        assert_eq!(
            mirrors.lines("trixie"),
            [
                "deb http://mirror.example/debian trixie main",
                "deb http://mirror.example/debian trixie-updates main",
                "deb http://mirror.example/security trixie-security main",
            ]
        );
        assert_eq!(mirrors.lines("sid").len(), 1);
        assert_eq!(
            Mirrors::from_targets("http://other.example/|x|y|main"),
            None
        );
    }

    #[test]
    fn credentials_stay_on_the_machine() {
        assert_eq!(
            without_credentials("deb https://user:pass@mirror.example/debian trixie main"),
            "deb https://mirror.example/debian trixie main"
        );
        let plain = "deb http://mirror.example/debian@2 trixie main";
        assert_eq!(without_credentials(plain), plain);
    }
}
