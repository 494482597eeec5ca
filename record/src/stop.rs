//! Why a recording stopped, and how a user asks it to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a recording stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Its time was up.
    Duration,
    /// The process ended.
    Exit,
    /// The user asked for it: Ctrl-C or another signal.
    Signal,
    /// The tracer ended by itself.
    Tracer,
    /// It took too much from the process, and nothing takes less.
    Overhead,
}

impl StopReason {
    /// The word after `end` in a trace.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Tracer => "tracer",
            Self::Overhead => "overhead",
        }
    }
}

/// Asks a recording to stop, from a signal handler or another thread. Clones ask the same recording.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for what sets one when a signal arrives.
    #[must_use]
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
