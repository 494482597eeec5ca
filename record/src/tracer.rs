//! What every tracer can do: attach to an interpreter, hand on what it sees, stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::bpftrace::Bpftrace;
use crate::error::RecordError;
use crate::events::EventFile;
use crate::interpreter::Interpreter;
use crate::native::Native;
use crate::observer::Observer;
use crate::options::{Backend, Mode, Options};
use crate::record::Cost;
use crate::stop::{StopFlag, StopReason};
use crate::systemtap::Systemtap;

/// A way to get at the markers.
pub(crate) trait Tracer {
    /// Whether it can work on this machine, for this user.
    fn check(&self) -> Result<(), RecordError>;

    /// Attaches to an interpreter and returns once every marker is live. Gives up when `stop` is set.
    fn attach(&self, plan: Plan, stop: &StopFlag) -> Result<Box<dyn Session>, RecordError>;
}

/// The tracer that was asked for, if it can work here. Where the choice is ours: the native one, else bpftrace.
///
/// # Errors
///
/// Why it cannot; of two, why the better one cannot.
pub(crate) fn choose(
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Box<dyn Tracer>, RecordError> {
    let needs_native = matches!(options.mode, Mode::Slow(_));
    let tracers: Vec<Box<dyn Tracer>> = match options.backend {
        Backend::Bpftrace | Backend::Systemtap if needs_native => {
            return Err(RecordError::NeedsNative);
        }
        Backend::Auto if needs_native => vec![Box::new(Native)],
        Backend::Auto => vec![Box::new(Native), Box::new(Bpftrace)],
        Backend::Native => vec![Box::new(Native)],
        Backend::Bpftrace => vec![Box::new(Bpftrace)],
        Backend::Systemtap => vec![Box::new(Systemtap {
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
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) interpreter: Interpreter,
    pub(crate) output: Output,
}

/// Where what it sees goes.
#[derive(Debug)]
pub(crate) enum Output {
    Events {
        file: EventFile,
        command: Option<String>,
        /// Only cycles with a hold or wait that lasts so long are events; all of them are in the totals.
        over: Option<Duration>,
    },
    Summary,
}

impl Output {
    pub(crate) fn mode(&self) -> Mode {
        match self {
            Self::Events { over: None, .. } => Mode::Events,
            Self::Events {
                over: Some(over), ..
            } => Mode::Slow(*over),
            Self::Summary => Mode::Summary,
        }
    }
}

/// An attached tracer. Dropping it without [`Session::finish`] detaches and leaves what was written.
pub(crate) trait Session {
    /// How much it has seen.
    fn counts(&self) -> &Arc<Counts>;

    /// Whether it has ended by itself, or can write no more.
    fn has_ended(&mut self) -> bool;

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
