//! The tracer with its own eBPF program: exact, and a fraction of the cost of a script.
//!
//! It attaches to `gil__drop`, which carries a whole cycle, and to `gil__drop__request`, which is rare. So a cycle costs one hit.

mod calibrate;
mod kernel;
mod layout;
mod messages;
mod object;
mod open;
mod place;
mod reader;
mod session;
mod site;
mod summary;
mod totals;

use gil_probes::elf;

use crate::error::RecordError;
use crate::native::calibrate::Nop;
use crate::native::object::{Program, Sizes, Work};
use crate::native::open::Places;
use crate::native::session::{Attached, Running};
use crate::process::Process;
use crate::stop::StopFlag;
use crate::tracer::{Output, Plan, Session, Tracer};

/// Threads, times the GILs that they use, whose totals are kept.
const LANES: u32 = 65_536;
/// Buckets in use. A thread that does many different things needs about a thousand.
const BUCKETS: u32 = 262_144;
/// Bytes for events that were not read yet: half a second of one processor that does nothing but take and drop the GIL.
const RING: u32 = 32 << 20;
/// Of what is not used, so little is set up: one page.
const UNUSED: u32 = 4096;

/// The tracer with its own eBPF program.
#[derive(Debug)]
pub(crate) struct Native;

/// Why the eBPF program could not be loaded or attached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NativeError {
    #[error("it has no marker {name}")]
    NoMarker { name: &'static str },
    #[error("it has marker {name} in {found} places, of which {most} can be attached to")]
    TooManySites {
        name: &'static str,
        found: usize,
        most: usize,
    },
    #[error("its marker {name} cannot be read: {reason}")]
    UnreadableMarker { name: &'static str, reason: String },
    #[error(transparent)]
    Read(#[from] elf::ReadError),
    #[error("{message}")]
    Libbpf { message: String },
}

impl Tracer for Native {
    fn check(&self) -> Result<(), RecordError> {
        kernel::check()
    }

    fn attach(&self, plan: Plan, _stop: &StopFlag) -> Result<Box<dyn Session>, RecordError> {
        let pid = plan.interpreter.pid;
        let process = Process::open(pid).ok_or(RecordError::EndedEarly { pid })?;
        let work = work(&plan.output);
        let attach = || {
            let image = elf::read(&plan.interpreter.reachable)?;
            let mut program = Program::load(object::find_sites(&image)?, &work)?;
            program.attach(&plan.interpreter.reachable, pid)?;
            Ok(Attached {
                program,
                work,
                nop: Nop::of(&image, "gil__drop"),
                places: Places::find(&plan.interpreter.reachable, &image, pid),
            })
        };
        match attach() {
            Ok(attached) => Ok(Box::new(Running::start(attached, plan)?)),
            Err(_) if process.has_ended() => Err(RecordError::EndedEarly { pid }),
            Err(error) => Err(attach_error(pid, &error)),
        }
    }
}

fn attach_error(pid: u32, error: &NativeError) -> RecordError {
    RecordError::AttachNative {
        pid,
        message: error.to_string(),
    }
}

fn work(output: &Output) -> Work {
    match output {
        Output::Events {
            over: Some(over), ..
        } => Work {
            sizes: Sizes {
                lanes: LANES,
                buckets: BUCKETS,
                ring: RING,
                forget: false,
            },
            // No duration is as long as all ones, which would mean no events.
            events_from_ns: Some(u64::try_from(over.as_nanos()).unwrap_or(u64::MAX - 1)),
            keep_totals: true,
        },
        Output::Events { over: None, .. } => Work {
            sizes: Sizes {
                lanes: LANES,
                buckets: UNUSED,
                ring: RING,
                forget: true,
            },
            events_from_ns: Some(0),
            keep_totals: false,
        },
        Output::Summary => Work {
            sizes: Sizes {
                lanes: LANES,
                buckets: BUCKETS,
                ring: UNUSED,
                forget: false,
            },
            events_from_ns: None,
            keep_totals: true,
        },
    }
}
