//! The tracer with its own eBPF program: exact, and a fraction of the cost of a script.
//!
//! It attaches to `gil__drop`, which carries a whole cycle, and to `gil__drop__request`, which is rare. So a cycle costs one hit.

mod calibrate;
mod follow;
mod group;
mod kernel;
mod layout;
pub(crate) mod live;
mod messages;
mod names;
mod object;
mod open;
mod perf_map;
mod place;
mod reader;
mod sampler;
mod session;
mod site;
mod spans;
mod stacks;
mod stalls;
mod summary;
mod tables;
mod tell;
mod totals;

use std::process;
use std::time::Duration;

use gil_probes::elf;

pub(crate) use crate::native::follow::{Follower, News};

use crate::error::RecordError;
use crate::members::Members;
use crate::native::follow::Following;
use crate::native::group::Group;
use crate::native::object::Work;
use crate::native::session::Running;
use crate::native::tables::Sizes;
use crate::options::Mode;
use crate::process::Process;
use crate::stop::StopFlag;
use crate::tracer::{Plan, Session, Task, Tracer};

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

    fn follow(
        &self,
        members: &Members,
        starts_command: bool,
    ) -> Result<Option<Follower>, RecordError> {
        let following = Following {
            children: !matches!(members, Members::Alone),
            stop_at_exec: starts_command,
            tell_of_others: members.takes_in_others(),
        };
        Follower::start(following)
            .map(Some)
            .map_err(|error| attach_error(process::id(), &error))
    }

    fn attach(&self, plan: Plan, _stop: &StopFlag) -> Result<Box<dyn Session>, RecordError> {
        let Some(first) = plan.interpreters.first() else {
            return Err(RecordError::Interrupted);
        };
        let pid = first.pid;
        // One of many may end meanwhile.
        let takes_in_others = plan.members.takes_in_others();
        let process = Process::open(pid);
        let has_ended = || !takes_in_others && process.as_ref().is_none_or(Process::has_ended);
        if has_ended() {
            return Err(RecordError::EndedEarly { pid });
        }
        let follower = match plan.follower {
            Some(follower) => follower,
            None => self
                .follow(&plan.members, false)?
                .ok_or(RecordError::Interrupted)?,
        };
        let work = work(&plan.task, &plan.members);
        match Group::attach(plan.interpreters, plan.members, follower, work) {
            Ok(group) => Ok(Box::new(Running::start(group, plan.output, plan.task)?)),
            Err(_) if has_ended() => Err(RecordError::EndedEarly { pid }),
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

fn work(task: &Task, members: &Members) -> Work {
    let is_adaptive = task.adaptive.is_some();
    let events_from_ns = match task.mode {
        Mode::Events => Some(0),
        Mode::Slow(over) => Some(nanoseconds(over)),
        Mode::Summary => None,
    };
    // An adaptive recording may have to go on with totals alone, which are to be those of the whole of it.
    let keep_totals = task.mode != Mode::Events || is_adaptive;
    Work {
        only_listed: !members.are_all(),
        sizes: Sizes {
            lanes: LANES,
            buckets: if keep_totals { BUCKETS } else { UNUSED },
            ring: if events_from_ns.is_some() {
                RING
            } else {
                UNUSED
            },
            forget: !keep_totals,
        },
        events_from_ns,
        keep_totals,
        stacks_from_ns: task.stacks.map(nanoseconds),
        told: task.told,
        is_adaptive,
    }
}

/// No duration is as long as all ones, which would mean never.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}
