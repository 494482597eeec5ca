//! One recording from beginning to end: find the interpreter, attach, wait for a reason to stop, complete the output.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::RecordError;
use crate::events::EventFile;
use crate::interpreter::{self, Breadth, Finder, Found, Interpreter};
use crate::launch::Launched;
use crate::members::Members;
use crate::native::Follower;
use crate::observer::Observer;
use crate::options::{Form, Mode, Options, Target};
use crate::process::{self, Process};
use crate::stop::StopReason;
use crate::trace::{self, Header};
use crate::tracer::{self, Finished, Output, Plan, Session, Task, Tracer};

/// How often to look whether there is a reason to stop.
const TICK: Duration = Duration::from_millis(50);
/// How often the observer hears of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// An adaptive recording that has nothing to leave out ends when it was too dear so often in a row.
const PATIENCE: u32 = 3;

/// What a recording was.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What it left.
    pub finished: Finished,
    /// Why it stopped.
    pub reason: StopReason,
    /// The first of the interpreters that were recorded.
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

/// Records processes, or a command that is started for it, until there is a reason to stop.
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
    if options.mode == Mode::Summary
        && let Some(what) = needs_trace(options)
    {
        return Err(RecordError::NeedsTrace { what });
    }
    // What is asked for is looked at before the machine is: a wrong number is the likelier mistake.
    match target {
        Target::Process(pid) => {
            let process = Process::open(*pid).ok_or(RecordError::NoSuchProcess { pid: *pid })?;
            let tracer = tracer::choose(options, needs_native(target, options), observer)?;
            let members = if options.alone {
                Members::Alone
            } else {
                Members::Family
            };
            let follower = tracer.follow(&members, false)?;
            if let Some(follower) = &follower {
                follower.add(*pid);
            }
            let interpreters = vec![find(*pid)?];
            let session = attach(tracer.as_ref(), &interpreters, (members, follower), options)?;
            observer.attached(&interpreters);
            watch(session, &interpreters, Some(&process), options, observer)
        }
        Target::Container(_) | Target::Cgroup(_) | Target::All | Target::Build(_) => {
            let members = Members::of(target)?;
            let tracer = tracer::choose(options, needs_native(target, options), observer)?;
            let follower = tracer.follow(&members, false)?;
            let interpreters = find_all(&members, target)?;
            let session = attach(tracer.as_ref(), &interpreters, (members, follower), options)?;
            observer.attached(&interpreters);
            watch(session, &interpreters, None, options, observer)
        }
        Target::Command(command) => {
            let tracer = tracer::choose(options, needs_native(target, options), observer)?;
            let members = Members::Family;
            let follower = tracer.follow(&members, true)?;
            let mut launched = Launched::start(command, follower.as_ref())?;
            observer.started(launched.pid());
            let interpreters = vec![launched.catch_interpreter(follower.as_ref(), &options.stop)?];
            let pid = interpreters[0].pid;
            let process = Process::open(pid).ok_or(RecordError::EndedEarly { pid })?;
            let follows = follower.is_some();
            let session = attach(tracer.as_ref(), &interpreters, (members, follower), options)?;
            launched.go_on();
            observer.attached(&interpreters);
            // One that follows knows when the last of the processes has ended.
            let until = (!follows).then_some(&process);
            let mut recording = watch(session, &interpreters, until, options, observer)?;
            recording.command_status = launched.finish(recording.reason != StopReason::Exit);
            Ok(recording)
        }
    }
}

/// What of it cannot be in a summary.
fn needs_trace(options: &Options) -> Option<&'static str> {
    [
        (options.stacks.is_some(), "--stacks"),
        (options.told.functions, "--functions"),
        (options.told.spans, "--spans"),
    ]
    .into_iter()
    .find_map(|(is_wanted, what)| is_wanted.then_some(what))
}

