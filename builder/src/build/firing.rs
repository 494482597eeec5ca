//! Fires the markers of an interpreter and looks at what a tracer sees of them.

pub mod stalls;
pub mod told;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use gil_record::{Backend, Options, RecordError, Silent, Target};
use gil_report::{DropInfo, Event, Kind, TextError, TextReader};

/// Two threads that make each marker fire: one computes, the other sleeps and has to ask for the GIL again and again. The recording ends
/// with it: on a busy machine it may take long to start.
const PROGRAM: &str = "
import threading, time
end = time.monotonic() + 2
def sleeps():
    while time.monotonic() < end:
        time.sleep(0.005)
thread = threading.Thread(target=sleeps)
thread.start()
while time.monotonic() < end:
    pass
thread.join()
";

/// No duration in such a program is longer than this.
const PLAUSIBLE_NS: u64 = 10_000_000_000;

/// Why it is not known, or not so, that the markers fire.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// No tracer could be attached.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TextError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What was seen is not what the contract says.
    #[error("the markers do not fire as they should: {0}")]
    Implausible(String),
}

/// How often each marker fired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fired {
    /// `gil__claim`
    pub claims: u64,
    /// `gil__acquired`
    pub acquired: u64,
    /// `gil__drop`
    pub drops: u64,
    /// `gil__drop` with forced = 1
    pub forced: u64,
    /// `gil__drop` with `hold_ns` and `wait_ns` that are known
    pub timed: u64,
    /// `gil__drop__request`
    pub requests: u64,
    /// `gil__drop__request` that names a thread of the trace
    pub holders: u64,
}

impl fmt::Display for Fired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "gil__claim {}, gil__acquired {}, gil__drop {} ({} forced), gil__drop__request {}",
            self.claims, self.acquired, self.drops, self.forced, self.requests
        )
    }
}

/// Runs a small program on an interpreter, given these arguments, with a tracer attached, and demands each marker of the GIL with
/// plausible values.
///
/// # Errors
/// When this machine cannot trace, or the markers do not fire as the contract says.
pub fn fire(python: &Path, arguments: &[&str]) -> Result<Fired, FireError> {
    count(&events(python, arguments, PROGRAM)?)
}

/// Runs a program with a tracer attached that sees every marker.
fn events(python: &Path, arguments: &[&str], program: &str) -> Result<Vec<Event>, FireError> {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("fire.trace");
    let mut command: Vec<OsString> = vec![python.into(), "-I".into()];
    command.extend(arguments.iter().map(OsString::from));
    command.extend(["-c".into(), program.into()]);
    let options = Options {
        // The tracer that attaches to all markers; the others know how to do with fewer.
        backend: Backend::Bpftrace,
        output: Some(trace.clone()),
        ..Options::default()
    };
    gil_record::record(&Target::Command(command), &options, &mut Silent)?;
    let mut reader = TextReader::new(std::io::BufReader::new(fs_err::File::open(&trace)?))?;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event()? {
        events.push(event);
    }
    Ok(events)
}

fn count(events: &[Event]) -> Result<Fired, FireError> {
    let idents: Vec<u64> = events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Thread(thread) => Some(thread.ident),
            _ => None,
        })
        .collect();
    let mut fired = Fired::default();
    for event in events {
        let gil = match event.kind {
            Kind::Claim { gil } => {
                fired.claims += 1;
                gil
            }
            Kind::Acquired { gil, wait_ns } => {
                demand(wait_ns < PLAUSIBLE_NS, "gil__acquired", "wait_ns", wait_ns)?;
                fired.acquired += 1;
                gil
            }
            Kind::Drop(DropInfo {
                gil,
                forced,
                hold_ns,
                wait_ns,
            }) => {
                demand(hold_ns < PLAUSIBLE_NS, "gil__drop", "hold_ns", hold_ns)?;
                demand(wait_ns < PLAUSIBLE_NS, "gil__drop", "wait_ns", wait_ns)?;
                fired.drops += 1;
                fired.forced += u64::from(forced);
                fired.timed += u64::from(hold_ns > 0 && wait_ns > 0);
                gil
            }
            Kind::Request { gil, holder } => {
                fired.requests += 1;
                fired.holders += u64::from(idents.contains(&holder));
                gil
            }
            Kind::Thread(_)
            | Kind::Stall(_)
            | Kind::Process { .. }
            | Kind::Gil { .. }
            | Kind::Total(_)
            | Kind::Spread(_)
            | Kind::Stack { .. }
            | Kind::Frames { .. }
            | Kind::Module { .. }
            | Kind::Location { .. }
            | Kind::At { .. }
            | Kind::SpanBegin(_)
            | Kind::SpanEnd { .. }
            | Kind::SpanSwitch { .. }
            | Kind::Mode { .. }
            | Kind::Lost { .. }
            | Kind::End { .. } => continue,
        };
        demand(gil != 0, "a marker", "gil", gil)?;
    }
    let never = [
        (fired.claims, "gil__claim did not fire"),
        (fired.acquired, "gil__acquired did not fire"),
        (fired.drops, "gil__drop did not fire"),
        (fired.forced, "gil__drop never said forced"),
        (fired.timed, "gil__drop never knew both hold_ns and wait_ns"),
        (fired.requests, "gil__drop__request did not fire"),
        (
            fired.holders,
            "gil__drop__request never named a thread of the process",
        ),
    ];
    match never.iter().find(|(count, _)| *count == 0) {
        Some((_, reason)) => Err(FireError::Implausible(format!("{reason} ({fired})"))),
        None => Ok(fired),
    }
}

fn demand(holds: bool, marker: &str, argument: &str, value: u64) -> Result<(), FireError> {
    if holds {
        return Ok(());
    }
    Err(FireError::Implausible(format!(
        "{marker} says {argument} = {value}"
    )))
}
