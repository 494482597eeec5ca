//! The tracer that drives bpftrace with the bundled scripts.

mod child;
mod messages;
mod output;
mod script;
mod version;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bpftrace::child::Child;
use crate::bpftrace::output::{EventLines, Lines, SummaryLines};
use crate::bpftrace::script::Script;
use crate::clock;
use crate::error::RecordError;
use crate::privilege;
use crate::process::Process;
use crate::stop::{StopFlag, StopReason};
use crate::trace::Header;
use crate::tracer::{Counts, Finished, Output, Plan, Session, Tracer};
use crate::window::Window;

/// Attaching takes under a second; a large interpreter on a busy machine, some.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(30);
/// bpftrace prints what is still in its buffers when it is stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often to look whether something has happened while it attaches.
const TICK: Duration = Duration::from_millis(20);

/// Drives bpftrace.
#[derive(Debug)]
pub(crate) struct Bpftrace;

impl Tracer for Bpftrace {
    fn check(&self) -> Result<(), RecordError> {
        privilege::check_root()?;
        version::check()
    }

    fn attach(&self, plan: Plan, stop: &StopFlag) -> Result<Box<dyn Session>, RecordError> {
        let pid = plan.interpreter.pid;
        let process = Process::open(pid).ok_or(RecordError::EndedEarly { pid })?;
        // bpftrace cannot be pointed at a process (`-p`) whose file is no longer at its path: it then attaches to whoever has
        // mapped that file, and the script looks away from the others.
        let is_deleted = plan.interpreter.is_deleted();
        let script = Script::write(
            plan.output.mode(),
            &plan.interpreter.reachable,
            is_deleted.then_some(pid),
        )
        .map_err(|source| RecordError::Bpftrace { source })?;
        let counts = Arc::new(Counts::default());
        let window = Arc::new(Window::closed());
        let lines: Box<dyn Lines> = match plan.output {
            Output::Events { file, command, .. } => {
                let header = Header {
                    pid,
                    python: plan.interpreter.version,
                    command,
                    over: None,
                };
                Box::new(EventLines::new(
                    file,
                    header,
                    Arc::clone(&counts),
                    Arc::clone(&window),
                ))
            }
            Output::Summary => Box::new(SummaryLines::default()),
        };
        let mut child = Child::spawn(&script.path, pid, !is_deleted, lines)
            .map_err(|source| RecordError::Bpftrace { source })?;
        wait_until_attached(&mut child, &process, stop)?;
        Ok(Box::new(Running {
            child,
            counts,
            window,
            _script: script,
        }))
    }
}

fn wait_until_attached(
    child: &mut Child,
    process: &Process,
    stop: &StopFlag,
) -> Result<(), RecordError> {
    let pid = process.pid;
    let begin = Instant::now();
    loop {
        if child.wait_for_begin(TICK) {
            return Ok(());
        }
        // In this order: when the process ends, so does bpftrace.
        if process.has_ended() {
            return Err(RecordError::EndedEarly { pid });
        }
        if child.has_ended() {
            // What it wrote may hold the reason that its output could not be written.
            child.write_error()?;
            return Err(RecordError::Attach {
                pid,
                message: child.messages(),
            });
        }
        if stop.is_set() {
            return Err(RecordError::Interrupted);
        }
        if begin.elapsed() > ATTACH_TIMEOUT {
            return Err(RecordError::AttachTimeout {
                pid,
                waited: ATTACH_TIMEOUT,
                message: child.messages(),
            });
        }
    }
}

/// bpftrace, attached.
struct Running {
    child: Child,
    counts: Arc<Counts>,
    window: Arc<Window>,
    _script: Script,
}

impl Session for Running {
    fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    fn finish(self: Box<Self>, reason: StopReason) -> Result<Finished, RecordError> {
        self.window.end(clock::monotonic_ns());
        self.child.finish(reason, DRAIN_TIMEOUT)
    }
}
