//! How long was held where, a line each: what flame graph tools read. The native stacks of long holds, outermost function first; without any, the
//! places in Python code at which holds ended.

use std::io::{self, Write};

use crate::format::{plain, thread_name};
use crate::report::Report;

/// Writes `[process N;]THREAD;FUNCTION;…;FUNCTION NANOSECONDS` for each stack, or each place.
///
/// # Errors
/// When it cannot be written.
pub fn folded(report: &Report, output: &mut impl Write) -> io::Result<()> {
    for answer in &report.gils {
        let (session, gil) = report.subject(answer);
        let owner = |thread: usize| {
            let name = part(&thread_name(&gil.threads[thread]));
            if session.pid == gil.pid {
                name
            } else {
                format!("process {};{name}", gil.pid)
            }
        };
        for stack in &gil.stacks {
            write!(output, "{}", owner(stack.thread))?;
            if let Some(place) = &stack.place {
                write!(output, ";{}", part(&place.text()))?;
            }
            for frame in stack.frames.iter().rev() {
                write!(output, ";{}", part(&frame.text()))?;
            }
            writeln!(output, " {}", stack.hold_ns)?;
        }
        // The same holds again: a graph of both would be twice as wide as what was held.
        let functions = gil.functions.as_ref().filter(|_| gil.stacks.is_empty());
        for (functions, at) in functions
            .iter()
            .flat_map(|all| all.at.iter().map(move |at| (all, at)))
        {
            if at.holds.total_ns > 0 {
                let place = part(&functions.text(at.place));
                writeln!(output, "{};{place} {}", owner(at.thread), at.holds.total_ns)?;
            }
        }
    }
    Ok(())
}

/// A semicolon separates.
fn part(name: &str) -> String {
    plain(name).replace(';', ":")
}
