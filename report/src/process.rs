//! What a trace says about a process, besides what its threads do.

use serde::{Deserialize, Serialize};

use crate::header::unescape;

/// One process. Whatever the recorder could not find out is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// Its number, as the host counts.
    pub pid: u32,
    /// Who started it.
    pub parent: Option<u32>,
    /// Its number in its own pid namespace.
    pub inner_pid: Option<u32>,
    /// Its Python version.
    pub python: Option<String>,
    /// The id of the container that it is in.
    pub container: Option<String>,
    /// How many processors its control groups let it use: a decimal number, or `none` for no limit.
    pub cpu_limit: Option<String>,
    /// Its command line.
    pub command: Option<String>,
    /// What kind of build its Python is: `free-threaded`, or `gil`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
}

impl Process {
    /// Reads `key=value` pairs; those that are not known are skipped.
    pub(crate) fn parse(pid: u32, facts: &str) -> Self {
        let mut process = Self {
            pid,
            ..Self::default()
        };
        for (key, value) in pairs(facts) {
            match key {
                "parent" => process.parent = value.parse().ok(),
                "inner_pid" => process.inner_pid = value.parse().ok(),
                "python" => process.python = Some(unescape(value)),
                "container" => process.container = Some(unescape(value)),
                "cpu_limit" => process.cpu_limit = Some(unescape(value)),
                "build" => process.build = Some(unescape(value)),
                "command" => process.command = Some(unescape(value)),
                _ => {}
            }
        }
        process
    }

    /// Whether its Python can do without a GIL.
    #[must_use]
    pub fn is_free_threaded(&self) -> bool {
        self.build.as_deref() == Some("free-threaded")
    }
}

/// The switch interval in the facts about a GIL.
pub(crate) fn switch_interval_ns(facts: &str) -> Option<u64> {
    pairs(facts)
        .find(|(key, _)| *key == "switch_interval_ns")
        .and_then(|(_, value)| value.parse().ok())
}

/// The pairs whose value is known.
pub(crate) fn pairs(facts: &str) -> impl Iterator<Item = (&str, &str)> {
    facts
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(_, value)| *value != "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_pairs_and_may_be_unknown() {
        let process = Process::parse(
            7,
            "parent=1 inner_pid=- colour=blue cpu_limit=0.5 command=python3%20a.py",
        );
        assert_eq!(process.parent, Some(1));
        assert_eq!(process.inner_pid, None);
        assert_eq!(process.cpu_limit.as_deref(), Some("0.5"));
        assert_eq!(process.command.as_deref(), Some("python3 a.py"));
        assert_eq!(
            switch_interval_ns("switch_interval_ns=5000000"),
            Some(5_000_000)
        );
        assert_eq!(switch_interval_ns("switch_interval_ns=-"), None);
    }
}
