//! The answer for a free-threaded process: what makes it stall, now that no GIL does.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figures::share;
use crate::format::{count, percent, plain, ratio};
use crate::stalls::{Stalls, Who};
use crate::summary::Session;
use crate::thresholds::Thresholds;
use crate::verdict::{Verdict, VerdictKind};

/// The answer for one process.
#[derive(Debug, Clone, Serialize)]
pub struct StallReport {
    /// Its recording: a place in [`crate::Summary::sessions`].
    pub session: usize,
    /// Which one: a place in [`Session::stalls`].
    pub process: usize,
    /// How often its world was stopped.
    pub stops: u64,
    /// How long, in all.
    pub stopped_ns: u64,
    /// The share of time in which it was. Interpreters that are stopped at the same time count each.
    pub stopped_share: f64,
    /// The longest pause.
    pub longest_stop_ns: u64,
    /// How long threads waited for mutexes, summed over threads, without those of the module `threading`.
    pub mutex_wait_ns: u64,
    /// The same per time: 1.0 = on average one thread waits.
    pub mutex_wait_ratio: f64,
    /// The verdict.
    pub verdict: Verdict,
}

impl StallReport {
    /// Judges one process.
    pub(crate) fn new(
        at: usize,
        session: &Session,
        process: usize,
        thresholds: &Thresholds,
    ) -> Self {
        let stalls = &session.stalls[process];
        let wall_ns = session.wall_ns();
        let (stopped_ns, mutex_wait_ns) = (stalls.stopped_ns(), stalls.mutex_wait_ns());
        let stopped_share = share(stopped_ns, wall_ns);
        let mutex_wait_ratio = share(mutex_wait_ns, wall_ns);
        let longest = stalls.stops.iter().map(|stops| stops.stopped.max_ns());
        Self {
            session: at,
            process,
            stops: stalls.count(),
            stopped_ns,
            stopped_share,
            longest_stop_ns: longest.max().unwrap_or(0),
            mutex_wait_ns,
            mutex_wait_ratio,
            verdict: judge(stalls, stopped_share, mutex_wait_ratio, thresholds),
        }
    }
}

fn judge(
    stalls: &Stalls,
    stopped_share: f64,
    mutex_wait_ratio: f64,
    thresholds: &Thresholds,
) -> Verdict {
    let quiet = thresholds.quiet_wait_ratio;
    let stalled = stopped_share >= quiet || mutex_wait_ratio >= quiet;
    let line = format!(
        "{}; {}",
        stopped(stalls, stopped_share),
        waited(stalls, mutex_wait_ratio)
    );
    if stalled {
        Verdict {
            kind: VerdictKind::Stalled,
            line: format!("not the GIL, but its threads wait for each other: {line}"),
            rule: format!(
                "the world is stopped {0} of the time or more, or threads wait for mutexes {0} of the time or more, summed over all of them",
                percent(quiet)
            ),
        }
    } else {
        Verdict {
            kind: VerdictKind::NotTheGil,
            line: format!("not the GIL: {line}"),
            rule: format!(
                "the world is stopped less than {0} of the time, and threads wait for mutexes less than {0} of the time, summed over all of them",
                percent(quiet)
            ),
        }
    }
}

/// `stopped the world 412 times, 3.1 % of the time, asked for by thread "gc"`.
fn stopped(stalls: &Stalls, stopped_share: f64) -> String {
    let number = stalls.count();
    if number == 0 {
        return "never stopped the world".to_owned();
    }
    let times = if number == 1 { "time" } else { "times" };
    let mut line = format!(
        "stopped the world {} {times}, {} of the time",
        count(number),
        percent(stopped_share)
    );
    let most = stalls
        .stops
        .iter()
        .max_by_key(|stops| (stops.stopped.total_ns(), std::cmp::Reverse(stops.who.tid)));
    if let Some(most) = most {
        let part = share(most.stopped.total_ns(), stalls.stopped_ns());
        let part = if stalls.stops.len() > 1 {
            format!("{} of that ", percent(part))
        } else {
            String::new()
        };
        line.extend([", ", &part, "asked for by ", &label(&most.who)]);
    }
    line
}

/// `threads waited for mutexes 12 % of the time, most of it for 7f00 and by thread "b"`.
fn waited(stalls: &Stalls, mutex_wait_ratio: f64) -> String {
    let mut addresses: BTreeMap<u64, u64> = BTreeMap::new();
    for mutex in stalls.mutexes.iter().filter(|mutex| !mutex.threading) {
        let sum = addresses.entry(mutex.address).or_default();
        *sum = sum.saturating_add(mutex.waits.total_ns());
    }
    let most = addresses.iter().max_by_key(|(_, wait_ns)| **wait_ns);
    let Some((address, wait_ns)) = most else {
        return "no thread slept for a mutex".to_owned();
    };
    let waiting = if mutex_wait_ratio >= 1.0 {
        format!(
            "on average {} threads waited for mutexes",
            ratio(mutex_wait_ratio)
        )
    } else {
        format!(
            "threads waited for mutexes {} of the time",
            percent(mutex_wait_ratio)
        )
    };
    let part = share(*wait_ns, stalls.mutex_wait_ns());
    format!(
        "{waiting}, {} of that for the one at {address:x}",
        percent(part)
    )
}

/// A thread as it is called in a sentence.
pub(crate) fn label(who: &Who) -> String {
    match who.name.as_deref() {
        Some(name) if !name.is_empty() => format!("thread \"{}\" (tid {})", plain(name), who.tid),
        _ => format!("thread {}", who.tid),
    }
}
