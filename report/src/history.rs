//! The recent holds of one GIL, to say who held it during a wait.

use std::collections::VecDeque;

use crate::functions::PlaceId;

/// One finished hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) start_ns: u64,
    duration_ns: u64,
    /// The holder's number among the GIL's threads; with [`LONG`] if it stands in the list of longest holds.
    who: u32,
    /// Where the holder gave it up.
    pub(crate) place: PlaceId,
}

/// Marks a hold that stands in the list of longest holds. No GIL has so many threads.
const LONG: u32 = 1 << 31;

impl Held {
    /// A hold by the thread of that number; `is_long` if it stands in the list of longest holds.
    #[inline]
    pub(crate) fn new(
        start_ns: u64,
        end_ns: u64,
        holder: u32,
        is_long: bool,
        place: PlaceId,
    ) -> Self {
        Self {
            place,
            start_ns,
            duration_ns: end_ns - start_ns,
            who: holder | if is_long { LONG } else { 0 },
        }
    }

    pub(crate) fn holder(&self) -> u32 {
        self.who & !LONG
    }

    pub(crate) fn is_long(&self) -> bool {
        self.who & LONG != 0
    }

    fn end_ns(&self) -> u64 {
        self.start_ns + self.duration_ns
    }
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
            self.forgotten_ns = held.end_ns();
        }
    }

    /// Splits a wait over those who held the GIL during it: adds to `row`, which has a cell for each holder by number. What has no cell, and
    /// holds in the list of longest ones, go to `blame`. The parts and the rest add up to the wait. Holds by `waiter` itself count as
    /// nobody's: they touch its wait only where two clocks disagree.
    #[inline]
    pub(crate) fn split(
        &self,
        waiter: u32,
        start_ns: u64,
        end_ns: u64,
        row: &mut [u64],
        mut blame: impl FnMut(Held, u64),
    ) -> Rest {
        let mut rest = end_ns.saturating_sub(start_ns);
        let (older, newer) = self.holds.as_slices();
        'all: for mut holds in [newer, older] {
            while let Some(last) = holds.last() {
                if last.end_ns() <= end_ns {
                    let (left, parts_ns) = add_inside(holds, waiter, start_ns, row);
                    rest -= parts_ns;
                    holds = left;
                }
                let [before @ .., held] = holds else {
                    break;
                };
                holds = before;
                let from_ns = held.start_ns.max(start_ns);
                let part_ns = held.end_ns().min(end_ns).saturating_sub(from_ns);
                if part_ns > 0 && held.holder() != waiter {
                    rest -= part_ns;
                    match row.get_mut(held.who as usize) {
                        Some(cell) => *cell += part_ns,
                        None => blame(*held, part_ns),
                    }
                }
                // Those before it ended when it began, or earlier.
                if held.start_ns <= start_ns {
                    break 'all;
                }
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

/// Adds the holds at the end of `holds` that began after `start_ns` to the cells of their holders: nearly all that a wait is split over. Leaves
/// out those by `waiter`, and stops at one that needs a closer look. What is left, and the sum of what was added.
#[expect(clippy::inline_always, reason = "for every wait")]
#[inline(always)]
fn add_inside<'h>(
    holds: &'h [Held],
    waiter: u32,
    start_ns: u64,
    row: &mut [u64],
) -> (&'h [Held], u64) {
    // Cheaper than looking at each whether it is the waiter's.
    let own_ns = row.get(waiter as usize).copied();
    let mut left = holds;
    let mut sum_ns = 0;
    while let [before @ .., held] = left {
        if held.start_ns <= start_ns {
            break;
        }
        let Some(cell) = row.get_mut(held.who as usize) else {
            break;
        };
        *cell += held.duration_ns;
        sum_ns += held.duration_ns;
        left = before;
    }
    if let (Some(cell), Some(own_ns)) = (row.get_mut(waiter as usize), own_ns) {
        sum_ns -= *cell - own_ns;
        *cell = own_ns;
    }
    (left, sum_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(holds: &[(u64, u64, u32)]) -> History {
        let mut history = History::default();
        for &(start_ns, end_ns, holder) in holds {
            history.push(Held::new(start_ns, end_ns, holder, false, 0));
        }
        history
    }

    #[test]
    fn splits_to_the_nanosecond() {
        let history = history(&[(0, 10, 1), (12, 20, 2), (20, 25, 1), (30, 40, 0)]);
        let mut parts = Vec::new();
        let rest = history.split(0, 5, 30, &mut [], |held, part| {
            parts.push((held.holder(), part));
        });
        assert_eq!(parts, [(1, 5), (2, 8), (1, 5)]);
        assert_eq!(rest.nobody_ns, 7);
        let mut row = [0; 2];
        history.split(0, 5, 30, &mut row, |held, part| {
            assert_eq!((held.holder(), part), (2, 8));
        });
        assert_eq!(row, [0, 10]);
        assert_eq!(rest.forgotten_ns, 0);
    }

    #[test]
    fn says_what_it_no_longer_knows() {
        let mut history = history(&[(0, 10, 1), (12, 20, 2)]);
        history.forget_oldest();
        let mut parts = Vec::new();
        let rest = history.split(0, 5, 20, &mut [], |held, part| {
            parts.push((held.holder(), part));
        });
        assert_eq!(parts, [(2, 8)]);
        assert_eq!(rest.forgotten_ns, 5);
        assert_eq!(rest.nobody_ns, 2);
    }
}
