//! The process of a tracing tool: started so that it goes when we go, its output read as it comes, stopped so that nothing is lost.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::error::RecordError;
use crate::scripted::messages;
use crate::scripted::output::Lines;
use crate::stop::StopReason;
use crate::tracer::Finished;

/// Of its messages so much is kept.
const LONGEST_MESSAGES: usize = 64 * 1024;
const TICK: Duration = Duration::from_millis(10);

/// What the reader of its output hands back: where the lines went, and whether all of them could be written.
type ReadToEnd = (Box<dyn Lines>, io::Result<()>);

/// A running tool.
pub(super) struct Child {
    tool: &'static str,
    process: std::process::Child,
    begun: Receiver<()>,
    reader: Option<JoinHandle<ReadToEnd>>,
    messages: Arc<Mutex<String>>,
    message_reader: Option<JoinHandle<()>>,
}

impl Child {
    /// Starts `tool`; what it prints goes to `lines`.
    pub(super) fn spawn(
        tool: &'static str,
        mut command: Command,
        lines: Box<dyn Lines>,
    ) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to a whole process group: it is to be stopped by us, once.
            .process_group(0);
        // SAFETY: the closure only makes a system call, which is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Whatever becomes of us, no breakpoint stays behind in somebody's process.
                set_parent_process_death_signal(Some(Signal::INT)).map_err(io::Error::from)
            });
        }
        let mut process = command.spawn()?;
        let (sender, begun) = mpsc::channel();
        let reader = process
            .stdout
            .take()
            .map(|stdout| thread::spawn(move || read_lines(stdout, lines, &sender)));
        let messages = Arc::new(Mutex::new(String::new()));
        let message_reader = process.stderr.take().map(|stderr| {
            let messages = Arc::clone(&messages);
            thread::spawn(move || read_messages(stderr, &messages))
        });
        Ok(Self {
            tool,
            process,
            begun,
            reader,
            messages,
            message_reader,
        })
    }

    /// Waits up to `time` for the line by which the script says that it has begun.
    pub(super) fn wait_for_begin(&mut self, time: Duration) -> bool {
        match self.begun.recv_timeout(time) {
            Ok(()) => true,
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                // The reader is gone, so the tool is about to be.
                thread::sleep(TICK);
                false
            }
        }
    }

    /// Whether it has ended, or what it prints can no longer be written.
    pub(super) fn has_ended(&mut self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
            || !matches!(self.process.try_wait(), Ok(None))
    }

    /// What it says went wrong, in one line. Call it when it has ended or is to be given up.
    pub(super) fn messages(&mut self) -> String {
        if self.wait(Duration::from_secs(1))
            && let Some(reader) = self.message_reader.take()
        {
            let _ = reader.join();
        }
        messages::shorten(&self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The error that ended the reader, if it was that its output could not be written.
    pub(super) fn write_error(&mut self) -> Result<(), RecordError> {
        match self
            .reader
            .take_if(|reader| reader.is_finished())
            .map(JoinHandle::join)
        {
            Some(Ok((_, Err(source)))) => Err(RecordError::Write { source }),
            _ => Ok(()),
        }
    }

    /// Stops it, lets it print what it still has, and completes the output.
    pub(super) fn finish(
        mut self,
        reason: StopReason,
        timeout: Duration,
    ) -> Result<Finished, RecordError> {
        self.signal(Signal::INT);
        if !self.wait(timeout) {
            self.signal(Signal::KILL);
        }
        let joined = self.reader.take().map(JoinHandle::join);
        let Some(Ok((lines, written))) = joined else {
            return Err(RecordError::Tool {
                tool: self.tool,
                source: io::Error::other("what it printed was not read to the end"),
            });
        };
        written.map_err(|source| RecordError::Write { source })?;
        lines
            .end(reason)
            .map_err(|source| RecordError::Write { source })
    }

    fn signal(&mut self, signal: Signal) {
        // Not reaped yet, so that the number is still its own.
        if matches!(self.process.try_wait(), Ok(None))
            && let Some(pid) = i32::try_from(self.process.id())
                .ok()
                .and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        let begin = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if begin.elapsed() > timeout {
                return false;
            }
            thread::sleep(TICK);
        }
        true
    }
}

impl Drop for Child {
    /// Given up: it gets a moment to detach, then it is killed. The kernel removes its probes either way.
    fn drop(&mut self) {
        self.signal(Signal::INT);
        if !self.wait(Duration::from_secs(2)) {
            self.signal(Signal::KILL);
            let _ = self.process.wait();
        }
    }
}

fn read_lines(stdout: ChildStdout, mut lines: Box<dyn Lines>, begun: &Sender<()>) -> ReadToEnd {
    let mut reader = BufReader::with_capacity(256 * 1024, stdout);
    let result = copy_lines(&mut reader, lines.as_mut(), begun);
    (lines, result)
}

fn copy_lines(
    reader: &mut BufReader<ChildStdout>,
    lines: &mut dyn Lines,
    begun: &Sender<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return lines.idle();
        }
        if lines.line(&line)? {
            // Nobody may be waiting any more.
            let _ = begun.send(());
        }
        if reader.buffer().is_empty() {
            lines.idle()?;
        }
    }
}

fn read_messages(mut stderr: ChildStderr, messages: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < LONGEST_MESSAGES {
            messages.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
}
