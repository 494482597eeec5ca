//! Before and after a change: what became of the GIL, and of each thread.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::distribution::Distribution;
use crate::figures::share;
use crate::report::Report;
use crate::summary::sum;
use crate::verdict::Verdict;

/// Two reports, held side by side. Threads are matched by name; several of one name count together.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    format: &'static str,
    version: u32,
    /// The first report as a whole.
    pub before: Side,
    /// The second report as a whole.
    pub after: Side,
    /// Every thread's name that is in either, those that changed most first.
    pub threads: Vec<ThreadDiff>,
}

/// One of the two reports. Shares are of wall time; with several GILs they are means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Its verdict.
    pub verdict: Verdict,
    /// How long was recorded, summed over GILs.
    pub wall_ns: u64,
    /// The share of time in which the GIL was held.
    pub hold_share: f64,
    /// Waits per time, summed over threads.
    pub wait_share: f64,
    /// How often the GIL was acquired, per second.
    pub acquisitions_per_second: f64,
    /// How often it went to another thread, per second.
    pub switches_per_second: f64,
    /// All waits.
    pub waits: Spread,
    /// All holds.
    pub holds: Spread,
    /// Events are missing: these are lower bounds.
    pub lower_bounds: bool,
}

/// What one name's threads did in one of the reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadSide {
    /// How many threads have the name.
    pub threads: usize,
    /// Their holds per time.
    pub hold_share: f64,
    /// Their waits per time.
    pub wait_share: f64,
    /// Their holds.
    pub holds: Spread,
    /// Their waits.
    pub waits: Spread,
}

/// The figures of a distribution that are worth comparing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// One name in both reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadDiff {
    /// The name; empty for threads without one.
    pub name: String,
    /// In the first report; `None`: it is new.
    pub before: Option<ThreadSide>,
    /// In the second report; `None`: it is gone.
    pub after: Option<ThreadSide>,
}

impl Diff {
    /// Holds two reports side by side.
    #[must_use]
    pub fn new(before: &Report, after: &Report) -> Self {
        let mut threads: BTreeMap<String, ThreadDiff> = BTreeMap::new();
        for (report, is_after) in [(before, false), (after, true)] {
            for (name, side) in thread_sides(report) {
                let entry = threads.entry(name.clone()).or_insert(ThreadDiff {
                    name,
                    before: None,
                    after: None,
                });
                let place = if is_after {
                    &mut entry.after
                } else {
                    &mut entry.before
                };
                *place = Some(side);
            }
        }
        let mut threads: Vec<_> = threads.into_values().collect();
        threads.sort_by(|one, other| {
            other
                .change()
                .total_cmp(&one.change())
                .then_with(|| one.name.cmp(&other.name))
        });
        Self {
            format: "gil-diff",
            version: 1,
            before: Side::new(before),
            after: Side::new(after),
            threads,
        }
    }
}

impl ThreadDiff {
    /// How much of the time the thread holds or waits more, or less.
    fn change(&self) -> f64 {
        let shares = |side: &Option<ThreadSide>| {
            side.as_ref()
                .map_or((0.0, 0.0), |side| (side.hold_share, side.wait_share))
        };
        let (before, after) = (shares(&self.before), shares(&self.after));
        (after.0 - before.0).abs() + (after.1 - before.1).abs()
    }
}

impl Side {
    fn new(report: &Report) -> Self {
        let mut holds = Distribution::default();
        let mut waits = Distribution::default();
        let mut switches: u64 = 0;
        for answer in &report.gils {
            let (_, gil) = report.subject(answer);
            switches = switches.saturating_add(gil.switches);
            for thread in &gil.threads {
                holds.merge(&thread.holds);
                waits.merge(&thread.waits);
            }
        }
        let wall_ns = wall_ns(report);
        Self {
            verdict: report.verdict.clone(),
            wall_ns,
            hold_share: share(holds.total_ns(), wall_ns),
            wait_share: share(waits.total_ns(), wall_ns),
            acquisitions_per_second: share(holds.count(), wall_ns) * 1e9,
            switches_per_second: share(switches, wall_ns) * 1e9,
            waits: Spread::new(&waits),
            holds: Spread::new(&holds),
            lower_bounds: report.gils.iter().any(|gil| gil.figures.lower_bounds),
        }
    }
}

impl Spread {
    fn new(durations: &Distribution) -> Self {
        Self {
            count: durations.count(),
            p50_ns: durations.quantile_ns(0.5),
            p99_ns: durations.quantile_ns(0.99),
            max_ns: durations.max_ns(),
        }
    }
}

fn wall_ns(report: &Report) -> u64 {
    sum(report.gils.iter().map(|gil| gil.figures.wall_ns))
}

fn thread_sides(report: &Report) -> impl Iterator<Item = (String, ThreadSide)> {
    let mut by_name: BTreeMap<String, (usize, Distribution, Distribution)> = BTreeMap::new();
    for answer in &report.gils {
        for thread in &report.subject(answer).1.threads {
            let name = thread.name.clone().unwrap_or_default();
            let (threads, holds, waits) = by_name.entry(name).or_default();
            *threads += 1;
            holds.merge(&thread.holds);
            waits.merge(&thread.waits);
        }
    }
    let wall_ns = wall_ns(report);
    by_name
        .into_iter()
        .map(move |(name, (threads, holds, waits))| {
            let side = ThreadSide {
                threads,
                hold_share: share(holds.total_ns(), wall_ns),
                wait_share: share(waits.total_ns(), wall_ns),
                holds: Spread::new(&holds),
                waits: Spread::new(&waits),
            };
            (name, side)
        })
}
