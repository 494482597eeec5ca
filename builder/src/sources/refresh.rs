//! Rewrites the table of releases from a folder of pyenv's python-build definitions.
//!
//! A definition is a shell script that names each archive as `https://www.python.org/ftp/python/…#SHA256`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::archive_name::{ArchiveName, Packing};
use super::sha256::Sha256;
use super::table::{ArchiveFacts, Release, Table, TableError};
use super::version::{Series, Version};

const FROM: &str = "python-build";
const ADDRESS: &str = "https://www.python.org/ftp/python/";

/// The first series that the table holds.
const FIRST: Series = Series { major: 3, minor: 9 };

/// A definition is a few lines; anything larger is not one.
const LARGEST_DEFINITION: u64 = 1024 * 1024;

/// What a refresh changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// Releases that the table did not have.
    pub added: Vec<Version>,
    /// Releases in the table now.
    pub total: usize,
}

/// The table could not be refreshed; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// A file could not be read or written.
    #[error("the table of releases could not be refreshed: {0}")]
    Io(#[from] io::Error),
    /// The present table is malformed.
    #[error("`{}`: {source}", path.display())]
    Table {
        /// The table's file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// No definition of a release was found.
    #[error(
        "`{}` holds no definition of a CPython release; name pyenv's plugins/python-build/share/python-build",
        path.display()
    )]
    NoDefinitions {
        /// The folder that was searched.
        path: PathBuf,
    },
    /// A definition and the table disagree. A published release never changes, so one of them is wrong.
    #[error(
        "{name}: the table has SHA-256 {known}, the definitions have {found}; find out which is right and correct it by hand"
    )]
    Conflict {
        /// The archive.
        name: String,
        /// The table's sum.
        known: Sha256,
        /// The definitions' sum.
        found: Sha256,
    },
}

/// Adds what `definitions` know to the table in `table_file`; keeps what only other places know, and the file's head comment.
///
/// # Errors
/// An unreadable file, no definitions, or a sum that contradicts the table. The table is then left as it was.
pub fn refresh(definitions: &Path, table_file: &Path) -> Result<Refreshed, RefreshError> {
    let text = fs_err::read_to_string(table_file)?;
    let mut table = Table::parse(&text).map_err(|source| RefreshError::Table {
        path: table_file.to_owned(),
        source,
    })?;
    let found = read_definitions(definitions)?;
    if found.is_empty() {
        return Err(RefreshError::NoDefinitions {
            path: definitions.to_owned(),
        });
    }
    let mut added = Vec::new();
    for (name, sha256) in found {
        if merge(&mut table, name, sha256)? {
            added.push(name.version);
        }
    }
    added.sort();
    let total = table.releases().count();
    write_beside(table_file, &(head_comment(&text) + &render(&table)))?;
    Ok(Refreshed { added, total })
}

fn read_definitions(folder: &Path) -> Result<Vec<(ArchiveName, Sha256)>, RefreshError> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let is_release = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<Version>().is_ok());
        if !is_release || entry.metadata()?.len() > LARGEST_DEFINITION {
            continue;
        }
        found.extend(sums(&fs_err::read_to_string(entry.path())?));
    }
    Ok(found)
}

/// The archives of CPython, and their sums, that a definition names.
fn sums(definition: &str) -> impl Iterator<Item = (ArchiveName, Sha256)> {
    definition.split('"').filter_map(|word| {
        let (_, file) = word.strip_prefix(ADDRESS)?.rsplit_once('/')?;
        let (name, sum) = file.split_once('#')?;
        let name = ArchiveName::parse(name).filter(|name| name.version.series >= FIRST)?;
        Some((name, sum.parse().ok()?))
    })
}

/// Returns whether the release is new to the table.
fn merge(table: &mut Table, name: ArchiveName, found: Sha256) -> Result<bool, RefreshError> {
    let known = table.release(name.version).cloned();
    let is_new = known.is_none();
    let mut release = known.unwrap_or_else(|| Release::new(name.version, FROM));
    match release.archive_mut(name.packing) {
        Some(facts) if facts.sha256 != found => {
            return Err(RefreshError::Conflict {
                name: name.upstream(),
                known: facts.sha256,
                found,
            });
        }
        Some(_) => {}
        unknown => {
            *unknown = Some(ArchiveFacts {
                sha256: found,
                size: None,
            });
        }
    }
    table.insert(name.version, release);
    Ok(is_new)
}

fn head_comment(text: &str) -> String {
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .fold(String::new(), |head, line| head + line + "\n")
}

/// One archive a line, so that a change of the table reads well in a diff.
fn render(table: &Table) -> String {
    let mut text = String::new();
    for (version, release) in table.releases() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[release]]\nversion = \"{version}\"\nfrom = {:?}\n",
            release.from
        );
        for (key, packing) in [("tar-xz", Packing::Xz), ("tgz", Packing::Gzip)] {
            let Some(facts) = release.archive(packing) else {
                continue;
            };
            let size = facts
                .size
                .map(|size| format!(", size = {size}"))
                .unwrap_or_default();
            let _ = writeln!(text, "{key} = {{ sha256 = \"{}\"{size} }}", facts.sha256);
        }
    }
    text
}

