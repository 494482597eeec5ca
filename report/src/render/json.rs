//! The report as JSON: stable, versioned, and readable again as a summary.

use std::io::{self, Write};

use crate::report::Report;

/// Writes a report as JSON, with a newline at the end.
///
/// # Errors
/// When it cannot be written.
pub fn json(report: &Report, output: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *output, report)?;
    output.write_all(b"\n")
}
