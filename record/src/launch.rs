//! Starting a command and catching it before it has run Python code: it is stopped as soon as the interpreter is mapped, and
//! goes on once the tracer is attached.
//!
//! Where a tracer follows processes, they stop when they start a program, before its first instruction, and nothing is missed. Where
//! none does, or when the interpreter is not one that can be told from the program, the trace misses what the interpreter did between
//! its mapping and the stop: about a millisecond of the dynamic linker's work or of its own start.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::RecordError;
use crate::interpreter::{Breadth, Finder, Found, Interpreter};
use crate::native::{Follower, News};
use crate::process::{self, Process};
use crate::stop::StopFlag;

/// How long a command may take to start a Python with markers: a shell script may have other things to do first.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A Python without markers may start one that has them, but not take longer than this.
const WITHOUT_MARKERS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the dynamic linker may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// In the beginning a process is looked at this often …
const FIRST_TICK: Duration = Duration::from_micros(200);
/// … for so long, …
const FIRST_TICKS_FOR: Duration = Duration::from_secs(1);
/// … and then this often.
const TICK: Duration = Duration::from_millis(5);
/// A process that is asked to end gets this long.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A command that we started.
#[derive(Debug)]
pub(crate) struct Launched {
    text: String,
    child: Child,
    process: Process,
    /// The process that was stopped until the tracer is attached.
    stopped: Option<Process>,
}