/// What of it only the native tracer can do.
fn needs_native(target: &Target, options: &Options) -> Option<&'static str> {
    match (target, options.mode) {
        (Target::Container(_), _) => Some("--container"),
        (Target::Cgroup(_), _) => Some("--cgroup"),
        (Target::All, _) => Some("--all"),
        (Target::Build(_), _) => Some("--build-id"),
        (Target::Process(_), _) if options.alone => Some("--alone"),
        (_, Mode::Slow(_)) => Some("--mode slow"),
        _ if needs_trace(options).is_some() => needs_trace(options),
        _ if options.adaptive.is_some() => Some("--adaptive"),
        _ => None,
    }
}

/// The interpreters with markers in all processes that are meant.
pub(crate) fn find_all(
    members: &Members,
    target: &Target,
) -> Result<Vec<Interpreter>, RecordError> {
    let mut finder = Finder::default();
    let mut interpreters = Vec::new();
    let mut without = None;
    let pids = members.now();
    for &pid in &pids {
        // In processes that are named one by one, every file is looked into; here that would take too long.
        match finder.look(pid, Breadth::Names) {
            Ok(Found::Interpreter(interpreter)) => interpreters.push(interpreter),
            Ok(Found::WithoutMarkers(file) | Found::Closed(file)) => without = Some(file),
            Ok(Found::NotPython) | Err(_) => {}
        }
    }
    if let Members::Build(build_id) = members {
        let mut others: Vec<_> = interpreters
            .iter()
            .filter_map(|interpreter| interpreter.build_id.clone())
            .collect();
        others.sort_unstable();
        others.dedup();
        interpreters.retain(|interpreter| members.may_run(interpreter));
        if interpreters.is_empty() {
            return Err(RecordError::NoSuchBuild {
                build_id: build_id.clone(),
                others,
            });
        }
    }
    if interpreters.is_empty() {
        return Err(RecordError::NoneWithMarkers {
            target: match target {
                Target::Container(name) => format!("container {name}"),
                Target::Cgroup(path) => format!("control group {}", path.display()),
                _ => "this machine".to_owned(),
            },
            processes: pids.len(),
            without,
        });
    }
    Ok(interpreters)
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

pub(crate) fn find(pid: u32) -> Result<Interpreter, RecordError> {
    match interpreter::find(pid) {
        Ok(Found::Interpreter(interpreter)) => Ok(interpreter),
        Ok(Found::WithoutMarkers(file)) => Err(RecordError::WithoutMarkers { pid, file }),
        Ok(Found::NotPython) => Err(RecordError::NotPython {
            pid,
            name: process::name(pid),
        }),
        Ok(Found::Closed(file)) => Err(RecordError::NotAllowed {
            pid,
            what: file.display().to_string(),
        }),
        Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(RecordError::NotAllowed {
                pid,
                what: format!("/proc/{pid}/maps"),
            })
        }
        Err(source) => Err(RecordError::Maps { pid, source }),
    }
}

fn attach(
    tracer: &dyn Tracer,
    interpreters: &[Interpreter],
    (members, follower): (Members, Option<Follower>),
    options: &Options,
) -> Result<Box<dyn Session>, RecordError> {
    let output = match options.mode {
        Mode::Summary => Output::Summary,
        Mode::Events | Mode::Slow(_) => {
            let header = header(interpreters, &members, options.mode);
            let named = options.output.as_deref();
            let form = options
                .form
                .unwrap_or_else(|| named.map_or(Form::Arrow, Form::of));
            let path = options
                .output
                .clone()
                .unwrap_or_else(|| trace::default_path(&subject(&header), form));
            let file = EventFile::create(&path, options.force, form)?;
            Output::Events {
                file,
                header: Box::new(header),
            }
        }
    };
    tracer.attach(
        Plan {
            interpreters: interpreters.to_vec(),
            members,
            follower,
            task: Task {
                mode: options.mode,
                stacks: options.stacks,
                told: options.told,
                adaptive: options.adaptive,
            },
            output,
        },
        &options.stop,
    )
}

