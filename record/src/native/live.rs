//! Looks at the totals while the program counts: what `gilbuild top` shows.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock;
use crate::error::RecordError;
use crate::members::Members;
use crate::native::group::Group;
use crate::native::open::Open;
use crate::native::totals;
use crate::native::{Native, attach_error, work};
use crate::options::Mode;
use crate::process::Process;
use crate::record::{find, find_all};
use crate::tracer::{Task, Tracer as _};
use crate::{Interpreter, Target};

/// Counting, attached. Dropping it detaches.
pub struct Live {
    group: Group,
    process: Option<Process>,
    interpreters: Vec<Interpreter>,
}

/// What had been done up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The moment, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// How many processes are recorded.
    pub processes: usize,
    /// What each thread has done with each GIL since the beginning.
    pub threads: Vec<ThreadSample>,
    /// Cycles that are in none of them, because there was no room.
    pub lost: u64,
}

/// What one thread has done with one GIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadSample {
    /// Its process, as the host numbers it.
    pub pid: u32,
    /// Its id, as the host numbers it.
    pub tid: u32,
    /// The address of the GIL.
    pub gil: u64,
    /// Its name, as the kernel has it.
    pub name: String,
    /// How often it has had the GIL and dropped it.
    pub holds: u64,
    /// For how long, with the hold that goes on.
    pub hold_ns: u64,
    /// For how long it has waited for it, with the wait that goes on.
    pub wait_ns: u64,
    /// How often others asked it to drop the GIL, having waited for the switch interval.
    pub asked: u64,
}

impl Live {
    /// Attaches to a target that runs already.
    ///
    /// # Errors
    ///
    /// [`RecordError`]: what is asked for is not there, or this machine cannot do it.
    pub fn attach(target: &Target) -> Result<Self, RecordError> {
        let (members, process) = match target {
            Target::Process(pid) => {
                let process =
                    Process::open(*pid).ok_or(RecordError::NoSuchProcess { pid: *pid })?;
                (Members::Family, Some(process))
            }
            _ => (Members::of(target)?, None),
        };
        Native.check()?;
        let Some(follower) = Native.follow(&members, false)? else {
            return Err(RecordError::Interrupted);
        };
        let interpreters = match target {
            Target::Process(pid) => vec![find(*pid)?],
            _ => find_all(&members, target)?,
        };
        let work = work(&Task::of(Mode::Summary), &members);
        let pid = interpreters
            .first()
            .map_or(0, |interpreter| interpreter.pid);
        let group = Group::attach(interpreters.clone(), members, follower, work)
            .map_err(|error| attach_error(pid, &error))?;
        Ok(Self {
            group,
            process,
            interpreters,
        })
    }

    /// The interpreters that it was attached to at first.
    #[must_use]
    pub fn interpreters(&self) -> &[Interpreter] {
        &self.interpreters
    }

    /// Waits for so long, and meanwhile follows processes that come and go.
    pub fn wait(&mut self, timeout: Duration) {
        self.group.wait(timeout);
        // There is no trace that they could go into.
        self.group.take_notes();
    }

    /// Whether the process, or all of them, are gone.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match &self.process {
            Some(process) => process.has_ended(),
            None => self.group.has_ended(),
        }
    }

    /// What has been done up to now.
    ///
    /// # Errors
    ///
    /// [`RecordError::Totals`].
    pub fn sample(&self) -> Result<Sample, RecordError> {
        let failed = |error: crate::native::NativeError| RecordError::Totals {
            message: error.to_string(),
        };
        let tables = &self.group.tables;
        let lanes = totals::lanes(tables).map_err(failed)?;
        let asked = totals::asked(tables).map_err(failed)?;
        let counters = tables.counters().map_err(failed)?.read();
        let time_ns = clock::monotonic_ns();
        let mut open: HashMap<(u32, u64), Open> = HashMap::new();
        for cycle in self.group.open(&lanes, time_ns) {
            open.insert((cycle.tid, cycle.gil), cycle.open);
        }
        let threads = lanes
            .into_iter()
            .map(|(key, lane)| {
                let (hold_ns, wait_ns) = match open.get(&(key.tid, key.gil)) {
                    Some(Open::Hold {
                        acquired_ns,
                        wait_ns,
                    }) => (time_ns.saturating_sub(*acquired_ns), *wait_ns),
                    Some(Open::Wait { since_ns }) => (0, time_ns.saturating_sub(*since_ns)),
                    None => (0, 0),
                };
                ThreadSample {
                    pid: key.pid,
                    tid: key.tid,
                    gil: key.gil,
                    name: lane.name,
                    holds: lane.hold.count,
                    hold_ns: lane.hold.sum_ns + hold_ns,
                    wait_ns: lane.wait.sum_ns + wait_ns,
                    asked: asked
                        .get(&(key.pid, key.gil, lane.ident))
                        .copied()
                        .unwrap_or(0),
                }
            })
            .collect();
        Ok(Sample {
            time_ns,
            processes: self.group.count(),
            threads,
            lost: counters.lanes_full,
        })
    }
}
