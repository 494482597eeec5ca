//! Tracers that are other programs with a bundled script: what bpftrace and SystemTap have in common.

mod child;
mod messages;
mod output;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::clock;
use crate::error::RecordError;
use crate::process::Process;
use crate::scripted::child::Child;
use crate::scripted::output::{EventLines, Lines, SummaryLines};
use crate::stop::{StopFlag, StopReason};
use crate::tracer::{Counts, Finished, Output, Session};
use crate::window::Window;

pub(crate) use messages::shorten;

/// Attaching takes under a second; a large interpreter on a busy machine, some.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(30);
/// A tool prints what is still in its buffers when it is stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often to look whether something has happened while it attaches.
const TICK: Duration = Duration::from_millis(20);

/// A tool that is about to attach.
pub(crate) struct Start {
    /// What the user calls it.
    pub(crate) tool: &'static str,
    /// The program with its script and arguments.
    pub(crate) command: Command,
    /// Where the script is; it goes when the recording does.
    pub(crate) folder: TempDir,
}

impl Start {
    /// Runs it and returns once it is attached. Gives up when `stop` is set.
    pub(crate) fn attach(
        self,
        output: Output,
        process: &Process,
        stop: &StopFlag,
    ) -> Result<Box<dyn Session>, RecordError> {
        let tool = self.tool;
        let counts = Arc::new(Counts::default());
        let window = Arc::new(Window::closed());
        let lines: Box<dyn Lines> = match output {
            Output::Events { file, header } => Box::new(EventLines::new(
                file,
                *header,
                Arc::clone(&counts),
                Arc::clone(&window),
            )),
            Output::Summary => Box::new(SummaryLines::default()),
        };
        let mut child = Child::spawn(tool, self.command, lines)
            .map_err(|source| RecordError::Tool { tool, source })?;
        wait_until_attached(tool, &mut child, process, stop)?;
        Ok(Box::new(Running {
            child,
            counts,
            window,
            _folder: self.folder,
        }))
    }
}

fn wait_until_attached(
    tool: &'static str,
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
        // In this order: when the process ends, so does the tool.
        if process.has_ended() {
            return Err(RecordError::EndedEarly { pid });
        }
        if child.has_ended() {
            // What it wrote may hold the reason that its output could not be written.
            child.write_error()?;
            return Err(RecordError::Attach {
                tool,
                pid,
                message: child.messages(),
            });
        }
        if stop.is_set() {
            return Err(RecordError::Interrupted);
        }
        if begin.elapsed() > ATTACH_TIMEOUT {
            return Err(RecordError::AttachTimeout {
                tool,
                pid,
                waited: ATTACH_TIMEOUT,
                message: child.messages(),
            });
        }
    }
}

/// A tool, attached.
struct Running {
    child: Child,
    counts: Arc<Counts>,
    window: Arc<Window>,
    _folder: TempDir,
}

impl Session for Running {
    fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    fn last_words(&mut self) -> Option<String> {
        Some(self.child.messages())
    }

    fn finish(self: Box<Self>, reason: StopReason) -> Result<Finished, RecordError> {
        self.window.end(clock::monotonic_ns());
        self.child.finish(reason, DRAIN_TIMEOUT)
    }
}
