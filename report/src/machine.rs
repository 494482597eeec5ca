//! From events to holds and waits: what is known of a thread's dealings with a GIL between two events.
//!
//! Any sequence of events is accepted; what cannot be paired is counted.

/// What a thread is up to with one GIL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    claimed_ns: Option<u64>,
    acquired: Option<Acquired>,
    /// Its last drop, and whether it was forced: then it has waited since.
    dropped: Option<(u64, bool)>,
}

#[derive(Debug, Clone, Copy)]
struct Acquired {
    time_ns: u64,
    wait_ns: u64,
}

/// Something that should have come and did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unpaired {
    Claim,
    Hold,
}

/// A finished cycle, as far as it is known: times may still lie outside of what was traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// When the hold began.
    pub(crate) hold_start: HoldStart,
    /// When the wait before it began and ended.
    pub(crate) wait: Option<(u64, u64)>,
}

/// When a hold began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldStart {
    At(u64),
    /// Not known, and this is the first that is heard of the thread: it may have held the GIL since before tracing.
    BeforeTracing,
    Unknown,
}

/// What is open when tracing ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// A hold since then, with the wait before it.
    Hold {
        since_ns: u64,
        wait: Option<(u64, u64)>,
    },
    /// A wait since then.
    Wait { since_ns: u64 },
}

impl Progress {
    #[inline]
    pub(crate) fn claim(&mut self, time_ns: u64) -> Option<Unpaired> {
        let unpaired = if self.acquired.take().is_some() {
            Some(Unpaired::Hold)
        } else {
            self.claimed_ns.map(|_| Unpaired::Claim)
        };
        self.claimed_ns = Some(time_ns);
        unpaired
    }

    #[inline]
    pub(crate) fn acquired(&mut self, time_ns: u64, wait_ns: u64) -> Option<Unpaired> {
        self.claimed_ns = None;
        let before = self.acquired.replace(Acquired { time_ns, wait_ns });
        before.map(|_| Unpaired::Hold)
    }

    #[expect(clippy::inline_always, reason = "for every event")]
    #[inline(always)]
    pub(crate) fn drop(&mut self, time_ns: u64, forced: bool, hold_ns: u64, wait_ns: u64) -> Cycle {
        let acquired = self.acquired.take();
        let claimed_ns = self.claimed_ns.take();
        let dropped = self.dropped.replace((time_ns, forced));
        if hold_ns > 0 && acquired.is_none() {
            // Nearly always: the drop says all.
            let start_ns = time_ns.saturating_sub(hold_ns);
            return Cycle {
                hold_start: HoldStart::At(start_ns),
                wait: before(start_ns, wait_ns),
            };
        }
        let first = dropped.is_none() && acquired.is_none() && claimed_ns.is_none();
        let hold_start = match (hold_ns, acquired) {
            (0, Some(acquired)) => HoldStart::At(acquired.time_ns),
            (0, None) if first => HoldStart::BeforeTracing,
            (0, None) => HoldStart::Unknown,
            (hold_ns, _) => HoldStart::At(time_ns.saturating_sub(hold_ns)),
        };
        let wait_ns = match (wait_ns, acquired) {
            (0, Some(acquired)) => acquired.wait_ns,
            _ => wait_ns,
        };
        let wait_end_ns = match hold_start {
            HoldStart::At(start_ns) => start_ns,
            HoldStart::BeforeTracing | HoldStart::Unknown => time_ns,
        };
        Cycle {
            hold_start,
            wait: before(wait_end_ns, wait_ns),
        }
    }

    /// When the last drop was.
    pub(crate) fn dropped_ns(&self) -> Option<u64> {
        self.dropped.map(|(time_ns, _)| time_ns)
    }

    /// What is open at the end. `sees_acquisitions`: the trace tells when a thread acquires the GIL, so that one that
    /// was not told to have it does not have it.
    pub(crate) fn open(&self, sees_acquisitions: bool) -> Option<Open> {
        if let Some(acquired) = self.acquired {
            return Some(Open::Hold {
                since_ns: acquired.time_ns,
                wait: before(acquired.time_ns, acquired.wait_ns),
            });
        }
        let forced_ns = self
            .dropped
            .filter(|&(_, forced)| forced && sees_acquisitions)
            .map(|(time_ns, _)| time_ns);
        let since_ns = self.claimed_ns.filter(|_| sees_acquisitions);
        since_ns
            .or(forced_ns)
            .map(|since_ns| Open::Wait { since_ns })
    }
}

fn before(end_ns: u64, wait_ns: u64) -> Option<(u64, u64)> {
    (wait_ns > 0).then(|| (end_ns.saturating_sub(wait_ns), end_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_alone_carries_the_cycle() {
        let mut progress = Progress::default();
        let cycle = progress.drop(100, true, 30, 20);
        assert_eq!(cycle.hold_start, HoldStart::At(70));
        assert_eq!(cycle.wait, Some((50, 70)));
        assert_eq!(progress.open(false), None);
        assert_eq!(progress.open(true), Some(Open::Wait { since_ns: 100 }));
    }

    #[test]
    fn an_acquisition_helps_where_the_drop_does_not_know() {
        let mut progress = Progress::default();
        assert_eq!(progress.claim(40), None);
        assert_eq!(progress.acquired(60, 20), None);
        let cycle = progress.drop(100, false, 0, 0);
        assert_eq!(cycle.hold_start, HoldStart::At(60));
        assert_eq!(cycle.wait, Some((40, 60)));
        assert_eq!(progress.open(true), None);
    }

    #[test]
    fn the_first_drop_may_end_a_hold_from_before_tracing_a_later_one_may_not() {
        let mut progress = Progress::default();
        assert_eq!(
            progress.drop(10, false, 0, 0).hold_start,
            HoldStart::BeforeTracing
        );
        assert_eq!(
            progress.drop(20, false, 0, 0).hold_start,
            HoldStart::Unknown
        );
        let mut claimed = Progress::default();
        claimed.claim(5);
        assert_eq!(claimed.drop(10, false, 0, 0).hold_start, HoldStart::Unknown);
    }

    #[test]
    fn counts_what_does_not_pair() {
        let mut progress = Progress::default();
        assert_eq!(progress.claim(1), None);
        assert_eq!(progress.claim(2), Some(Unpaired::Claim));
        assert_eq!(progress.acquired(3, 1), None);
        assert_eq!(progress.acquired(4, 1), Some(Unpaired::Hold));
        assert_eq!(progress.claim(5), Some(Unpaired::Hold));
        assert_eq!(progress.open(true), Some(Open::Wait { since_ns: 5 }));
    }
}
