//! Runs apt-get with a configuration of its own, one folder for each suite, so that the machine's apt is only read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::archive_name::has_archive_suffix;
use super::sha256::Sha256;

/// Where Debian installs its archive's keys; the ending changed with Debian 13.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// What apt-get could not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AptError {
    #[error("{0} is not on this machine; only Debian and what derives from it has it")]
    NoProgram(String),
    #[error("the keys of Debian's archive are not on this machine; install debian-archive-keyring")]
    NoKeyring,
    #[error("this machine's apt knows no archive of Debian")]
    NoArchive,
    #[error("the archive has no such suite")]
    NoSuite,
    #[error("its signature was refused: {0}")]
    Signature(String),
    #[error("the archive cannot be reached: {0}")]
    Unreachable(String),
    #[error("the file is gone (404)")]
    Gone,
    #[error("apt-get failed: {0}")]
    Failed(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The archives and keys that apt is to use.
pub(crate) struct Apt {
    archives: Vec<String>,
    keyring: PathBuf,
}

/// One suite, in a folder of its own.
pub(crate) struct Suite {
    folder: PathBuf,
}

/// A version of a source package, from the suite's signed index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourcePackage {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The upstream archive.
    pub(crate) original: String,
    pub(crate) sha256: Sha256,
}

impl Apt {
    /// Reads from the machine's apt which archives of Debian it uses.
    pub(crate) fn of_machine() -> Result<Self, AptError> {
        let keyrings = KEYRINGS.map(Path::new);
        let keyring = keyrings.into_iter().find(|path| path.is_file());
        let output = run(Command::new("apt-get")
            .args([
                "indextargets",
                "--format",
                "$(REPO_URI)|$(COMPONENT)|$(ORIGIN)|$(LABEL)",
            ])
            .arg("Created-By: Packages"))?;
        let archives = debian_archives(&String::from_utf8_lossy(&output.stdout));
        if archives.is_empty() {
            return Err(AptError::NoArchive);
        }
        Ok(Self {
            archives,
            keyring: keyring.ok_or(AptError::NoKeyring)?.to_owned(),
        })
    }

    /// Fetches the suite's index of source packages into `folder`, or finds that it has not changed.
    pub(crate) fn update(&self, suite: &str, folder: &Path) -> Result<Suite, AptError> {
        for needed in ["state/lists/partial", "cache/archives/partial"] {
            fs_err::create_dir_all(folder.join(needed))?;
        }
        let lines = self.archives.iter().map(|archive| {
            let keyring = self.keyring.display();
            format!("deb-src [signed-by={keyring}] {archive} {suite} main\n")
        });
        fs_err::write(folder.join("sources.list"), lines.collect::<String>())?;
        let suite = Suite {
            folder: folder.to_owned(),
        };
        let output = run(suite.command("apt-get").arg("update"))?;
        let messages = messages(&output);
        if output.status.success() && !messages.contains("Failed to fetch") {
            return Ok(suite);
        }
        Err(why_no_update(&messages))
    }
}

