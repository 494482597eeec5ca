//! The header of a trace: what was traced, when, and on which clock.

use thiserror::Error;

/// The word that opens every text trace.
pub(crate) const MAGIC: &[u8] = b"# gil-trace";

/// The version of the format that this reader knows, as text and as Arrow.
pub(crate) const VERSION: u32 = 1;

/// What the header of a trace says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The process traced, as the host numbers it; 0 when there are several.
    pub pid: u32,
    /// The Python version, where known.
    pub python: Option<String>,
    /// Wall-clock time when tracing began, ISO 8601 with offset, where known.
    pub start: Option<String>,
    /// The same moment on the trace's clock, where known.
    pub start_ns: Option<u64>,
    /// The machine, where known.
    pub host: Option<String>,
    /// The command line of the process, where known.
    pub command: Option<String>,
    /// What several processes have in common, where known: `container:ID`, `cgroup:PATH` or `all`.
    pub target: Option<String>,
    /// Only cycles with a hold or wait that lasts so long are events; all of them are in the totals.
    pub over_ns: Option<u64>,
}

/// Why a header cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// The version is another one.
    #[error(
        "the trace is of format version {0}; this reader knows version {VERSION}: use a newer gilbuild, or record again with this one"
    )]
    Version(String),
    /// A key that has to be there is not.
    #[error("the header names no `{0}`: record again, or add `{0}=…` to it")]
    Missing(&'static str),
    /// A value is not of its kind.
    #[error("the header says `{key}={value}`, which is not {wanted}: mend it, or record again")]
    Value {
        /// The key.
        key: &'static str,
        /// What the line says.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Header {
    /// Reads the header line of a text trace.
    ///
    /// # Errors
    /// When the version is unknown, a required key is missing or a value is malformed.
    pub fn parse(line: &[u8]) -> Result<Self, HeaderError> {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace().skip(2);
        let version = words.next().unwrap_or("(none)");
        let pairs = words.filter_map(|word| word.split_once('='));
        let known = pairs.filter(|(_, value)| *value != "-");
        Self::of_pairs(version, known.map(|(key, value)| (key, unescape(value))))
    }

    /// Reads what is known: keys and their values.
    pub(crate) fn of_pairs<'k>(
        version: &str,
        pairs: impl Iterator<Item = (&'k str, String)>,
    ) -> Result<Self, HeaderError> {
        if version.parse() != Ok(VERSION) {
            return Err(HeaderError::Version(version.to_owned()));
        }
        let mut header = Self::default();
        let mut pid = None;
        let mut clock = None;
        for (key, value) in pairs {
            match key {
                "pid" => pid = Some(number("pid", value)?),
                "clock" => clock = Some(value),
                "start_ns" => header.start_ns = Some(number("start_ns", value)?),
                "over_ns" => header.over_ns = Some(number("over_ns", value)?),
                "python" => header.python = Some(value),
                "start" => header.start = Some(value),
                "host" => header.host = Some(value),
                "target" => header.target = Some(value),
                "command" => header.command = Some(value),
                _ => {}
            }
        }
        let clock = clock.ok_or(HeaderError::Missing("clock"))?;
        if clock != "monotonic" {
            return Err(HeaderError::Value {
                key: "clock",
                value: clock,
                wanted: "`monotonic`, the only clock there is so far",
            });
        }
        header.pid = pid.ok_or(HeaderError::Missing("pid"))?;
        Ok(header)
    }
}

fn number<N: std::str::FromStr>(key: &'static str, value: String) -> Result<N, HeaderError> {
    value.parse().map_err(|_| HeaderError::Value {
        key,
        value,
        wanted: "a number",
    })
}

/// Turns `%XX` back into bytes; a `%` that begins no such pair stays.
pub(crate) fn unescape(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| value.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escaped {
            plain.push(byte);
            at += 3;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_knows_and_skips_the_rest() {
        let header = Header::parse(
            b"# gil-trace 1 clock=monotonic pid=4711 python=3.13.5 start=- start_ns=81 colour=blue command=python3%20a%25b.py",
        )
        .unwrap();
        assert_eq!(header.pid, 4711);
        assert_eq!(header.python.as_deref(), Some("3.13.5"));
        assert_eq!(header.start, None);
        assert_eq!(header.start_ns, Some(81));
        assert_eq!(header.command.as_deref(), Some("python3 a%b.py"));
    }

    #[test]
    fn says_what_is_wrong() {
        let parse = |line: &str| Header::parse(line.as_bytes()).unwrap_err();
        assert_eq!(
            parse("# gil-trace 2 clock=monotonic pid=1"),
            HeaderError::Version("2".to_owned())
        );
        assert_eq!(
            parse("# gil-trace 1 clock=monotonic"),
            HeaderError::Missing("pid")
        );
        assert_eq!(parse("# gil-trace 1 pid=1"), HeaderError::Missing("clock"));
        assert!(matches!(
            parse("# gil-trace 1 clock=monotonic pid=many"),
            HeaderError::Value { key: "pid", .. }
        ));
    }
}
