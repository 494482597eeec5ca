//! What a verdict is measured by: every threshold, in one place.

use serde::{Deserialize, Serialize};

/// The thresholds of the verdict. Shares are between 0 and 1; a wait ratio of 1 is one thread that always waits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Below this wait ratio nobody waits to speak of.
    pub quiet_wait_ratio: f64,
    /// From this utilisation on, with `crowded_wait_ratio`, it is the GIL.
    pub busy_utilisation: f64,
    /// From this wait ratio on, with `busy_utilisation`, it is the GIL.
    pub crowded_wait_ratio: f64,
    /// From this utilisation on, one starved thread is enough to say that it is the GIL.
    pub full_utilisation: f64,
    /// A thread whose median wait is this long is starved: about the switch interval, which is 5 ms.
    pub starved_median_wait_ns: u64,
    /// A thread counts as starved only if it waited so often.
    pub starved_waits: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            quiet_wait_ratio: 0.05,
            busy_utilisation: 0.70,
            crowded_wait_ratio: 1.0,
            full_utilisation: 0.90,
            starved_median_wait_ns: 4_000_000,
            starved_waits: 5,
        }
    }
}