impl Launched {
    /// Starts a command. It has our stdin and stderr, and our stderr for its stdout: our own stdout is for results.
    ///
    /// # Errors
    ///
    /// [`RecordError::Start`].
    pub(crate) fn start(
        command: &[OsString],
        follower: Option<&Follower>,
    ) -> Result<Self, RecordError> {
        let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
        let text = words.join(" ");
        let start = || {
            let program = command
                .first()
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            let stdout = Stdio::from(rustix::io::dup(rustix::stdio::stderr())?);
            let child = Command::new(program)
                .args(&command[1..])
                .stdout(stdout)
                .spawn()?;
            let process = Process::open(child.id())
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok((child, process))
        };
        // What we start while we are followed ourselves is followed from its first instruction on.
        let own = std::process::id();
        if let Some(follower) = follower {
            follower.add(own);
        }
        let started = start();
        if let Some(follower) = follower {
            follower.remove(own);
        }
        let (child, process) = started.map_err(|source| RecordError::Start {
            command: text.clone(),
            source,
        })?;
        Ok(Self {
            text,
            child,
            process,
            stopped: None,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Waits until the command, or a process that it started, has an interpreter with markers, and leaves that process stopped.
    ///
    /// With a follower, processes stop by themselves when they start a program, and the interpreter is one that they are about to
    /// load. What is not found so, and everything without a follower, is looked for among the files that they have mapped.
    ///
    /// # Errors
    ///
    /// [`RecordError::CommandEnded`], [`RecordError::WithoutMarkers`], [`RecordError::NotPython`], [`RecordError::Interrupted`].
    pub(crate) fn catch_interpreter(
        &mut self,
        follower: Option<&Follower>,
        stop: &StopFlag,
    ) -> Result<Interpreter, RecordError> {
        let begin = Instant::now();
        let mut finder = Finder::default();
        let mut without_markers = None;
        loop {
            if let Some(follower) = follower
                && let Some(interpreter) = self.at_exec(&mut finder, follower)
            {
                return Ok(interpreter);
            }
            for pid in process::family(self.pid()) {
                if !finder.has_news(pid) {
                    continue;
                }
                let Some(process) = Process::open(pid) else {
                    continue;
                };
                // Reading the file takes longer than Python takes to start.
                process.stop();
                self.stopped = Some(process);
                // It may have been starting a program, of which the follower tells only when that is done.
                if let Some(follower) = follower
                    && let Some(interpreter) = self.at_exec(&mut finder, follower)
                {
                    return Ok(interpreter);
                }
                match finder.look(pid, Breadth::Names) {
                    Ok(Found::Interpreter(interpreter)) => {
                        self.let_it_settle(&interpreter);
                        return Ok(interpreter);
                    }
                    Ok(Found::WithoutMarkers(file)) => without_markers = Some((pid, file)),
                    // Gone meanwhile, or something else.
                    Ok(Found::NotPython | Found::Closed(_)) | Err(_) => {}
                }
                self.go_on();
            }
            self.check_whether_to_go_on(begin.elapsed(), without_markers.as_ref(), stop)?;
            let tick = if begin.elapsed() < FIRST_TICKS_FOR {
                FIRST_TICK
            } else {
                TICK
            };
            thread::sleep(tick);
        }
    }

    /// Deals with processes that have started a program and stopped: the first that is about to load an interpreter with markers
    /// stays stopped.
    fn at_exec(&mut self, finder: &mut Finder, follower: &Follower) -> Option<Interpreter> {
        let mut caught = None;
        let mut later = Vec::new();
        for news in follower.take() {
            let News::Exec { pid, program, .. } = news else {
                later.push(news);
                continue;
            };
            if caught.is_some() {
                later.push(news);
                continue;
            }
            let process = Process::open(pid);
            if let Some(interpreter) = finder.look_at_exec(pid) {
                if let Some(other) = self.stopped.replace(process?)
                    && other.pid != pid
                {
                    other.signal(Signal::CONT);
                }
                caught = Some(interpreter);
            } else {
                follower.know(program);
                if let Some(process) = process {
                    process.signal(Signal::CONT);
                }
            }
        }
        if caught.is_some() {
            follower.put_back(later);
        }
        caught
    }

    /// Lets the process go on by small steps until a tracer can attach, and leaves it stopped.
    fn let_it_settle(&self, interpreter: &Interpreter) {
        let begin = Instant::now();
        let Some(process) = &self.stopped else { return };
        while !interpreter.is_settled() && begin.elapsed() < SETTLE_TIMEOUT {
            process.signal(Signal::CONT);
            thread::sleep(FIRST_TICK);
            process.signal(Signal::STOP);
        }
    }

    fn check_whether_to_go_on(
        &mut self,
        elapsed: Duration,
        without_markers: Option<&(u32, PathBuf)>,
        stop: &StopFlag,
    ) -> Result<(), RecordError> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(RecordError::CommandEnded {
                command: self.text.clone(),
                status,
            });
        }
        if stop.is_set() {
            return Err(RecordError::Interrupted);
        }
        match without_markers {
            Some((pid, file)) if elapsed > WITHOUT_MARKERS_TIMEOUT => {
                Err(RecordError::WithoutMarkers {
                    pid: *pid,
                    file: file.clone(),
                })
            }
            None if elapsed > START_TIMEOUT => Err(RecordError::NotPython {
                pid: self.pid(),
                name: process::name(self.pid()),
            }),
            _ => Ok(()),
        }
    }

    /// Lets the process that was stopped go on.
    pub(crate) fn go_on(&mut self) {
        if let Some(process) = self.stopped.take() {
            process.signal(Signal::CONT);
        }
    }

    /// The command's exit status; with `end`, or if it does not end soon, it is asked to end, and killed if it does not.
    pub(crate) fn finish(mut self, end: bool) -> Option<ExitStatus> {
        self.go_on();
        if end || !self.wait() {
            self.process.signal(Signal::TERM);
            if !self.wait() {
                self.process.signal(Signal::KILL);
            }
        }
        self.child.wait().ok()
    }

    fn wait(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < END_TIMEOUT {
            if self.process.has_ended() {
                return true;
            }
            thread::sleep(TICK);
        }
        false
    }
}

impl Drop for Launched {
    /// Given up before anything was recorded: a command that nobody watches does not stay, let alone stopped.
    fn drop(&mut self) {
        self.go_on();
        if matches!(self.child.try_wait(), Ok(None)) {
            self.process.signal(Signal::TERM);
            if !self.wait() {
                self.process.signal(Signal::KILL);
                let _ = self.child.wait();
            }
        }
    }
}
