//! What a trace says about a process: who it is, what it runs, and what it may use.

use std::fmt::Write as _;

use crate::cgroup;
use crate::interpreter::Interpreter;
use crate::process;
use crate::trace::escape;

/// The `process` line of a trace, with its newline. What cannot be found out is `-`.
pub(crate) fn process_line(time_ns: u64, interpreter: &Interpreter) -> String {
    let pid = interpreter.pid;
    let known =
        |value: Option<String>| value.map_or_else(|| "-".to_owned(), |value| escape(&value));
    let mut line = format!("{time_ns} process {pid} parent={}", process::parent(pid));
    // Writing to a String cannot fail.
    let _ = writeln!(
        line,
        " inner_pid={} python={} container={} cpu_limit={} command={}",
        known(process::inner_pid(pid).map(|pid| pid.to_string())),
        known(interpreter.version.clone()),
        known(cgroup::container_id(pid)),
        known(cgroup::cpu_limit(pid).map(|limit| limit.to_string())),
        known(process::command_line(pid)),
    );
    line
}
