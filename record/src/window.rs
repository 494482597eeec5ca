//! The time that a trace covers: from when everything is attached until it is told to stop.
//!
//! Probes are attached and detached one after the other, which takes bpftrace up to a second. What is seen meanwhile is half
//! of the truth: claims without their drops, and an end long after the last drop that it could see. None of that is part of the trace.

use std::sync::atomic::{AtomicU64, Ordering};

/// The time covered, in nanoseconds of `CLOCK_MONOTONIC`. Open at its end as long as the recording goes on.
#[derive(Debug)]
pub(crate) struct Window {
    start_ns: AtomicU64,
    end_ns: AtomicU64,
}

impl Window {
    /// Nothing is covered yet.
    pub(crate) fn closed() -> Self {
        Self {
            start_ns: AtomicU64::new(u64::MAX),
            end_ns: AtomicU64::new(u64::MAX),
        }
    }

    /// Everything is attached.
    pub(crate) fn begin(&self, now_ns: u64) {
        self.start_ns.store(now_ns, Ordering::Relaxed);
    }

    /// From here on it detaches.
    pub(crate) fn end(&self, now_ns: u64) {
        self.end_ns.store(now_ns, Ordering::Relaxed);
    }

    /// When the trace begins.
    pub(crate) fn start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Relaxed)
    }

    /// When it ends, if that is known.
    pub(crate) fn end_ns(&self) -> Option<u64> {
        Some(self.end_ns.load(Ordering::Relaxed)).filter(|&end_ns| end_ns != u64::MAX)
    }

    /// Whether an event of that time belongs to the trace.
    pub(crate) fn covers(&self, time_ns: u64) -> bool {
        (self.start_ns()..=self.end_ns.load(Ordering::Relaxed)).contains(&time_ns)
    }
}
