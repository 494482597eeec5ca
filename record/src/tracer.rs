//! What every tracer can do: attach to an interpreter, hand on what it sees, stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::bpftrace::Bpftrace;
use crate::error::RecordError;
use crate::events::EventFile;
use crate::interpreter::Interpreter;
use crate::members::Members;
use crate::native::{Follower, Native};
use crate::observer::Observer;
use crate::options::{Backend, Mode, Options, Told};
use crate::record::Cost;
use crate::stop::{StopFlag, StopReason};
use crate::systemtap::Systemtap;
use crate::trace::Header;

/// A way to get at the markers.
pub(crate) trait Tracer {
    /// Whether it can work on this machine, for this user.
    fn check(&self) -> Result<(), RecordError>;

    /// Begins to follow processes, for a tracer that can: none is recorded yet.
    fn follow(
        &self,
        _members: &Members,
        _starts_command: bool,
    ) -> Result<Option<Follower>, RecordError> {
        Ok(None)
    }

    /// Attaches to interpreters and returns once every marker is live. Gives up when `stop` is set.
    fn attach(&self, plan: Plan, stop: &StopFlag) -> Result<Box<dyn Session>, RecordError>;
}

/// The tracer that was asked for, if it can work here. Where the choice is ours: the native one, else bpftrace. `needs_native`
/// is what only the native one can do.
///
/// # Errors
///
/// Why it cannot; of two, why the better one cannot.
pub(crate) fn choose(
    options: &Options,
    needs_native: Option<&'static str>,
    observer: &mut dyn Observer,
) -> Result<Box<dyn Tracer>, RecordError> {
    let tracers: Vec<Box<dyn Tracer>> = match (options.backend, needs_native) {
        (Backend::Bpftrace | Backend::Systemtap, Some(what)) => {
            return Err(RecordError::NeedsNative { what });
        }
        (Backend::Auto, Some(_)) | (Backend::Native, _) => vec![Box::new(Native)],
        (Backend::Auto, None) => vec![Box::new(Native), Box::new(Bpftrace)],
        (Backend::Bpftrace, None) => vec![Box::new(Bpftrace)],
        (Backend::Systemtap, None) => vec![Box::new(Systemtap {
            cache: options.cache.clone(),
        })],
    };
    let mut reason: Option<RecordError> = None;
    for tracer in tracers {
        match tracer.check() {
            Ok(()) => {
                if let Some(reason) = &reason {
                    observer.falls_back(reason);
                }
                return Ok(tracer);
            }
            Err(error) => {
                reason.get_or_insert(error);
            }
        }
    }
    // There is at least one tracer for each backend.
    Err(reason.unwrap_or(RecordError::BpftraceMissing))
}

/// What a tracer is to do.
pub(crate) struct Plan {
    /// The interpreters to begin with, at least one.
    pub(crate) interpreters: Vec<Interpreter>,
    /// Which other processes are recorded, where the tracer can follow them.
    pub(crate) members: Members,
    /// What follows them; from [`Tracer::follow`].
    pub(crate) follower: Option<Follower>,
    pub(crate) task: Task,
    pub(crate) output: Output,
}

/// What to write down, as [`Options`] say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) mode: Mode,
    /// The native stack is taken at the end of holds that last so long.
    pub(crate) stacks: Option<Duration>,
    pub(crate) told: Told,
    /// It may go on with cycles that last so long, and totals.
    pub(crate) adaptive: Option<Duration>,
}

impl Task {
    /// Nothing but that.
    pub(crate) fn of(mode: Mode) -> Self {
        Self {
            mode,
            stacks: None,
            told: Told::default(),
            adaptive: None,
        }
    }
}

/// Where what it sees goes.
#[derive(Debug)]
pub(crate) enum Output {
    Events {
        file: EventFile,
        header: Box<Header>,
    },
    Summary,
}

/// An attached tracer. Dropping it without [`Session::finish`] detaches and leaves what was written.
pub(crate) trait Session {
    /// How much it has seen.
    fn counts(&self) -> &Arc<Counts>;

    /// Waits for so long, and meanwhile does what there is to do.
    fn wait(&mut self, timeout: Duration) {
        thread::sleep(timeout);
    }

    /// How many processes are recorded, for a tracer that follows them.
    fn processes(&mut self) -> Option<usize> {
        None
    }

    /// What it has cost the processes up to now, where that is known.
    fn cost(&mut self) -> Option<Cost> {
        None
    }

    /// Goes on with less, which costs the processes less; `false` where there is nothing that does.
    fn use_less(&mut self) -> bool {
        false
    }

    /// Whether it has ended by itself, or can write no more.
    fn has_ended(&mut self) -> bool;

    /// What a tracer that has ended by itself says of the reason.
    fn last_words(&mut self) -> Option<String> {
        None
    }

    /// Detaches, collects what is on its way, completes the output.
    fn finish(self: Box<Self>, reason: StopReason) -> Result<Finished, RecordError>;
}

/// What is left of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// A trace file.
    Trace(PathBuf),
    /// A text for a person.
    Summary(String),
}

/// How much a tracer has seen, counted while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// How often a marker was hit, and how many nanoseconds of the process's time that takes each time; 0 = not known.
    pub(crate) hits: AtomicU64,
    pub(crate) hit_ns: AtomicU64,
}

impl Counts {
    pub(crate) fn cost(&self) -> Option<Cost> {
        let hits = self.hits.load(Ordering::Relaxed);
        let hit_ns = self.hit_ns.load(Ordering::Relaxed);
        (hit_ns > 0).then_some(Cost { hits, hit_ns })
    }

    pub(crate) fn read(&self) -> (u64, u64) {
        (
            self.events.load(Ordering::Relaxed),
            self.lost.load(Ordering::Relaxed),
        )
    }
}
