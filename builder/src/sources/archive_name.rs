//! Names of source archives: upstream's `Python-3.13.5.tar.xz` and Debian's `python3.13_3.13.5.orig.tar.xz`.

use std::path::Path;

use super::version::Version;

/// How an archive is packed. The order is the order of preference: `.tar.xz` is the smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Packing {
    /// `.tgz` or `.tar.gz`.
    Gzip,
    /// `.tar.xz`.
    Xz,
}

/// A release's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveName {
    /// The release inside.
    pub version: Version,
    /// How it is packed.
    pub packing: Packing,
}

impl ArchiveName {
    /// Recognises upstream's and Debian's names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, packing) = split_suffix(name)?;
        let version = if let Some(version) = stem.strip_prefix("Python-") {
            version.parse().ok()?
        } else {
            let (package, version) = stem.strip_suffix(".orig")?.split_once('_')?;
            let version = debian_upstream_version(version)?;
            if package != debian_package(version) {
                return None;
            }
            version
        };
        Some(Self { version, packing })
    }

    /// The name that python.org and the cache use.
    #[must_use]
    pub fn upstream(self) -> String {
        let suffix = match self.packing {
            Packing::Xz => "tar.xz",
            Packing::Gzip => "tgz",
        };
        format!("Python-{}.{suffix}", self.version)
    }
}

/// The Debian source package that holds a version's series.
pub(crate) fn debian_package(version: Version) -> String {
    format!("python{}", version.series)
}

/// Debian writes pre-releases with a tilde, which sorts before the release: `3.15.0~rc2`.
pub(crate) fn debian_upstream_version(text: &str) -> Option<Version> {
    text.replacen('~', "", 1).parse().ok()
}

/// Whether a path ends as a source archive does.
pub(crate) fn has_archive_suffix(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| split_suffix(name).is_some())
}

fn split_suffix(name: &str) -> Option<(&str, Packing)> {
    [
        (".tar.xz", Packing::Xz),
        (".tgz", Packing::Gzip),
        (".tar.gz", Packing::Gzip),
    ]
    .into_iter()
    .find_map(|(suffix, packing)| Some((name.strip_suffix(suffix)?, packing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_namings_are_read() {
        for (name, version, packing) in [
            ("Python-3.13.5.tar.xz", "3.13.5", Packing::Xz),
            ("Python-3.11.2.tgz", "3.11.2", Packing::Gzip),
            ("Python-3.11.2.tar.gz", "3.11.2", Packing::Gzip),
            ("python3.11_3.11.2.orig.tar.gz", "3.11.2", Packing::Gzip),
            (
                "python3.15_3.15.0~rc2.orig.tar.xz",
                "3.15.0rc2",
                Packing::Xz,
            ),
        ] {
            let version = version.parse().unwrap();
            assert_eq!(
                ArchiveName::parse(name),
                Some(ArchiveName { version, packing }),
                "{name}"
            );
        }
    }

    #[test]
    fn other_names_are_not() {
        for name in [
            "Python-3.13.tar.xz",
            "Python-3.13.5.tar.xz.asc",
            "Python-3.13.5.zip",
            "python3.13_3.12.5.orig.tar.xz",
            "python3.13_3.13.5-2.debian.tar.xz",
            "SHA256SUMS",
        ] {
            assert_eq!(ArchiveName::parse(name), None, "{name}");
        }
    }
}
