//! What comes back in a trace: periodic long holds, bursts, and the mark of the switch interval.

use serde::Serialize;

use crate::figures::{Figures, share};
use crate::format::to_float;
use crate::gil::LONG_HOLD_NS;
use crate::summary::{Gil, Thread, sum};

/// Something that is more than chance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Pattern {
    /// A thread's long holds come back at regular times.
    Periodic {
        /// Whose: a place in the GIL's threads.
        thread: usize,
        /// From one to the next.
        period_ns: u64,
        /// When the first of them began.
        first_ns: u64,
        /// How many there are.
        holds: u64,
        /// How long such a hold is, in the median.
        duration_ns: u64,
        /// How far they are from regular, at most.
        deviation_ns: u64,
    },
    /// A stretch of time in which the GIL was always held and threads stood in line, in a trace that is calmer.
    Burst {
        /// When it began.
        start_ns: u64,
        /// When it ended.
        end_ns: u64,
        /// The share of it in which the GIL was held.
        utilisation: f64,
        /// How many threads waited during it, on average.
        wait_ratio: f64,
    },
    /// Threads get the GIL only after asking for it for the switch interval.
    SwitchInterval {
        /// Which: places in the GIL's threads, most of such waits first.
        threads: Vec<usize>,
        /// How many such waits they have.
        waits: u64,
        /// Of so many.
        of_waits: u64,
    },
}

/// Looks for all of them.
pub(crate) fn find(gil: &Gil, figures: &Figures) -> Vec<Pattern> {
    let mut patterns: Vec<_> = (0..gil.threads.len())
        .filter_map(|place| periodic(place, &gil.threads[place]))
        .collect();
    patterns.extend(switch_interval(gil));
    patterns.extend(bursts(gil, figures));
    patterns
}

/// Long holds at regular times: at least three, none of them more than a tenth of the period off; some may be missing.
fn periodic(place: usize, thread: &Thread) -> Option<Pattern> {
    const LEAST: usize = 3;
    let longest_ns = thread.long_holds.iter().map(|hold| hold.1).max()?;
    // Shorter ones are something else that the same thread does.
    let from_ns = (longest_ns / 2).max(LONG_HOLD_NS);
    let holds: Vec<_> = thread
        .long_holds
        .iter()
        .filter(|hold| hold.1 >= from_ns)
        .collect();
    if holds.len() < LEAST {
        return None;
    }
    let mut gaps: Vec<u64> = holds
        .windows(2)
        .map(|pair| pair[1].0.saturating_sub(pair[0].0))
        .collect();
    gaps.sort_unstable();
    let typical_ns = gaps[gaps.len() / 2];
    let mut durations: Vec<_> = holds.iter().map(|hold| hold.1).collect();
    durations.sort_unstable();
    let duration_ns = durations[durations.len() / 2];
    if typical_ns < duration_ns.saturating_mul(3) / 2 {
        // One after the other: that is a busy thread, not a periodic one.
        return None;
    }
    let first_ns = holds[0].0;
    // Counted one by one, so that a small error of the typical gap does not add up.
    let mut turn = 0;
    let mut turns = vec![0];
    for pair in holds.windows(2) {
        let gap_ns = pair[1].0.saturating_sub(pair[0].0);
        turn += (gap_ns + typical_ns / 2) / typical_ns;
        turns.push(turn);
    }
    if turn == 0 {
        return None;
    }
    let period_ns = (holds[holds.len() - 1].0 - first_ns) / turn;
    let deviation_ns = holds
        .iter()
        .zip(&turns)
        .map(|(hold, turn)| (hold.0 - first_ns).abs_diff(period_ns.saturating_mul(*turn)))
        .max()?;
    let distinct = turns.windows(2).all(|pair| pair[0] < pair[1]);
    let present = share(holds.len() as u64, turn + 1);
    (distinct && deviation_ns <= period_ns / 10 && present >= 0.5).then_some(Pattern::Periodic {
        thread: place,
        period_ns,
        first_ns,
        holds: holds.len() as u64,
        duration_ns,
        deviation_ns,
    })
}

/// Threads of whose waits a third or more last as long as the switch interval and end with a forced drop.
fn switch_interval(gil: &Gil) -> Option<Pattern> {
    const LEAST: u64 = 5;
    let mut threads: Vec<_> = (0..gil.threads.len())
        .filter(|&place| {
            let thread = &gil.threads[place];
            thread.switch_interval_waits >= LEAST
                && thread.switch_interval_waits.saturating_mul(3) >= thread.waits.count()
        })
        .collect();
    threads.sort_by_key(|&place| {
        (
            std::cmp::Reverse(gil.threads[place].switch_interval_waits),
            place,
        )
    });
    let over = |count: fn(&Thread) -> u64| sum(threads.iter().map(|&at| count(&gil.threads[at])));
    (!threads.is_empty()).then(|| Pattern::SwitchInterval {
        waits: over(|thread| thread.switch_interval_waits),
        of_waits: over(|thread| thread.waits.count()),
        threads: threads.clone(),
    })
}

/// The worst stretches in which the GIL was held for 90 % or more and at least one thread always waited.
fn bursts(gil: &Gil, figures: &Figures) -> Vec<Pattern> {
    const MOST: usize = 3;
    const CALM: f64 = 0.7;
    if figures.utilisation >= CALM {
        return Vec::new();
    }
    let series = &gil.series;
    let width_ns = series.width_ns();
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (bucket, (&hold_ns, &wait_ns)) in series.hold_ns.iter().zip(&series.wait_ns).enumerate() {
        if share(hold_ns, width_ns) < 0.9 || wait_ns < width_ns {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.1 == bucket => run.1 += 1,
            _ => runs.push((bucket, bucket + 1)),
        }
    }
    let wait_of = |run: &(usize, usize)| sum(series.wait_ns[run.0..run.1].iter().copied());
    runs.sort_by_key(|run| (std::cmp::Reverse(wait_of(run)), run.0));
    runs.truncate(MOST);
    runs.sort_unstable();
    runs.into_iter()
        .map(|run| {
            let buckets = to_float((run.1 - run.0) as u64) * to_float(width_ns);
            let hold_ns = sum(series.hold_ns[run.0..run.1].iter().copied());
            Pattern::Burst {
                start_ns: series.start_ns(run.0),
                end_ns: series.start_ns(run.1),
                utilisation: to_float(hold_ns) / buckets,
                wait_ratio: to_float(wait_of(&run)) / buckets,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(long_holds: &[(u64, u64)]) -> Thread {
        Thread {
            long_holds: long_holds.to_vec(),
            ..Thread::default()
        }
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn finds_the_period_though_one_is_missing() {
        let holds = [0, 1, 2, 4, 5].map(|turn| (700 * MS + turn * 10_000 * MS, 512 * MS));
        let Some(Pattern::Periodic {
            period_ns,
            first_ns,
            holds,
            deviation_ns,
            ..
        }) = periodic(0, &thread(&holds))
        else {
            panic!("not found");
        };
        assert_eq!((period_ns, first_ns), (10_000 * MS, 700 * MS));
        assert_eq!((holds, deviation_ns), (5, 0));
    }

    #[test]
    fn chance_is_no_period() {
        let holds = [0, 900, 1000, 5000, 5100, 9000].map(|at| (at * MS, 20 * MS));
        assert_eq!(periodic(0, &thread(&holds)), None);
    }

    #[test]
    fn one_after_the_other_is_no_period() {
        let holds = [0, 501, 1002, 1503].map(|at| (at * MS, 500 * MS));
        assert_eq!(periodic(0, &thread(&holds)), None);
    }
}
