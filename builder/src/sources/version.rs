//! CPython versions: a release (3.13.5, 3.15.0rc2) and a series (3.13).

use std::fmt;
use std::str::FromStr;

/// A minor series of CPython, such as 3.13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The 3 of 3.13.
    pub major: u8,
    /// The 13 of 3.13.
    pub minor: u8,
}

/// How far a release is, in the order in which they come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// `a`: 3.15.0a4.
    Alpha,
    /// `b`: 3.15.0b1.
    Beta,
    /// `rc`: 3.15.0rc2.
    Candidate,
    /// No suffix: 3.15.0.
    Final,
}

/// One release of CPython. The order of the fields is the order of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The 3.13 of 3.13.5.
    pub series: Series,
    /// The 5 of 3.13.5.
    pub micro: u8,
    /// Final, or the kind of pre-release.
    pub stage: Stage,
    /// The 2 of 3.15.0rc2; 0 for a final release.
    pub serial: u8,
}

/// The text is not a version of CPython.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct VersionError {
    text: String,
    expected: &'static str,
}

impl Version {
    /// The base of a pre-release: 3.15.0 for 3.15.0rc2. Names the folder at python.org.
    #[must_use]
    pub fn without_stage(self) -> Self {
        Self {
            stage: Stage::Final,
            serial: 0,
            ..self
        }
    }

    /// Orders by what a series should resolve to: the newest final release, and a pre-release only if there is none.
    #[must_use]
    pub fn preference(self) -> (bool, Self) {
        (self.stage == Stage::Final, self)
    }
}

impl FromStr for Series {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self {
                major: number(major)?,
                minor: number(minor)?,
            })
        };
        parse().ok_or_else(|| VersionError {
            text: text.to_owned(),
            expected: "a series of CPython such as 3.13",
        })
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let parse = || {
            let (series, rest) = text.rsplit_once('.')?;
            let end = rest
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(rest.len());
            let (micro, suffix) = rest.split_at(end);
            let (stage, serial) = stage(suffix)?;
            Some(Self {
                series: series.parse().ok()?,
                micro: number(micro)?,
                stage,
                serial,
            })
        };
        parse().ok_or_else(|| VersionError {
            text: text.to_owned(),
            expected: "a release of CPython such as 3.13.5 or 3.15.0rc2",
        })
    }
}

fn stage(suffix: &str) -> Option<(Stage, u8)> {
    if suffix.is_empty() {
        return Some((Stage::Final, 0));
    }
    let (stage, serial) = if let Some(serial) = suffix.strip_prefix("rc") {
        (Stage::Candidate, serial)
    } else if let Some(serial) = suffix.strip_prefix('b') {
        (Stage::Beta, serial)
    } else {
        (Stage::Alpha, suffix.strip_prefix('a')?)
    };
    Some((stage, number(serial)?))
}

/// Digits only: no sign, no leading zero, so that every version has one spelling.
fn number(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded {
        text.parse().ok()
    } else {
        None
    }
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.series, self.micro)?;
        match self.stage {
            Stage::Alpha => write!(formatter, "a{}", self.serial),
            Stage::Beta => write!(formatter, "b{}", self.serial),
            Stage::Candidate => write!(formatter, "rc{}", self.serial),
            Stage::Final => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn releases_are_ordered_as_they_came_out() {
        let in_order = [
            "3.9.25",
            "3.10.0",
            "3.13.5",
            "3.13.13",
            "3.15.0a1",
            "3.15.0a10",
            "3.15.0b1",
            "3.15.0rc1",
            "3.15.0rc2",
            "3.15.0",
            "3.15.1",
        ];
        let mut shuffled = in_order.map(version);
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled.map(|version| version.to_string()), in_order);
    }

    #[test]
    fn a_final_release_is_preferred_to_a_newer_candidate() {
        let best = ["3.14.4", "3.14.5rc1", "3.14.3"]
            .map(version)
            .into_iter()
            .max_by_key(|version| version.preference());
        assert_eq!(best, Some(version("3.14.4")));
    }

    #[test]
    fn what_is_not_a_version_is_refused() {
        for text in [
            "", "3", "3.", "3.13", "3.13.", "3.13.5.1", "3.13.x", "3.13.05", "3.13.+5", "3.13.5rc",
            "3.13.5c1", "3.13.5 ", "3.13.300", "v3.13.5",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
