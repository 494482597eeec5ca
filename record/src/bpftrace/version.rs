//! Whether bpftrace is there and new enough.

use std::io;
use std::process::{Command, Stdio};

use crate::error::RecordError;

/// The oldest one that the scripts were run with: Debian 12's.
const OLDEST: (u32, u32) = (0, 17);
const OLDEST_NAME: &str = "0.17";

/// Runs `bpftrace --version`.
///
/// # Errors
///
/// [`RecordError::BpftraceMissing`], [`RecordError::BpftraceUnusable`], [`RecordError::BpftraceTooOld`].
pub(super) fn check() -> Result<(), RecordError> {
    let output = Command::new(super::PROGRAM)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RecordError::BpftraceMissing,
        _ => RecordError::BpftraceUnusable {
            reason: error.to_string(),
        },
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = parse(&text).ok_or_else(|| RecordError::BpftraceUnusable {
        reason: format!("{}, printed `{}`", output.status, text.trim()),
    })?;
    if version < OLDEST {
        let found = format!("{}.{}", version.0, version.1);
        return Err(RecordError::BpftraceTooOld {
            found,
            needed: OLDEST_NAME,
        });
    }
    Ok(())
}

/// `bpftrace v0.17.0`, `bpftrace v0.23.5-1-gabcdef`.
fn parse(text: &str) -> Option<(u32, u32)> {
    let rest = text.trim().strip_prefix("bpftrace v")?;
    let (major, rest) = rest.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse("bpftrace v0.17.0\n"), Some((0, 17)));
        assert_eq!(parse("bpftrace v0.9.2"), Some((0, 9)));
        assert!(parse("bpftrace v0.9.2").unwrap() < OLDEST);
        assert_eq!(parse("bpftrace v1.0-rc1"), Some((1, 0)));
        assert_eq!(parse("something"), None);
    }
}
