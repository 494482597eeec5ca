//! What a trace says about a process: who it is, what it runs, and what it may use.

use std::fmt::Write as _;

use crate::cgroup;
use crate::interpreter::Interpreter;
use crate::process;
use crate::trace::escape;

/// What a forked process has from the one that started it, which is known even when it ends at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) parent: Option<u32>,
    pub(crate) command: Option<String>,
}

/// The `process` line of a trace, with its newline, and the command line in it. What cannot be found out is `-`.
pub(crate) fn process_line(
    time_ns: u64,
    interpreter: &Interpreter,
    inherited: Inherited,
) -> (String, Option<String>) {
    let pid = interpreter.pid;
    let known =
        |value: Option<String>| value.map_or_else(|| "-".to_owned(), |value| escape(&value));
    let parent = inherited.parent.or_else(|| process::parent(pid));
    let command = process::command_line(pid).or(inherited.command);
    let mut line = format!("{time_ns} process {pid}");
    // Writing to a String cannot fail.
    let _ = writeln!(
        line,
        " parent={} inner_pid={} python={} container={} cpu_limit={} build={} command={}",
        known(parent.map(|pid| pid.to_string())),
        known(process::inner_pid(pid).map(|pid| pid.to_string())),
        known(interpreter.version.clone()),
        known(cgroup::container_id(pid)),
        known(cgroup::cpu_limit(pid).map(|limit| limit.to_string())),
        if interpreter.free_threaded {
            "free-threaded"
        } else {
            "gil"
        },
        known(command.clone()),
    );
    (line, command)
}
