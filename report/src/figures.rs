//! The figures of one GIL as a whole.

use serde::Serialize;

use crate::summary::{Gil, Session, Thread, sum};

/// Sums, shares and rates of one GIL. Shares are between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// How long it was traced.
    pub wall_ns: u64,
    /// How long some thread held the GIL.
    pub hold_ns: u64,
    /// How long threads waited, summed over threads.
    pub wait_ns: u64,
    /// The share of the time in which some thread held the GIL.
    pub utilisation: f64,
    /// Waits per time: 3.0 = on average three threads stand in line.
    pub wait_ratio: f64,
    /// How often it was acquired.
    pub acquisitions: u64,
    /// The same per second.
    pub acquisitions_per_second: f64,
    /// How often it went to another thread than the one before, per second.
    pub switches_per_second: f64,
    /// Drops that another thread asked for.
    pub forced_drops: u64,
    /// Drops of the holder's own will.
    pub voluntary_drops: u64,
    /// How often a waiting thread asked the holder to drop.
    pub drop_requests: u64,
    /// Events are missing: sums and counts are lower bounds.
    pub lower_bounds: bool,
}

impl Figures {
    pub(crate) fn new(session: &Session, gil: &Gil) -> Self {
        let wall_ns = session.wall_ns();
        let (hold_ns, wait_ns) = (gil.hold_ns(), gil.wait_ns());
        let acquisitions = sum(gil.threads.iter().map(|thread| thread.holds.count()));
        Self {
            wall_ns,
            hold_ns,
            wait_ns,
            utilisation: share(hold_ns, wall_ns),
            wait_ratio: share(wait_ns, wall_ns),
            acquisitions,
            acquisitions_per_second: share(acquisitions, wall_ns) * 1e9,
            switches_per_second: share(gil.switches, wall_ns) * 1e9,
            forced_drops: sum(gil.threads.iter().map(|thread| thread.forced_drops)),
            voluntary_drops: sum(gil.threads.iter().map(|thread| thread.voluntary_drops)),
            drop_requests: sum(gil.threads.iter().map(|thread| thread.requests_made)),
            lower_bounds: session.losses.is_lossy(),
        }
    }

    /// A thread's share of all holds.
    #[must_use]
    pub fn share_of_hold(&self, thread: &Thread) -> f64 {
        share(thread.holds.total_ns(), self.hold_ns)
    }
}

/// A part of a whole; 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share is shown with three digits, a double has fifteen"
)]
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
