//! From events to the stalls of each process.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{MutexWaits, Stalls, Stops, Who};
use crate::registry::{Registry, Thread, ThreadIndex};
use crate::stall::Stall;

/// Pairs of thread and mutex with figures of their own; a thread's waits for further ones share a line.
const MUTEXES_LIMIT: usize = 65_536;

/// Takes events, in order of time.
#[derive(Default)]
pub(crate) struct Collector {
    stops: FxHashMap<ThreadIndex, Pauses>,
    mutexes: FxHashMap<(ThreadIndex, u64), MutexWaits>,
}

/// What a thread does to the others.
#[derive(Default)]
struct Pauses {
    stops: Stops,
    /// Since when it has wanted them to stop, or has stopped them.
    since_ns: Option<u64>,
}

impl Collector {
    /// Takes an event. What began before `start_ns` counts from there.
    pub(crate) fn event(&mut self, time_ns: u64, start_ns: u64, thread: ThreadIndex, stall: Stall) {
        let covered_ns = time_ns.saturating_sub(start_ns);
        match stall {
            Stall::StwBegin { .. } => {
                self.stops.entry(thread).or_default().since_ns = Some(time_ns);
            }
            // The end says it, too.
            Stall::StwStopped { .. } => {}
            Stall::StwEnd {
                global,
                stopped_ns,
                wait_ns,
            } => {
                let pauses = self.stops.entry(thread).or_default();
                pauses.since_ns = None;
                if stopped_ns > 0 {
                    pauses.stops.global += u64::from(global);
                    pauses.stops.stopped.record(stopped_ns.min(covered_ns));
                }
                if wait_ns > 0 {
                    pauses.stops.waits.record(wait_ns.min(covered_ns));
                }
            }
            Stall::Mutex {
                address,
                wait_ns,
                threading,
            } => {
                let key = (thread, address);
                let own_line =
                    self.mutexes.len() < MUTEXES_LIMIT || self.mutexes.contains_key(&key);
                let address = if own_line { address } else { 0 };
                let waits = self.mutexes.entry((thread, address));
                let waits = waits.or_insert_with(|| MutexWaits {
                    address,
                    threading,
                    ..MutexWaits::default()
                });
                waits.waits.record(wait_ns.min(covered_ns));
            }
        }
    }

    /// Sums up, by process. A pause that has not ended lasts to `end_ns`.
    pub(crate) fn finish(self, registry: &Registry, end_ns: u64) -> Vec<Stalls> {
        // One by one, so that what belongs to the same thread is put together.
        let mut processes: BTreeMap<u32, Stalls> = BTreeMap::new();
        let mut add = |thread: &Thread, stops: Vec<Stops>, mutexes: Vec<MutexWaits>| {
            let pid = thread.pid;
            let known = processes.entry(pid).or_insert_with(|| Stalls {
                pid,
                ..Stalls::default()
            });
            known.merge(Stalls {
                pid,
                stops,
                mutexes,
            });
        };
        for (thread, pauses) in self.stops {
            let thread = registry.get(thread);
            let mut stops = pauses.stops;
            stops.who = who(thread);
            stops.open_ns = pauses
                .since_ns
                .map_or(0, |since_ns| end_ns.saturating_sub(since_ns));
            stops.stopped = stops.stopped.complete();
            stops.waits = stops.waits.complete();
            add(thread, vec![stops], Vec::new());
        }
        for ((thread, _), mut waits) in self.mutexes {
            let thread = registry.get(thread);
            waits.who = who(thread);
            waits.waits = waits.waits.complete();
            add(thread, Vec::new(), vec![waits]);
        }
        processes.into_values().collect()
    }
}

fn who(thread: &Thread) -> Who {
    Who {
        tid: thread.tid,
        ident: thread.ident,
        name: thread.name.clone(),
    }
}
