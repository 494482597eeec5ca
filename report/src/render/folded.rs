//! How long was held where, a line each: what flame graph tools read.

use std::io::{self, Write};

use crate::paths::paths;
use crate::report::Report;

/// Writes `[process N;]THREAD;FUNCTION;…;FUNCTION NANOSECONDS` for each path on which the GIL was held.
///
/// # Errors
/// When it cannot be written.
pub fn folded(report: &Report, output: &mut impl Write) -> io::Result<()> {
    for path in paths(report).iter().filter(|path| path.hold_ns > 0) {
        if let Some(pid) = path.process {
            write!(output, "process {pid};")?;
        }
        write!(output, "{}", part(&path.thread))?;
        for step in &path.steps {
            write!(output, ";{}", part(&step.text))?;
        }
        writeln!(output, " {}", path.hold_ns)?;
    }
    Ok(())
}

/// A semicolon separates.
fn part(name: &str) -> String {
    name.replace(';', ":")
}
