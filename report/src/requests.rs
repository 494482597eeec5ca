//! What requests had of the GIL: each span that is a part of no other, with all that its parts and threads did for it.

mod collect;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

pub(crate) use collect::Collector;

use crate::distribution::Distribution;
use crate::stalls::Who;

/// Requests that are kept with all that is known of them: those that waited longest.
const WORST: usize = 64;

/// Names of requests that are told apart.
const NAMES: usize = 1024;

/// The name under which all requests beyond the number that is told apart are added up.
const FURTHER: &str = "(further names)";

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The name of its span.
    pub name: String,
    /// The process, as the host numbers it.
    pub pid: u32,
    /// The id of its trace, 32 hexadecimal digits.
    #[serde(with = "trace")]
    pub trace: u128,
    /// The id of its span, 16 hexadecimal digits.
    #[serde(with = "span")]
    pub span: u64,
    /// When it began, on the trace's clock.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// How long its threads had the GIL for it.
    pub hold_ns: u64,
    /// How long they waited for it.
    pub wait_ns: u64,
    /// For whom they waited, most time first.
    pub waited_for: Vec<WaitedFor>,
}

/// For how long a request waited while a thread held the GIL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitedFor {
    /// The thread that held it.
    #[serde(flatten)]
    pub who: Who,
    /// How long.
    pub wait_ns: u64,
}

/// All requests of one name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Requests {
    /// Their name.
    pub name: String,
    /// How long each took.
    pub durations: Distribution,
    /// How long each had the GIL.
    pub holds: Distribution,
    /// How long each waited for it.
    pub waits: Distribution,
}

/// The requests of a recording, where spans were recorded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RequestSummary {
    /// By name, in order of it.
    pub names: Vec<Requests>,
    /// Those that waited longest, longest first.
    pub worst: Vec<Request>,
    /// Spans that had not ended when tracing did, and spans of which only the end was seen.
    pub cut: u64,
    /// Spans beyond the number that is followed at a time.
    pub beyond_limits: u64,
}

impl RequestSummary {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.cut == 0 && self.beyond_limits == 0
    }

    pub(crate) fn add(&mut self, request: &Request) {
        let name = if self.names.len() < NAMES {
            &request.name
        } else {
            FURTHER
        };
        let known = |name: &str| {
            self.names
                .binary_search_by(|known| known.name.as_str().cmp(name))
        };
        let place = known(&request.name).or_else(|_| known(name));
        let place = place.unwrap_or_else(|place| {
            let fresh = Requests {
                name: name.to_owned(),
                ..Requests::default()
            };
            self.names.insert(place, fresh);
            place
        });
        let requests = &mut self.names[place];
        requests.durations.record(request.duration_ns);
        requests.holds.record(request.hold_ns);
        requests.waits.record(request.wait_ns);
        let is_worse = |last: &Request| key(request) < key(last);
        if self.worst.len() < WORST || self.worst.last().is_some_and(is_worse) {
            let place = self
                .worst
                .partition_point(|known| key(known) < key(request));
            self.worst.insert(place, request.clone());
            self.worst.truncate(WORST);
        }
    }

    pub(crate) fn complete(mut self) -> Self {
        for requests in &mut self.names {
            for figure in [
                &mut requests.durations,
                &mut requests.holds,
                &mut requests.waits,
            ] {
                *figure = std::mem::take(figure).complete();
            }
        }
        self
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for requests in other.names {
            let place = self
                .names
                .binary_search_by(|known| known.name.cmp(&requests.name));
            match place {
                Ok(place) => {
                    let known = &mut self.names[place];
                    known.durations.merge(&requests.durations);
                    known.holds.merge(&requests.holds);
                    known.waits.merge(&requests.waits);
                }
                Err(place) => self.names.insert(place, requests),
            }
        }
        self.worst.extend(other.worst);
        self.worst.sort_by_key(key);
        self.worst.truncate(WORST);
        self.cut = self.cut.saturating_add(other.cut);
        self.beyond_limits = self.beyond_limits.saturating_add(other.beyond_limits);
    }

    /// Whether it is as it was written.
    pub(crate) fn is_sound(&self) -> bool {
        self.names
            .is_sorted_by(|left, right| left.name < right.name)
            && self
                .worst
                .iter()
                .all(|request| request.start_ns.checked_add(request.duration_ns).is_some())
    }

    /// How many there are, and how many of them waited at all.
    #[must_use]
    pub fn count(&self) -> u64 {
        crate::summary::sum(self.names.iter().map(|requests| requests.durations.count()))
    }
}

/// Orders the worst first; by everything that they are, so that the order of merging does not show.
fn key(request: &Request) -> (Reverse<u64>, u64, u128, u64, u32) {
    (
        Reverse(request.wait_ns),
        request.start_ns,
        request.trace,
        request.span,
        request.pid,
    )
}

macro_rules! hexadecimal {
    ($name:ident, $number:ty, $digits:literal) => {
        mod $name {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            pub(super) fn serialize<S: Serializer>(
                id: &$number,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!($digits, id))
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$number, D::Error> {
                let digits = String::deserialize(deserializer)?;
                <$number>::from_str_radix(&digits, 16).map_err(D::Error::custom)
            }
        }
    };
}

hexadecimal!(trace, u128, "{:032x}");
hexadecimal!(span, u64, "{:016x}");
