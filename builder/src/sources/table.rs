//! The table of known CPython releases and their sums, from `releases.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::archive_name::{ArchiveName, Packing};
use super::sha256::Sha256;
use super::version::{Series, Version, VersionError};

const BUNDLED: &str = include_str!("releases.toml");

/// Known releases with the sums of their archives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    releases: BTreeMap<Version, Release>,
}

/// The archives of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    version: String,
    /// Where the sums were read.
    pub from: String,
    /// `Python-VERSION.tar.xz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_xz: Option<ArchiveFacts>,
    /// `Python-VERSION.tgz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tgz: Option<ArchiveFacts>,
}

/// What is known of one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFacts {
    /// Its sum.
    pub sha256: Sha256,
    /// Its size in bytes, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Not TOML, or not of the table's shape.
    #[error("the table of releases cannot be read: {0}")]
    Shape(#[from] toml::de::Error),
    /// A version that is not one.
    #[error("the table of releases names a version that is none: {0}")]
    Version(#[from] VersionError),
    /// The same release twice, or not in order.
    #[error("the table of releases is out of order at {0}: each release stands once, oldest first")]
    Order(Version),
    /// A release without any sum.
    #[error("the table of releases has no sum for {0}")]
    NoSum(Version),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    release: Vec<Release>,
}

impl Table {
    /// The table that was compiled in.
    ///
    /// # Errors
    /// It is malformed; a test demands that it is not.
    pub fn bundled() -> Result<Self, TableError> {
        Self::parse(BUNDLED)
    }

    /// Reads a table.
    ///
    /// # Errors
    /// Wrong shape, a version or sum that is none, a release twice or out of order.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let document: Document = toml::from_str(text)?;
        let mut releases = BTreeMap::new();
        for release in document.release {
            let version: Version = release.version.parse()?;
            if releases
                .last_key_value()
                .is_some_and(|(last, _)| *last >= version)
            {
                return Err(TableError::Order(version));
            }
            if release.tar_xz.is_none() && release.tgz.is_none() {
                return Err(TableError::NoSum(version));
            }
            releases.insert(version, release);
        }
        Ok(Self { releases })
    }

    /// Every release, oldest first.
    pub fn releases(&self) -> impl Iterator<Item = (Version, &Release)> {
        self.releases
            .iter()
            .map(|(version, release)| (*version, release))
    }

    /// What is known of a release.
    #[must_use]
    pub fn release(&self, version: Version) -> Option<&Release> {
        self.releases.get(&version)
    }

    /// What is known of an archive.
    #[must_use]
    pub fn archive(&self, name: ArchiveName) -> Option<ArchiveFacts> {
        self.release(name.version)?.archive(name.packing)
    }

    /// The newest final release of a series, or the newest pre-release if there is no final one.
    #[must_use]
    pub fn newest(&self, series: Series) -> Option<Version> {
        self.releases
            .keys()
            .copied()
            .filter(|version| version.series == series)
            .max_by_key(|version| version.preference())
    }

    pub(super) fn insert(&mut self, version: Version, release: Release) {
        self.releases.insert(version, release);
    }
}

impl Release {
    pub(super) fn new(version: Version, from: &str) -> Self {
        Self {
            version: version.to_string(),
            from: from.to_owned(),
            tar_xz: None,
            tgz: None,
        }
    }

    /// What is known of the archive that is packed this way.
    #[must_use]
    pub fn archive(&self, packing: Packing) -> Option<ArchiveFacts> {
        match packing {
            Packing::Xz => self.tar_xz,
            Packing::Gzip => self.tgz,
        }
    }

    pub(super) fn archive_mut(&mut self, packing: Packing) -> &mut Option<ArchiveFacts> {
        match packing {
            Packing::Xz => &mut self.tar_xz,
            Packing::Gzip => &mut self.tgz,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str, digit: &str) -> String {
        format!(
            "[[release]]\nversion = \"{version}\"\nfrom = \"a test\"\ntar-xz = {{ sha256 = \"{}\" }}\n",
            digit.repeat(64)
        )
    }

    /// Reading demands order, uniqueness, versions and sums; what is left to check is that no sum stands for two files.
    #[test]
    fn the_bundled_table_is_sound() {
        let table = Table::bundled().unwrap();
        let mut sums: Vec<Sha256> = table
            .releases()
            .flat_map(|(_, release)| [release.tar_xz, release.tgz])
            .flatten()
            .map(|facts| facts.sha256)
            .collect();
        let count = sums.len();
        sums.sort();
        sums.dedup();
        assert_eq!(sums.len(), count, "a sum stands for two archives");
        for (version, release) in table.releases() {
            assert!((9..=15).contains(&version.series.minor), "{version}");
            assert!(!release.from.is_empty(), "{version}");
        }
        for minor in 9..=15 {
            assert!(
                table.newest(Series { major: 3, minor }).is_some(),
                "3.{minor}"
            );
        }
    }

    #[test]
    fn a_series_resolves_to_its_newest_final_release() {
        let text = release("3.14.3", "1")
            + &release("3.14.4", "2")
            + &release("3.14.5rc1", "3")
            + &release("3.15.0b1", "4");
        let table = Table::parse(&text).unwrap();
        let newest = |minor| {
            table
                .newest(Series { major: 3, minor })
                .map(|version| version.to_string())
        };
        assert_eq!(newest(14).as_deref(), Some("3.14.4"));
        assert_eq!(newest(15).as_deref(), Some("3.15.0b1"));
        assert_eq!(newest(16), None);
    }

    #[test]
    fn malformed_tables_are_refused() {
        let twice = release("3.14.3", "1") + &release("3.14.3", "1");
        assert!(matches!(Table::parse(&twice), Err(TableError::Order(_))));
        let backwards = release("3.14.3", "1") + &release("3.14.2", "1");
        assert!(matches!(
            Table::parse(&backwards),
            Err(TableError::Order(_))
        ));
        assert!(matches!(
            Table::parse(&release("3.14", "1")),
            Err(TableError::Version(_))
        ));
        assert!(matches!(
            Table::parse(&release("3.14.3", "x")),
            Err(TableError::Shape(_))
        ));
        let bare = "[[release]]\nversion = \"3.14.3\"\nfrom = \"a test\"\n";
        assert!(matches!(Table::parse(bare), Err(TableError::NoSum(_))));
    }
}