/// What the trace says about all that is recorded.
fn header(interpreters: &[Interpreter], members: &Members, mode: Mode) -> Header {
    // One version, unless there are several.
    let mut versions: Vec<_> = interpreters
        .iter()
        .map(|interpreter| interpreter.version.clone())
        .collect();
    versions.dedup();
    let pid = match (members, interpreters) {
        (Members::Alone | Members::Family, [interpreter]) => interpreter.pid,
        _ => 0,
    };
    Header {
        pid,
        python: match versions.as_slice() {
            [version] => version.clone(),
            _ => None,
        },
        command: (pid != 0).then(|| process::command_line(pid)).flatten(),
        target: members.text(),
        over: match mode {
            Mode::Slow(over) => Some(over),
            Mode::Events | Mode::Summary => None,
        },
    }
}

/// The word in the name of a trace that tells what it is of.
fn subject(header: &Header) -> String {
    match header.target.as_deref() {
        None => header.pid.to_string(),
        Some(target) => match target.strip_prefix("container:") {
            // As engines shorten it.
            Some(id) => id.chars().take(12).collect(),
            None => target.split(':').next().unwrap_or(target).to_owned(),
        },
    }
}

fn watch(
    mut session: Box<dyn Session>,
    interpreters: &[Interpreter],
    process: Option<&Process>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Recording, RecordError> {
    let begin = Instant::now();
    let mut next_progress = PROGRESS;
    let mut budget = Budget::default();
    let mut strikes = 0;
    let reason = loop {
        let elapsed = begin.elapsed();
        if options.stop.is_set() {
            break StopReason::Signal;
        }
        if options.duration.is_some_and(|duration| elapsed >= duration) {
            break StopReason::Duration;
        }
        // In this order: bpftrace ends when the process does.
        if has_ended(process, session.as_mut()) {
            break StopReason::Exit;
        }
        if session.has_ended() {
            break if has_ended(process, session.as_mut()) {
                StopReason::Exit
            } else {
                StopReason::Tracer
            };
        }
        if elapsed >= next_progress {
            let (events, lost) = session.counts().read();
            observer.progress(elapsed, events, lost);
            if let Some(limit) = options.max_overhead
                && let Some(share) = budget.share(session.as_mut(), elapsed)
                && share > limit
            {
                observer.over_budget(share);
                if let Some(over) = options.adaptive {
                    if session.use_less() {
                        observer.uses_less(over);
                        strikes = 0;
                    } else {
                        strikes += 1;
                    }
                }
            } else {
                strikes = 0;
            }
            if strikes >= PATIENCE {
                break StopReason::Overhead;
            }
            // A look that was late shortens no second.
            next_progress = begin.elapsed() + PROGRESS;
        }
        let left = options
            .duration
            .map_or(TICK, |duration| duration.saturating_sub(elapsed));
        session.wait(left.min(TICK));
    };
    let duration = begin.elapsed();
    observer.stopping(reason);
    if reason == StopReason::Tracer
        && let Some(words) = session.last_words()
    {
        observer.tracer_ended(&words);
    }
    // The counts go on while what is on its way is collected.
    let counts = Arc::clone(session.counts());
    let finished = session.finish(reason)?;
    let (events, lost) = counts.read();
    Ok(Recording {
        finished,
        reason,
        interpreter: interpreters[0].clone(),
        duration,
        events,
        lost,
        cost: counts.cost(),
        command_status: None,
    })
}

/// What a recording takes from the processes, over time.
#[derive(Debug, Default)]
struct Budget {
    elapsed: Duration,
    total: Duration,
}

impl Budget {
    /// The share of one processor that it has taken since the last time; `None` where that is not known.
    fn share(&mut self, session: &mut dyn Session, elapsed: Duration) -> Option<f64> {
        let total = session.cost()?.total();
        let taken = total.saturating_sub(self.total).as_secs_f64();
        let passed = elapsed.saturating_sub(self.elapsed).as_secs_f64();
        (self.elapsed, self.total) = (elapsed, total);
        (passed > 0.0).then(|| taken / passed)
    }
}

/// Whether the process, or else all of them, are gone.
fn has_ended(process: Option<&Process>, session: &mut dyn Session) -> bool {
    match process {
        Some(process) => process.has_ended(),
        None => session.processes() == Some(0),
    }
}
