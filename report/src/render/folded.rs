//! Native stacks of long holds, one a line, outermost function first, and how long was held on them: what flame graph tools read.

use std::io::{self, Write};

use crate::format::{plain, thread_name};
use crate::report::Report;

/// Writes `[process N;]THREAD;FUNCTION;…;FUNCTION NANOSECONDS` for each stack.
///
/// # Errors
/// When it cannot be written.
pub fn folded(report: &Report, output: &mut impl Write) -> io::Result<()> {
    for answer in &report.gils {
        let (session, gil) = report.subject(answer);
        for stack in &gil.stacks {
            if session.pid != gil.pid {
                write!(output, "process {};", gil.pid)?;
            }
            write!(output, "{}", part(&thread_name(&gil.threads[stack.thread])))?;
            for frame in stack.frames.iter().rev() {
                write!(output, ";{}", part(&frame.text()))?;
            }
            writeln!(output, " {}", stack.hold_ns)?;
        }
    }
    Ok(())
}

/// A semicolon separates.
fn part(name: &str) -> String {
    plain(name).replace(';', ":")
}
