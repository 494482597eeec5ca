//! One recording from beginning to end: find the interpreter, attach, wait for a reason to stop, complete the output.

use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::RecordError;
use crate::events::EventFile;
use crate::interpreter::{self, Found, Interpreter};
use crate::launch::Launched;
use crate::observer::Observer;
use crate::options::{Form, Mode, Options, Target};
use crate::process::{self, Process};
use crate::stop::StopReason;
use crate::trace;
use crate::tracer::{self, Finished, Output, Plan, Session, Tracer};

/// How often to look whether there is a reason to stop.
const TICK: Duration = Duration::from_millis(50);
/// How often the observer hears of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// What a recording was.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What it left.
    pub finished: Finished,
    /// Why it stopped.
    pub reason: StopReason,
    /// The interpreter that was recorded.
    pub interpreter: Interpreter,
    /// How long it was attached.
    pub duration: Duration,
    /// How many events are in the trace (0 for a summary, which counts in the kernel).
    pub events: u64,
    /// How many events were lost, which the trace says too.
    pub lost: u64,
    /// What it cost the process, where the tracer knows.
    pub cost: Option<Cost>,
    /// How the command ended, if one was started.
    pub command_status: Option<ExitStatus>,
}

/// What a recording cost the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// How often one of its threads hit a marker.
    pub hits: u64,
    /// What a hit costs the thread on this machine, measured after the recording.
    pub hit_ns: u64,
}

impl Cost {
    /// The processor time that it took from the process.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.hits.saturating_mul(self.hit_ns))
    }
}

/// Records a process, or a command that is started for it, until there is a reason to stop.
///
/// # Errors
///
/// [`RecordError`]; before anything is written, except for [`RecordError::Write`], after which the trace is valid up to where
/// it could be written.
pub fn record(
    target: &Target,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Recording, RecordError> {
    match target {
        // What is asked for is looked at before the machine is: a wrong number is the likelier mistake.
        Target::Process(pid) => {
            let process = Process::open(*pid).ok_or(RecordError::NoSuchProcess { pid: *pid })?;
            let tracer = tracer::choose(options, observer)?;
            let interpreter = find(*pid)?;
            let (session, interpreter) = attach(tracer.as_ref(), interpreter, options)?;
            observer.attached(&interpreter);
            watch(session, interpreter, &process, options, observer)
        }
        Target::Command(command) => {
            let tracer = tracer::choose(options, observer)?;
            let mut launched = Launched::start(command)?;
            observer.started(launched.pid());
            let interpreter = launched.catch_interpreter(&options.stop)?;
            let process = Process::open(interpreter.pid).ok_or(RecordError::EndedEarly {
                pid: interpreter.pid,
            })?;
            let (session, interpreter) = attach(tracer.as_ref(), interpreter, options)?;
            launched.go_on();
            observer.attached(&interpreter);
            let mut recording = watch(session, interpreter, &process, options, observer)?;
            recording.command_status = launched.finish(recording.reason != StopReason::Exit);
            Ok(recording)
        }
    }
}

/// Finds the interpreter with GIL markers in a running process.
///
/// # Errors
///
/// When there is no such process, it may not be looked at, is no Python, or one without markers.
pub fn interpreter_of(pid: u32) -> Result<Interpreter, RecordError> {
    if Process::open(pid).is_none() {
        return Err(RecordError::NoSuchProcess { pid });
    }
    find(pid)
}

fn find(pid: u32) -> Result<Interpreter, RecordError> {
    match interpreter::find(pid) {
        Ok(Found::Interpreter(interpreter)) => Ok(interpreter),
        Ok(Found::WithoutMarkers(file)) => Err(RecordError::WithoutMarkers { pid, file }),
        Ok(Found::NotPython) => Err(RecordError::NotPython {
            pid,
            name: process::name(pid),
        }),
        Err(source) => Err(RecordError::Maps { pid, source }),
    }
}

fn attach(
    tracer: &dyn Tracer,
    interpreter: Interpreter,
    options: &Options,
) -> Result<(Box<dyn Session>, Interpreter), RecordError> {
    let output = match options.mode {
        Mode::Summary => Output::Summary,
        Mode::Events | Mode::Slow(_) => {
            let named = options.output.as_deref();
            let form = options
                .form
                .unwrap_or_else(|| named.map_or(Form::Arrow, Form::of));
            let path = options
                .output
                .clone()
                .unwrap_or_else(|| trace::default_path(interpreter.pid, form));
            let file = EventFile::create(&path, options.force, form)?;
            Output::Events {
                file,
                command: process::command_line(interpreter.pid),
                over: match options.mode {
                    Mode::Slow(over) => Some(over),
                    _ => None,
                },
            }
        }
    };
    let session = tracer.attach(
        Plan {
            interpreter: interpreter.clone(),
            output,
        },
        &options.stop,
    )?;
    Ok((session, interpreter))
}

fn watch(
    mut session: Box<dyn Session>,
    interpreter: Interpreter,
    process: &Process,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Recording, RecordError> {
    let begin = Instant::now();
    let mut next_progress = PROGRESS;
    let reason = loop {
        let elapsed = begin.elapsed();
        if options.stop.is_set() {
            break StopReason::Signal;
        }
        if options.duration.is_some_and(|duration| elapsed >= duration) {
            break StopReason::Duration;
        }
        // In this order: bpftrace ends when the process does.
        if process.has_ended() {
            break StopReason::Exit;
        }
        if session.has_ended() {
            break if process.has_ended() {
                StopReason::Exit
            } else {
                StopReason::Tracer
            };
        }
        if elapsed >= next_progress {
            let (events, lost) = session.counts().read();
            observer.progress(elapsed, events, lost);
            next_progress += PROGRESS;
        }
        let left = options
            .duration
            .map_or(TICK, |duration| duration.saturating_sub(elapsed));
        thread::sleep(left.min(TICK));
    };
    let duration = begin.elapsed();
    observer.stopping(reason);
    // The counts go on while what is on its way is collected.
    let counts = Arc::clone(session.counts());
    let finished = session.finish(reason)?;
    let (events, lost) = counts.read();
    Ok(Recording {
        finished,
        reason,
        interpreter,
        duration,
        events,
        lost,
        cost: counts.cost(),
        command_status: None,
    })
}