fn write_beside(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(text.as_bytes())?;
    let permissions = fs_err::metadata(path)?.permissions();
    beside.as_file().set_permissions(permissions)?;
    beside.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(digit: &str) -> String {
        digit.repeat(64)
    }

    fn definition(version: &str, xz: &str, tgz: &str) -> String {
        let base = version.split(['a', 'b', 'r']).next().unwrap();
        format!(
            "prefer_openssl3\ninstall_package \"openssl-3.5.1\" \"https://github.com/openssl/openssl-3.5.1.tar.gz#{}\" mac\n\
             if has_tar_xz_support; then\n  install_package \"Python-{version}\" \
             \"{ADDRESS}{base}/Python-{version}.tar.xz#{xz}\" standard\nelse\n  install_package \"Python-{version}\" \
             \"{ADDRESS}{base}/Python-{version}.tgz#{tgz}\" standard\nfi\n",
            sum("f")
        )
    }

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(table: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs_err::create_dir(folder.path().join("definitions")).unwrap();
            fs_err::write(folder.path().join("releases.toml"), table).unwrap();
            Self { folder }
        }

        fn define(&self, name: &str, text: &str) {
            fs_err::write(self.folder.path().join("definitions").join(name), text).unwrap();
        }

        fn refresh(&self) -> Result<Refreshed, RefreshError> {
            refresh(
                &self.folder.path().join("definitions"),
                &self.folder.path().join("releases.toml"),
            )
        }

        fn table(&self) -> String {
            fs_err::read_to_string(self.folder.path().join("releases.toml")).unwrap()
        }
    }

    fn known(version: &str, digit: &str) -> String {
        format!(
            "# Where from.\n\n[[release]]\nversion = \"{version}\"\nfrom = \"elsewhere\"\ntar-xz = {{ sha256 = \"{}\", size = 7 }}\n",
            sum(digit)
        )
    }

    #[test]
    fn new_releases_are_added_and_others_kept() {
        let fixture = Fixture::new(&known("3.14.7", "1"));
        fixture.define("3.13.5", &definition("3.13.5", &sum("2"), &sum("3")));
        fixture.define("3.15.0b1", &definition("3.15.0b1", &sum("4"), &sum("5")));
        fixture.define("3.8.20", &definition("3.8.20", &sum("6"), &sum("7")));
        fixture.define("3.13.5t", "source 3.13.5\n");
        fixture.define("pypy3.10", "not a definition of CPython");

        let refreshed = fixture.refresh().unwrap();
        assert_eq!(refreshed.total, 3);
        assert_eq!(
            refreshed
                .added
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["3.13.5", "3.15.0b1"]
        );

        let expected = format!(
            "# Where from.\n\n[[release]]\nversion = \"3.13.5\"\nfrom = \"python-build\"\ntar-xz = {{ sha256 = \"{}\" }}\n\
             tgz = {{ sha256 = \"{}\" }}\n\n[[release]]\nversion = \"3.14.7\"\nfrom = \"elsewhere\"\n\
             tar-xz = {{ sha256 = \"{}\", size = 7 }}\n\n[[release]]\nversion = \"3.15.0b1\"\nfrom = \"python-build\"\n\
             tar-xz = {{ sha256 = \"{}\" }}\ntgz = {{ sha256 = \"{}\" }}\n",
            sum("2"),
            sum("3"),
            sum("1"),
            sum("4"),
            sum("5")
        );
        assert_eq!(fixture.table(), expected);

        let again = fixture.refresh().unwrap();
        assert_eq!(again.added, []);
        assert_eq!(fixture.table(), expected);
    }

    #[test]
    fn a_known_release_gains_its_other_archive() {
        let fixture = Fixture::new(&known("3.13.5", "2"));
        fixture.define("3.13.5", &definition("3.13.5", &sum("2"), &sum("3")));
        assert_eq!(fixture.refresh().unwrap().added, []);
        assert!(
            fixture
                .table()
                .contains(&format!("tgz = {{ sha256 = \"{}\" }}", sum("3")))
        );
        assert!(fixture.table().contains("size = 7"));
    }

    #[test]
    fn a_contradiction_is_refused_and_nothing_written() {
        let fixture = Fixture::new(&known("3.13.5", "1"));
        fixture.define("3.13.5", &definition("3.13.5", &sum("2"), &sum("3")));
        assert!(matches!(
            fixture.refresh(),
            Err(RefreshError::Conflict { .. })
        ));
        assert_eq!(fixture.table(), known("3.13.5", "1"));
    }

    #[test]
    fn a_folder_without_definitions_is_refused() {
        let fixture = Fixture::new(&known("3.13.5", "1"));
        assert!(matches!(
            fixture.refresh(),
            Err(RefreshError::NoDefinitions { .. })
        ));
    }
}