impl Suite {
    /// Every version of a source package in the suite.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<SourcePackage>, AptError> {
        // apt-cache fails when there is no such package; then there is nothing to read.
        let output = run(self
            .command("apt-cache")
            .args(["showsrc", "--only-source", package]))?;
        Ok(source_packages(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Downloads a source package into `folder`; apt checks it against the signed index. Returns the upstream archive.
    pub(crate) fn download(
        &self,
        package: &SourcePackage,
        folder: &Path,
    ) -> Result<PathBuf, AptError> {
        let wanted = format!("{}={}", package.name, package.version);
        let output = run(self.command("apt-get").current_dir(folder).args([
            "source",
            "--download-only",
            "--only-source",
            &wanted,
        ]))?;
        let file = folder.join(&package.original);
        if output.status.success() && file.is_file() {
            return Ok(file);
        }
        let messages = messages(&output);
        if messages.contains("404") {
            return Err(AptError::Gone);
        }
        Err(AptError::Failed(first_error(&messages)))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = |name| self.folder.join(name).into_os_string();
        let options: [(&str, OsString); 13] = [
            ("Dir::State", folder("state")),
            ("Dir::Cache", folder("cache")),
            ("Dir::Etc::sourcelist", folder("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            // apt's own user may not write into the user's cache.
            ("APT::Sandbox::User", "root".into()),
            ("APT::Get::AllowUnauthenticated", "false".into()),
            ("APT::Update::Error-Mode", "any".into()),
            ("Acquire::AllowInsecureRepositories", "false".into()),
            ("Acquire::AllowWeakRepositories", "false".into()),
            (
                "Acquire::AllowDowngradeToInsecureRepositories",
                "false".into(),
            ),
            ("Acquire::Retries", "0".into()),
            ("Acquire::http::Timeout", "10".into()),
            ("Acquire::https::Timeout", "10".into()),
        ];
        for (key, value) in options {
            let mut option = OsString::from(format!("{key}="));
            option.push(value);
            command.arg("-o").arg(option);
        }
        command
    }
}

fn run(command: &mut Command) -> Result<Output, AptError> {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                AptError::NoProgram(name(command.get_program()))
            } else {
                error.into()
            }
        })
}

fn name(program: &OsStr) -> String {
    program.to_string_lossy().into_owned()
}

fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn why_no_update(messages: &str) -> AptError {
    let error = first_error(messages);
    if ["NO_PUBKEY", "not signed", "signature", "verif"]
        .iter()
        .any(|word| messages.contains(word))
    {
        AptError::Signature(error)
    } else if messages.contains("does not have a Release file") || messages.contains("404") {
        AptError::NoSuite
    } else {
        AptError::Unreachable(error)
    }
}

fn first_error(messages: &str) -> String {
    let marked = |mark: &str| messages.lines().find_map(|line| line.strip_prefix(mark));
    marked("E: ")
        .or_else(|| marked("W: "))
        .unwrap_or("it did not say why")
        .trim()
        .to_owned()
}

/// The addresses of Debian's own archive. Where apt has read no Release file yet, what a line offers is unknown (apt then
/// leaves the field as it was written); then every `main` that is not a security archive is taken.
fn debian_archives(targets: &str) -> Vec<String> {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for target in targets.lines() {
        let fields: Vec<&str> = target.split('|').collect();
        let [address, "main", origin, label] = fields[..] else {
            continue;
        };
        let list = match (origin, label) {
            ("Debian", "Debian") => &mut known,
            _ if is_unknown(origin) && !address.contains("security") => &mut unknown,
            _ => continue,
        };
        if !list.iter().any(|listed| listed == address) {
            list.push(address.to_owned());
        }
    }
    if known.is_empty() { unknown } else { known }
}

fn is_unknown(field: &str) -> bool {
    field.is_empty() || field.starts_with("$(")
}

/// Reads the stanzas that `apt-cache showsrc` prints. Those without an upstream archive are left out.
fn source_packages(text: &str) -> Vec<SourcePackage> {
    let mut packages: Vec<SourcePackage> = text.split("\n\n").filter_map(source_package).collect();
    packages.dedup();
    packages
}

fn source_package(stanza: &str) -> Option<SourcePackage> {
    let field = |name: &str| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let sums = stanza
        .lines()
        .skip_while(|line| !line.starts_with("Checksums-Sha256:"))
        .skip(1);
    let (sha256, original) = sums
        .take_while(|line| line.starts_with(' '))
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let (sum, file) = (words.next()?, words.nth(1)?);
            let is_original = file.contains(".orig.")
                && has_archive_suffix(Path::new(file))
                && !file.contains('/');
            is_original.then_some((sum.parse().ok()?, file.to_owned()))
        })?;
    Some(SourcePackage {
        name: field("Package:")?.to_owned(),
        version: field("Version:")?.to_owned(),
        original,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_archives_are_taken_and_each_once() {
        let targets = "http://a/debian/|main|Debian|Debian\nhttp://a/debian/|contrib|Debian|Debian\n\
                       http://a/debian/|main|Debian|Debian\nhttp://a/debian-security/|main|Debian|Debian-Security\n\
                       http://b/node/|main|. nodistro|x\n";
        assert_eq!(debian_archives(targets), ["http://a/debian/"]);
    }

    #[test]
    fn unread_archives_are_taken_when_none_is_known() {
        let targets = "http://a/debian/|main|$(ORIGIN)|$(LABEL)\nhttp://a/debian-security/|main|$(ORIGIN)|$(LABEL)\n";
        assert_eq!(debian_archives(targets), ["http://a/debian/"]);
        assert_eq!(
            debian_archives("http://u/ubuntu/|main|Ubuntu|Ubuntu\n"),
            Vec::<String>::new()
        );
        assert_eq!(debian_archives(""), Vec::<String>::new());
    }

    #[test]
    fn stanzas_of_source_packages_are_read() {
        let sum = "9".repeat(64);
        let text = format!(
            "Package: python3.13\nBinary: a, b,\n c\nVersion: 3.13.5-2+deb13u5\nFiles:\n 0123 9 python3.13_3.13.5.orig.tar.xz\n\
             Checksums-Sha256:\n {} 12 python3.13_3.13.5-2.dsc\n {sum} 22856016 python3.13_3.13.5.orig.tar.xz\n\
             {} 963 python3.13_3.13.5.orig.tar.xz.asc\nHomepage: x\n\nPackage: native\nVersion: 1\n",
            "1".repeat(64),
            "2".repeat(64),
        );
        let expected = SourcePackage {
            name: "python3.13".to_owned(),
            version: "3.13.5-2+deb13u5".to_owned(),
            original: "python3.13_3.13.5.orig.tar.xz".to_owned(),
            sha256: sum.parse().unwrap(),
        };
        assert_eq!(source_packages(&text), [expected]);
    }

    #[test]
    fn failures_are_told_apart() {
        let missing = "E: The repository 'http://a forky Release' does not have a Release file.\n";
        assert!(matches!(why_no_update(missing), AptError::NoSuite));
        let key = "W: GPG error: http://a sid InRelease: NO_PUBKEY 0123\nE: The repository 'http://a sid' is not signed.\n";
        assert!(matches!(why_no_update(key), AptError::Signature(_)));
        let network = "E: Failed to fetch http://a/InRelease  Could not resolve 'a'\n";
        assert!(
            matches!(why_no_update(network), AptError::Unreachable(message) if message.contains("resolve"))
        );
    }
}
