//! What a user asked for: a series, a release, an archive or a folder.

use std::path::{Path, PathBuf};

use super::archive_name::has_archive_suffix;
use super::version::{Series, Version};

/// The first series with a free-threaded build.
const FIRST_FREE_THREADED: Series = Series {
    major: 3,
    minor: 13,
};

/// Which source tree is wanted, and which build of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The source tree.
    pub wanted: Wanted,
    /// The free-threaded build (3.13t).
    pub free_threaded: bool,
}

/// Which source tree is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Any release of a series, the newest that a provider can serve.
    Series(Series),
    /// This release and no other.
    Exact(Version),
    /// The tree inside this archive.
    Archive(PathBuf),
    /// This unpacked tree.
    Folder(PathBuf),
}

/// The request names nothing that can be built.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Neither a version nor an existing path.
    #[error(
        "`{text}` is neither a version of CPython nor an existing file or folder; \
         write a series ({supported}), a release (3.13.5), or the path of a source archive or folder"
    )]
    NotUnderstood {
        /// What was written.
        text: String,
        /// The series that can be built.
        supported: SupportedList,
    },
    /// A version outside the supported series.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedError),
    /// 3.12t and older.
    #[error(
        "CPython {series} has no free-threaded build, the first that has is {FIRST_FREE_THREADED}; ask for {series}"
    )]
    NoFreeThreading {
        /// The series that was asked for.
        series: Series,
    },
}

/// No patch exists for this series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CPython {asked} is not supported; supported are {supported}")]
pub struct UnsupportedError {
    asked: String,
    supported: SupportedList,
}

/// The supported series, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedList(Vec<Series>);

impl std::fmt::Display for SupportedList {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        match names.split_last() {
            None => formatter.write_str("none"),
            Some((only, [])) => formatter.write_str(only),
            Some((last, others)) => write!(formatter, "{} and {last}", others.join(", ")),
        }
    }
}

impl From<&[Series]> for SupportedList {
    fn from(supported: &[Series]) -> Self {
        let mut sorted = supported.to_vec();
        sorted.sort();
        Self(sorted)
    }
}

impl Request {
    /// Reads `3.13`, `3.13.5`, `3.15.0rc2`, each with a `t` behind it for the free-threaded build, or a path.
    ///
    /// # Errors
    /// The text is none of these, or a version outside of `supported`.
    pub fn parse(text: &str, supported: &[Series]) -> Result<Self, RequestError> {
        if let Some(request) = parse_version(text) {
            let series = match &request.wanted {
                Wanted::Series(series) => *series,
                Wanted::Exact(version) => version.series,
                Wanted::Archive(_) | Wanted::Folder(_) => return Ok(request),
            };
            check_supported(text, series, supported)?;
            if request.free_threaded && series < FIRST_FREE_THREADED {
                return Err(RequestError::NoFreeThreading { series });
            }
            return Ok(request);
        }
        let wanted = parse_path(Path::new(text)).ok_or_else(|| RequestError::NotUnderstood {
            text: text.to_owned(),
            supported: supported.into(),
        })?;
        Ok(Self {
            wanted,
            free_threaded: false,
        })
    }
}

impl Wanted {
    /// Whether a tree of this version is what was asked for.
    #[must_use]
    pub fn accepts(&self, version: Version) -> bool {
        match self {
            Self::Series(series) => version.series == *series,
            Self::Exact(exact) => version == *exact,
            Self::Archive(_) | Self::Folder(_) => true,
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Series(series) => write!(formatter, "CPython {series}"),
            Self::Exact(version) => write!(formatter, "CPython {version}"),
            Self::Archive(path) | Self::Folder(path) => write!(formatter, "`{}`", path.display()),
        }
    }
}

/// Demands that `series` is among the supported ones.
pub(crate) fn check_supported(
    asked: &str,
    series: Series,
    supported: &[Series],
) -> Result<(), UnsupportedError> {
    if supported.contains(&series) {
        return Ok(());
    }
    Err(UnsupportedError {
        asked: asked.to_owned(),
        supported: supported.into(),
    })
}

fn parse_version(text: &str) -> Option<Request> {
    let (number, free_threaded) = match text.strip_suffix('t') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let wanted = if let Ok(series) = number.parse() {
        Wanted::Series(series)
    } else {
        Wanted::Exact(number.parse().ok()?)
    };
    Some(Request {
        wanted,
        free_threaded,
    })
}

fn parse_path(path: &Path) -> Option<Wanted> {
    if path.is_dir() {
        return Some(Wanted::Folder(path.to_owned()));
    }
    // A missing `Python-3.13.5.tar.xz` is still a request for an archive: whoever opens it names what is wrong.
    (path.is_file() || has_archive_suffix(path)).then(|| Wanted::Archive(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPPORTED: &[Series] = &[
        Series {
            major: 3,
            minor: 11,
        },
        Series {
            major: 3,
            minor: 12,
        },
        Series {
            major: 3,
            minor: 13,
        },
    ];

    fn error(text: &str) -> String {
        Request::parse(text, SUPPORTED).unwrap_err().to_string()
    }

    #[test]
    fn versions_are_read() {
        let request = Request::parse("3.13", SUPPORTED).unwrap();
        assert_eq!(request.wanted, Wanted::Series(SUPPORTED[2]));
        assert!(!request.free_threaded);
        let request = Request::parse("3.13.5t", SUPPORTED).unwrap();
        assert_eq!(request.wanted, Wanted::Exact("3.13.5".parse().unwrap()));
        assert!(request.free_threaded);
    }

    #[test]
    fn paths_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap();
        let request = Request::parse(text, SUPPORTED).unwrap();
        assert_eq!(request.wanted, Wanted::Folder(folder.path().to_owned()));
        let missing = folder.path().join("Python-3.13.5.tar.xz");
        let request = Request::parse(missing.to_str().unwrap(), SUPPORTED).unwrap();
        assert_eq!(request.wanted, Wanted::Archive(missing));
    }

    #[test]
    fn unsupported_versions_name_the_supported() {
        for text in ["3.8", "3.16", "3.8.20", "2.7", "3.16.0a1"] {
            assert_eq!(
                error(text),
                format!("CPython {text} is not supported; supported are 3.11, 3.12 and 3.13")
            );
        }
    }

    #[test]
    fn garbage_says_what_can_be_written() {
        for text in ["", "pypy3.10", "PyPy", "latest", "3", "3.13.5.6", "-3.13"] {
            let message = error(text);
            assert!(message.contains(&format!("`{text}`")), "{message}");
            assert!(message.contains("3.11, 3.12 and 3.13"), "{message}");
        }
    }

    #[test]
    fn free_threading_begins_with_3_13() {
        assert!(error("3.12t").contains("has no free-threaded build"));
    }
}
