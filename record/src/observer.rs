//! What a caller learns while a recording runs.

use std::time::Duration;

use crate::error::RecordError;
use crate::interpreter::Interpreter;
use crate::stop::StopReason;

/// Told what a recording does. Every method may be left out.
pub trait Observer {
    /// The native tracer cannot work here, for this reason; bpftrace is used instead.
    fn falls_back(&mut self, _reason: &RecordError) {}
    /// The command was started as process `pid`.
    fn started(&mut self, _pid: u32) {}
    /// The tracer is attached to these, at least one: from now on events are recorded.
    fn attached(&mut self, _interpreters: &[Interpreter]) {}
    /// Now and then while it runs: for how long, how many events so far, how many of them lost.
    fn progress(&mut self, _elapsed: Duration, _events: u64, _lost: u64) {}
    /// The tracer ended before it was asked to, with these words.
    fn tracer_ended(&mut self, _words: &str) {}
    /// During the last second the recording took more from the processes than it may: this share of one processor.
    fn over_budget(&mut self, _share: f64) {}
    /// An adaptive recording goes on with less: cycles that last so long, and totals.
    fn uses_less(&mut self, _over: Duration) {}
    /// Recording stops; what is on its way is still collected.
    fn stopping(&mut self, _reason: StopReason) {}
}

/// Wants to know nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
