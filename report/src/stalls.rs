//! The stalls of a free-threaded process, summed up: who stopped the world, who waited for which mutex.

mod collect;

use serde::{Deserialize, Serialize};

pub(crate) use collect::Collector;

use crate::distribution::Distribution;
use crate::summary::{hexadecimal, sum};

/// The stalls of one process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stalls {
    /// The process.
    pub pid: u32,
    /// Those who stopped the world, ordered by tid and ident.
    pub stops: Vec<Stops>,
    /// Those who waited for mutexes, ordered by tid, ident and address.
    pub mutexes: Vec<MutexWaits>,
}

/// Which thread it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Who {
    /// Its id as the host numbers it.
    pub tid: u32,
    /// `threading.get_ident()`; 0 = not known.
    pub ident: u64,
    /// Its last name; `None` when the trace does not tell.
    pub name: Option<String>,
}

/// How often and how long one thread stopped all others.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stops {
    /// The thread.
    #[serde(flatten)]
    pub who: Who,
    /// How many of its pauses stopped the threads of all interpreters.
    pub global: u64,
    /// How long the others were stopped.
    pub stopped: Distribution,
    /// How long it took each time until they were.
    pub waits: Distribution,
    /// The pause that had not ended when tracing did, from when it was asked for; not in the figures above.
    pub open_ns: u64,
}

/// How often and how long one thread waited for one mutex.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MutexWaits {
    /// The thread.
    #[serde(flatten)]
    pub who: Who,
    /// The mutex, in hexadecimal; 0 for all beyond the number that is told apart.
    #[serde(with = "hexadecimal")]
    pub address: u64,
    /// It is a lock of the module `threading`: waiting for such a one may be what the thread is for.
    pub threading: bool,
    /// How long the waits were.
    pub waits: Distribution,
}

impl Who {
    fn key(&self) -> (u32, u64) {
        (self.tid, self.ident)
    }

    fn merge(&mut self, other: Self) {
        self.name = self.name.take().max(other.name);
    }
}

impl MutexWaits {
    fn key(&self) -> (u32, u64, u64) {
        (self.who.tid, self.who.ident, self.address)
    }
}

impl Stalls {
    /// How often the world was stopped.
    #[must_use]
    pub fn count(&self) -> u64 {
        sum(self.stops.iter().map(|stops| stops.stopped.count()))
    }

    /// How long it was stopped.
    #[must_use]
    pub fn stopped_ns(&self) -> u64 {
        sum(self.stops.iter().map(|stops| stops.stopped.total_ns()))
    }

    /// How long threads waited for mutexes, without those of the module `threading`.
    #[must_use]
    pub fn mutex_wait_ns(&self) -> u64 {
        let waits = self.mutexes.iter().filter(|mutex| !mutex.threading);
        sum(waits.map(|mutex| mutex.waits.total_ns()))
    }

    /// Adds the stalls of the same process elsewhere in the recording.
    pub(crate) fn merge(&mut self, other: Self) {
        for more in other.stops {
            let place = self
                .stops
                .binary_search_by_key(&more.who.key(), |known| known.who.key());
            match place {
                Ok(place) => {
                    let known = &mut self.stops[place];
                    known.who.merge(more.who);
                    known.global = known.global.saturating_add(more.global);
                    known.stopped.merge(&more.stopped);
                    known.waits.merge(&more.waits);
                    known.open_ns = known.open_ns.saturating_add(more.open_ns);
                }
                Err(place) => self.stops.insert(place, more),
            }
        }
        for more in other.mutexes {
            let place = self
                .mutexes
                .binary_search_by_key(&more.key(), MutexWaits::key);
            match place {
                Ok(place) => {
                    let known = &mut self.mutexes[place];
                    known.who.merge(more.who);
                    known.threading &= more.threading;
                    known.waits.merge(&more.waits);
                }
                Err(place) => self.mutexes.insert(place, more),
            }
        }
    }

    /// Whether its lists are in order, as merging needs them.
    pub(crate) fn is_in_order(&self) -> bool {
        let stops = self.stops.iter().map(|stops| stops.who.key());
        let mutexes = self.mutexes.iter().map(MutexWaits::key);
        stops.is_sorted_by(|left, right| left < right)
            && mutexes.is_sorted_by(|left, right| left < right)
    }
}
