//! The tracer that drives bpftrace with the bundled scripts.

mod script;
mod version;

use std::process::Command;
use std::thread;

use crate::bpftrace::script::Script;
use crate::error::RecordError;
use crate::privilege;
use crate::process::Process;
use crate::scripted::Start;
use crate::stop::StopFlag;
use crate::tracer::{Plan, Session, Tracer};

/// The program, looked up on PATH.
const PROGRAM: &str = "bpftrace";
/// Memory for events that bpftrace has not yet read, for all processors together.
const EVENT_BUFFERS: usize = 256 * 1024 * 1024;
/// The most pages that one processor's buffer gets (16 MiB), and the least (bpftrace's default).
const PAGES: std::ops::RangeInclusive<usize> = 64..=4096;
/// Entries in each of a script's maps: threads, over the whole recording.
const MAP_ENTRIES: &str = "16384";

/// Drives bpftrace.
#[derive(Debug)]
pub(crate) struct Bpftrace;

impl Tracer for Bpftrace {
    fn check(&self) -> Result<(), RecordError> {
        privilege::check_root()?;
        version::check()
    }

    fn attach(&self, plan: Plan, stop: &StopFlag) -> Result<Box<dyn Session>, RecordError> {
        let Some(interpreter) = plan.interpreters.first() else {
            return Err(RecordError::Interrupted);
        };
        let pid = interpreter.pid;
        let process = Process::open(pid).ok_or(RecordError::EndedEarly { pid })?;
        // bpftrace cannot be pointed at a process (`-p`) whose file is no longer at its path: it then attaches to whoever has
        // mapped that file, and the script looks away from the others.
        let is_deleted = interpreter.is_deleted();
        let script = Script::write(
            plan.task.mode,
            &interpreter.reachable,
            interpreter.free_threaded,
            is_deleted.then_some(pid),
        )
        .map_err(|source| RecordError::Tool {
            tool: PROGRAM,
            source,
        })?;
        let mut command = Command::new(PROGRAM);
        if !is_deleted {
            command.args(["-p", &pid.to_string()]);
        }
        command
            .args(["-q", "--no-warnings"])
            .arg(&script.path)
            .arg(pid.to_string())
            .env("BPFTRACE_PERF_RB_PAGES", pages_per_processor().to_string())
            .env("BPFTRACE_MAP_KEYS_MAX", MAP_ENTRIES);
        let start = Start {
            tool: PROGRAM,
            command,
            folder: script.folder,
        };
        start.attach(plan.output, &process, stop)
    }
}

/// A power of two, as the kernel wants it.
fn pages_per_processor() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let pages = EVENT_BUFFERS / 4096 / processors;
    let power = if pages.is_power_of_two() {
        pages
    } else {
        pages.next_power_of_two() / 2
    };
    power.clamp(*PAGES.start(), *PAGES.end())
}
