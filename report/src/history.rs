//! The recent holds of one GIL, to say who held it during a wait.

use std::collections::VecDeque;

/// No entry of the list of longest holds.
pub(crate) const NOT_LONG: u32 = u32::MAX;

/// One finished hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// The holder's number among the GIL's threads.
    pub(crate) holder: u32,
    /// Where it stands in the list of longest holds, or [`NOT_LONG`].
    pub(crate) long: u32,
}

/// Holds of one GIL, one after the other; they never overlap.
#[derive(Debug, Default)]
pub(crate) struct History {
    holds: VecDeque<Held>,
    /// Everything that ended up to here is forgotten.
    forgotten_ns: u64,
}

/// What a wait is made of besides the holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Nobody was seen to hold the GIL: it was being handed over, or the events are missing.
    pub(crate) nobody_ns: u64,
    /// The wait is longer than what is remembered.
    pub(crate) forgotten_ns: u64,
}

impl History {
    pub(crate) fn len(&self) -> usize {
        self.holds.len()
    }

    /// Adds a hold that begins where the last one ended, or later.
    #[inline]
    pub(crate) fn push(&mut self, held: Held) {
        self.holds.push_back(held);
    }

    pub(crate) fn forget_oldest(&mut self) {
        if let Some(held) = self.holds.pop_front() {
            self.forgotten_ns = held.end_ns;
        }
    }

    /// Splits a wait over those who held the GIL during it. The parts given to `blame` and the rest add up to the
    /// wait. Holds by `waiter` itself count as nobody's: they touch its wait only where two clocks disagree.
    #[inline]
    pub(crate) fn split(
        &self,
        waiter: u32,
        start_ns: u64,
        end_ns: u64,
        mut blame: impl FnMut(Held, u64),
    ) -> Rest {
        let mut rest = end_ns.saturating_sub(start_ns);
        for held in self.holds.iter().rev() {
            if held.end_ns <= start_ns {
                break;
            }
            let part = held
                .end_ns
                .min(end_ns)
                .saturating_sub(held.start_ns.max(start_ns));
            if part > 0 && held.holder != waiter {
                rest -= part;
                blame(*held, part);
            }
        }
        let forgotten_ns = self
            .forgotten_ns
            .min(end_ns)
            .saturating_sub(start_ns)
            .min(rest);
        Rest {
            nobody_ns: rest - forgotten_ns,
            forgotten_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(holds: &[(u64, u64, u32)]) -> History {
        let mut history = History::default();
        for &(start_ns, end_ns, holder) in holds {
            history.push(Held {
                start_ns,
                end_ns,
                holder,
                long: NOT_LONG,
            });
        }
        history
    }

    #[test]
    fn splits_to_the_nanosecond() {
        let history = history(&[(0, 10, 1), (12, 20, 2), (20, 25, 1), (30, 40, 0)]);
        let mut parts = Vec::new();
        let rest = history.split(0, 5, 30, |held, part| parts.push((held.holder, part)));
        assert_eq!(parts, [(1, 5), (2, 8), (1, 5)]);
        assert_eq!(rest.nobody_ns, 7);
        assert_eq!(rest.forgotten_ns, 0);
    }

    #[test]
    fn says_what_it_no_longer_knows() {
        let mut history = history(&[(0, 10, 1), (12, 20, 2)]);
        history.forget_oldest();
        let mut parts = Vec::new();
        let rest = history.split(0, 5, 20, |held, part| parts.push((held.holder, part)));
        assert_eq!(parts, [(2, 8)]);
        assert_eq!(rest.forgotten_ns, 5);
        assert_eq!(rest.nobody_ns, 2);
    }
}
