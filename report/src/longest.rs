//! The few longest of many.

use std::cmp::Ordering;

use crate::functions::PlaceId;

/// So many of the longest holds, and waits, are kept for each GIL.
const KEPT: usize = 64;

/// So many others are named with each.
const OTHERS: usize = 32;

/// One of the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Whose, as its number among the GIL's threads.
    pub(crate) thread: u32,
    pub(crate) start_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) open: bool,
    /// Who waited, or who held, and how long.
    pub(crate) others: Vec<(u32, u64)>,
    /// Where a hold ended, or a wait began; 0 = not known.
    pub(crate) place: PlaceId,
    /// The number of the stack on which a hold ended.
    pub(crate) stack: Option<u32>,
    /// The number of a stack that was taken while it went on.
    pub(crate) sample: Option<u32>,
}

impl Entry {
    /// Counts the time of another thread.
    pub(crate) fn add_other(&mut self, thread: u32, part_ns: u64) {
        if let Some(other) = self.others.iter_mut().find(|other| other.0 == thread) {
            other.1 += part_ns;
        } else if self.others.len() < OTHERS {
            self.others.push((thread, part_ns));
        }
    }
}

/// The longest so far, in no order; an entry keeps its slot until a longer one takes it.
#[derive(Debug, Default)]
pub(crate) struct LongestList {
    entries: Vec<Entry>,
    /// The shortest of them, once the list is full.
    floor: Option<(u64, usize)>,
}

impl LongestList {
    /// Offers one; its slot if it is among the longest.
    #[inline]
    pub(crate) fn offer(&mut self, thread: u32, start_ns: u64, duration_ns: u64) -> Option<usize> {
        if let Some((floor_ns, _)) = self.floor
            && duration_ns <= floor_ns
        {
            return None;
        }
        Some(self.insert(Entry {
            thread,
            start_ns,
            duration_ns,
            open: false,
            others: Vec::new(),
            place: 0,
            stack: None,
            sample: None,
        }))
    }

    fn insert(&mut self, entry: Entry) -> usize {
        let slot = if let Some((_, slot)) = self.floor {
            self.entries[slot] = entry;
            slot
        } else {
            self.entries.push(entry);
            self.entries.len() - 1
        };
        if self.entries.len() == KEPT {
            // Of two that are equally short, the later one goes: the same in whatever order they came.
            self.floor = self
                .entries
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| (entry.duration_ns, std::cmp::Reverse(entry.start_ns)))
                .map(|(slot, entry)| (entry.duration_ns, slot));
        }
        slot
    }

    /// The entry in this slot.
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.entries.get_mut(slot)
    }

    /// The entry of this thread that began then, if it is still among the longest.
    pub(crate) fn find(&mut self, thread: u32, start_ns: u64) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.start_ns == start_ns && entry.thread == thread)
    }

    /// The entry of this thread that ended then, if it is still among the longest.
    pub(crate) fn find_end(&mut self, thread: u32, end_ns: u64) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.start_ns + entry.duration_ns == end_ns && entry.thread == thread)
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

/// Sorts what two lists kept and cuts it to one list's length. `compare` puts the longest first.
pub(crate) fn keep_longest<T>(entries: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    entries.sort_by(compare);
    entries.truncate(KEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_longest() {
        let mut list = LongestList::default();
        for n in 0..1000_u64 {
            list.offer(0, n, n * 7919 % 1000);
        }
        let mut durations: Vec<_> = list
            .into_entries()
            .iter()
            .map(|entry| entry.duration_ns)
            .collect();
        durations.sort_unstable();
        assert_eq!(durations, (936..1000).collect::<Vec<_>>());
    }
}
