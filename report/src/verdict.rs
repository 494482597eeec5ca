//! Is it the GIL? One line, and the rule that made it.

use serde::Serialize;

use crate::figures::Figures;
use crate::format::{duration, percent, ratio, thread_label};
use crate::summary::{Gil, Thread};
use crate::thresholds::Thresholds;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The answer as one word.
    pub kind: VerdictKind,
    /// The answer as one line for people.
    pub line: String,
    /// The rule that made it, with its thresholds.
    pub rule: String,
}

/// The possible answers, from the least to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// There are no events to judge by.
    Unknown,
    /// Nobody waits for the GIL to speak of.
    NotTheGil,
    /// It is not the GIL, but threads wait for each other all the same: for a stopped world, or for mutexes.
    Stalled,
    /// Threads wait for it, but it does not set the pace.
    Contended,
    /// The program is as fast as its GIL lets it be.
    GilBound,
}

/// Judges one GIL.
pub(crate) fn judge(gil: &Gil, figures: &Figures, thresholds: &Thresholds) -> Verdict {
    let busiest = busiest(gil);
    let Some(busiest) = busiest.filter(|_| figures.acquisitions > 0 && figures.wall_ns > 0) else {
        return Verdict {
            kind: VerdictKind::Unknown,
            line: unknown_line(figures.wall_ns),
            rule: "no hold of the GIL was seen from beginning to end".to_owned(),
        };
    };
    let starved = starved(gil, busiest, thresholds);
    let crowded = figures.utilisation >= thresholds.busy_utilisation
        && figures.wait_ratio >= thresholds.crowded_wait_ratio;
    let starving = figures.utilisation >= thresholds.full_utilisation && !starved.is_empty();
    let holder = thread_label(&gil.threads[busiest]);
    let holder_share = figures.share_of_hold(&gil.threads[busiest]);
    let held = percent(figures.utilisation);
    let waiting = waiting(figures);
    if crowded || starving {
        let median = median_wait(&starved);
        return Verdict {
            kind: VerdictKind::GilBound,
            line: format!(
                "it is the GIL: held {held} of the time, {} of that by {holder}; {waiting}{}",
                percent(holder_share),
                median.map_or_else(String::new, |median| format!(
                    ", in the median {} each time",
                    duration(median)
                )),
            ),
            rule: if crowded {
                crowded_rule(thresholds)
            } else {
                starving_rule(thresholds, starved.len())
            },
        };
    }
    if figures.wait_ratio < thresholds.quiet_wait_ratio {
        let quiet = percent(thresholds.quiet_wait_ratio);
        return Verdict {
            kind: VerdictKind::NotTheGil,
            line: if figures.utilisation >= thresholds.busy_utilisation {
                format!(
                    "not the GIL: {holder} holds it {} of the time, but hardly anybody waits for it ({waiting})",
                    percent(figures.utilisation * holder_share)
                )
            } else {
                format!("not the GIL: held {held} of the time, {waiting}")
            },
            rule: format!("threads wait less than {quiet} of the time, summed over all of them"),
        };
    }
    let blamed = most_blamed(gil).unwrap_or(busiest);
    Verdict {
        kind: VerdictKind::Contended,
        line: format!(
            "the GIL is contended: held {held} of the time; {waiting}, most of it behind {}",
            thread_label(&gil.threads[blamed])
        ),
        rule: format!(
            "threads wait {} of the time or more, summed over all of them, but neither is utilisation ≥ {} with a wait \
             ratio ≥ {}, nor ≥ {} with a starved thread",
            percent(thresholds.quiet_wait_ratio),
            percent(thresholds.busy_utilisation),
            ratio(thresholds.crowded_wait_ratio),
            percent(thresholds.full_utilisation),
        ),
    }
}

/// What to say when there is nothing to judge.
pub(crate) fn unknown_line(wall_ns: u64) -> String {
    format!(
        "cannot tell: no hold of the GIL was seen in {}: the process slept, or one thread never let go, or the markers \
         did not fire",
        duration(wall_ns)
    )
}

fn crowded_rule(thresholds: &Thresholds) -> String {
    format!(
        "utilisation ≥ {} and on average {} or more threads wait",
        percent(thresholds.busy_utilisation),
        ratio(thresholds.crowded_wait_ratio)
    )
}

fn starving_rule(thresholds: &Thresholds, starved: usize) -> String {
    let threads = if starved == 1 { "thread" } else { "threads" };
    format!(
        "utilisation ≥ {} and {starved} starved {threads}: median wait ≥ {}, and more time spent waiting than holding",
        percent(thresholds.full_utilisation),
        duration(thresholds.starved_median_wait_ns)
    )
}

fn waiting(figures: &Figures) -> String {
    if figures.wait_ratio >= 1.0 {
        format!("on average {} threads wait", ratio(figures.wait_ratio))
    } else {
        format!("threads wait {} of the time", percent(figures.wait_ratio))
    }
}

/// The thread with the most hold time.
pub(crate) fn busiest(gil: &Gil) -> Option<usize> {
    (0..gil.threads.len()).max_by_key(|&place| {
        let thread = &gil.threads[place];
        (thread.holds.total_ns(), std::cmp::Reverse(place))
    })
}

/// The thread behind which others waited longest.
pub(crate) fn most_blamed(gil: &Gil) -> Option<usize> {
    let made_wait = gil.made_wait();
    (0..gil.threads.len())
        .filter(|&place| made_wait[place] > 0)
        .max_by_key(|&place| (made_wait[place], std::cmp::Reverse(place)))
}

/// Threads that mostly wait, and as long as the switch interval or longer each time.
pub(crate) fn starved<'g>(
    gil: &'g Gil,
    busiest: usize,
    thresholds: &Thresholds,
) -> Vec<&'g Thread> {
    gil.threads
        .iter()
        .enumerate()
        .filter(|&(place, thread)| {
            place != busiest
                && thread.waits.count() >= thresholds.starved_waits
                && thread.waits.total_ns() > thread.holds.total_ns()
                && thread.waits.quantile_ns(0.5) >= thresholds.starved_median_wait_ns
        })
        .map(|(_, thread)| thread)
        .collect()
}

fn median_wait(threads: &[&Thread]) -> Option<u64> {
    let mut all = crate::distribution::Distribution::default();
    for thread in threads {
        all.merge(&thread.waits);
    }
    (all.count() > 0).then(|| all.quantile_ns(0.5))
}
