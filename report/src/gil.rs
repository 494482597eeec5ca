//! Sums up the holds and waits of one GIL while they come.

use rustc_hash::FxHashMap;

use crate::distribution::Distribution;
use crate::functions::{PlaceId, PlaceSums};
use crate::history::{Held, History};
use crate::interval::State;
use crate::longest::LongestList;
use crate::registry::ThreadIndex;
use crate::series::{Column, Series};

/// Waits of this length are the mark of the switch interval (5 ms by default).
const SWITCH_INTERVAL_NS: std::ops::RangeInclusive<u64> = 4_000_000..=8_000_000;

/// A hold from here on is remembered with its thread, to find out whether they come back periodically.
pub(crate) const LONG_HOLD_NS: u64 = 10_000_000;

/// So many of them are remembered for each thread, the longest.
pub(crate) const LONG_HOLDS: usize = 256;

/// Stacks of the threads of a GIL.
const STACKS_LIMIT: usize = 1 << 16;

/// Cells of the blame table over all threads; beyond, a wait counts as not attributed.
const BLAME_CELLS: usize = 1 << 22;

/// The sums of one thread on one GIL.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// `None`: all threads beyond the number that is told apart.
    pub(crate) thread: Option<ThreadIndex>,
    pub(crate) holds: Distribution,
    pub(crate) waits: Distribution,
    pub(crate) forced_drops: u64,
    pub(crate) voluntary_drops: u64,
    pub(crate) requests_made: u64,
    pub(crate) switch_interval_waits: u64,
    pub(crate) wait_on_nobody_ns: u64,
    pub(crate) wait_unattributed_ns: u64,
    pub(crate) open_hold_ns: u64,
    pub(crate) open_wait_ns: u64,
    pub(crate) long_holds: Vec<(u64, u64)>,
    /// How long it waited for each other thread, by number.
    pub(crate) waited_for_ns: Vec<u64>,
    /// Where it gave the GIL up last.
    pub(crate) last_place: PlaceId,
}

impl Figures {
    pub(crate) fn distribution(&mut self, state: State) -> &mut Distribution {
        match state {
            State::Hold => &mut self.holds,
            State::Wait => &mut self.waits,
        }
    }
}

/// A hold or wait that is to be counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) open: bool,
}

impl Span {
    pub(crate) fn duration_ns(self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// A stack that was taken during a hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) time_ns: u64,
    /// Its number.
    pub(crate) stack: u32,
    /// How many frames it has.
    pub(crate) depth: usize,
}

/// One GIL.
pub(crate) struct GilState {
    pub(crate) pid: u32,
    pub(crate) address: u64,
    pub(crate) figures: Vec<Figures>,
    pub(crate) series: Series,
    pub(crate) longest_holds: LongestList,
    pub(crate) longest_waits: LongestList,
    pub(crate) switches: u64,
    /// Drop requests by the ident of the thread that was asked.
    pub(crate) requests: FxHashMap<u64, u64>,
    /// When the last hold ended.
    pub(crate) last_end_ns: u64,
    pub(crate) history: History,
    /// How many long holds ended on which stack, and how long they were, by thread, place and stack.
    pub(crate) stacks: FxHashMap<(u32, PlaceId, u32), (u64, u64)>,
    /// Sums by place, once places are known.
    pub(crate) places: PlaceSums,
    /// Of each thread the best of the stacks that were taken during its last hold of which any was.
    samples: FxHashMap<u32, Sample>,
    last_holder: Option<u32>,
    /// When a thread was last made to drop it.
    last_forced_ns: Option<u64>,
    blame_cells: usize,
    /// Parts of a wait while it is split; empty otherwise.
    apart: Vec<(Held, u64)>,
    overflow: Option<u32>,
}

impl GilState {
    pub(crate) fn new(pid: u32, address: u64, start_ns: u64) -> Self {
        Self {
            pid,
            address,
            figures: Vec::new(),
            series: Series::new(start_ns),
            longest_holds: LongestList::default(),
            longest_waits: LongestList::default(),
            switches: 0,
            requests: FxHashMap::default(),
            last_end_ns: start_ns,
            history: History::default(),
            stacks: FxHashMap::default(),
            places: PlaceSums::default(),
            samples: FxHashMap::default(),
            last_holder: None,
            last_forced_ns: None,
            blame_cells: 0,
            apart: Vec::new(),
            overflow: None,
        }
    }

    /// A number for a thread that has none on this GIL yet.
    pub(crate) fn number(&mut self, thread: Option<ThreadIndex>) -> u32 {
        if let (None, Some(overflow)) = (thread, self.overflow) {
            return overflow;
        }
        // Threads and lanes are limited far below 2^32.
        let number = u32::try_from(self.figures.len()).unwrap_or(u32::MAX);
        self.figures.push(Figures {
            thread,
            ..Figures::default()
        });
        if thread.is_none() {
            self.overflow = Some(number);
        }
        number
    }

    /// Counts a drop at that place, from where on the thread is there, and waits there.
    #[inline]
    pub(crate) fn drop(&mut self, number: u32, forced: bool, place: PlaceId) {
        let figures = &mut self.figures[number as usize];
        if forced {
            figures.forced_drops += 1;
        } else {
            figures.voluntary_drops += 1;
        }
        figures.last_place = place;
    }

    /// Counts a hold that ended at that place; it must begin where the last one ended, or later.
    #[expect(clippy::inline_always, reason = "for every event")]
    #[inline(always)]
    pub(crate) fn hold(&mut self, number: u32, span: Span, forced: bool, place: PlaceId) {
        let duration_ns = span.duration_ns();
        let figures = &mut self.figures[number as usize];
        figures.holds.record(duration_ns);
        if duration_ns >= LONG_HOLD_NS {
            remember_long(&mut figures.long_holds, span.start_ns, duration_ns);
        }
        if span.open {
            figures.open_hold_ns += duration_ns;
        }
        self.series.add(Column::Hold, span.start_ns, span.end_ns);
        let slot = self.longest_holds.offer(number, span.start_ns, duration_ns);
        if let Some(entry) = slot.and_then(|slot| self.longest_holds.get_mut(slot)) {
            entry.open = span.open;
            entry.place = place;
        }
        let is_long = slot.is_some();
        let held = Held::new(span.start_ns, span.end_ns, number, is_long, place);
        self.history.push(held);
        self.last_end_ns = self.last_end_ns.max(span.end_ns);
        if self.last_holder != Some(number) {
            self.switches += u64::from(self.last_holder.is_some());
            self.last_holder = Some(number);
        }
        if forced {
            self.last_forced_ns = Some(span.end_ns);
        }
    }

    /// Counts the stack on which a hold ended.
    pub(crate) fn stack(&mut self, number: u32, end_ns: u64, stack: u32, hold_ns: u64) {
        // What it was in meanwhile says more than what it was in when that was over.
        let sample = self.samples.remove(&number);
        let sample = sample.filter(|sample| sample.time_ns.saturating_add(hold_ns) >= end_ns);
        let sample = sample.map(|sample| sample.stack);
        if let Some(entry) = self.longest_holds.find_end(number, end_ns) {
            entry.stack = Some(stack);
            entry.sample = sample;
        }
        let place = self.figures[number as usize].last_place;
        let key = (number, place, sample.unwrap_or(stack));
        if self.stacks.len() < STACKS_LIMIT || self.stacks.contains_key(&key) {
            let sum = self.stacks.entry(key).or_default();
            sum.0 += 1;
            sum.1 = sum.1.saturating_add(hold_ns);
        }
    }

    /// Remembers what a thread was in while it held the GIL, which it had dropped before.
    pub(crate) fn sample(&mut self, number: u32, sample: Sample, dropped_ns: Option<u64>) {
        // A function without a frame pointer hides the one that has called it: the deepest stack tells most.
        let known = self.samples.get(&number);
        let is_better = known
            .is_none_or(|known| Some(known.time_ns) <= dropped_ns || known.depth <= sample.depth);
        if is_better {
            self.samples.insert(number, sample);
        }
    }

    /// Counts a wait and splits it over the holders.
    #[expect(clippy::inline_always, reason = "for every event")]
    #[inline(always)]
    pub(crate) fn wait(&mut self, number: u32, span: Span) {
        let duration_ns = span.duration_ns();
        let figures = &mut self.figures[number as usize];
        figures.waits.record(duration_ns);
        if span.open {
            figures.open_wait_ns += duration_ns;
        } else if SWITCH_INTERVAL_NS.contains(&duration_ns)
            && self.last_forced_ns >= Some(span.start_ns)
        {
            figures.switch_interval_waits += 1;
        }
        self.series.add(Column::Wait, span.start_ns, span.end_ns);

        let apart = &mut self.apart;
        let row = &mut figures.waited_for_ns;
        let rest = self
            .history
            .split(number, span.start_ns, span.end_ns, row, |held, part_ns| {
                apart.push((held, part_ns));
            });
        figures.wait_on_nobody_ns += rest.nobody_ns;
        figures.wait_unattributed_ns += rest.forgotten_ns;
        if !self.apart.is_empty() {
            self.blame_apart(number);
        }

        if let Some(slot) = self.longest_waits.offer(number, span.start_ns, duration_ns)
            && let Some(entry) = self.longest_waits.get_mut(slot)
        {
            entry.open = span.open;
            entry.place = self.figures[number as usize].last_place;
            self.history.split(
                number,
                span.start_ns,
                span.end_ns,
                &mut [],
                |held, part_ns| {
                    entry.add_other(held.holder(), part_ns);
                },
            );
        }
    }

    /// Counts a hold at the place where the thread gave the GIL up; where that is not known, it is one of those.
    #[cold]
    pub(crate) fn hold_at(&mut self, number: u32, duration_ns: u64, place: PlaceId) {
        self.places.hold(number, place, duration_ns);
    }

    /// Counts a wait at the place where the thread had given the GIL up, and splits it over the places of those who held it.
    #[cold]
    pub(crate) fn wait_at(&mut self, number: u32, span: Span) {
        let place = self.figures[number as usize].last_place;
        let places = &mut self.places;
        places.wait(number, place, span.duration_ns());
        let (start_ns, end_ns) = (span.start_ns, span.end_ns);
        self.history
            .split(number, start_ns, end_ns, &mut [], |held, part_ns| {
                places.blame(place, held.place, part_ns);
            });
    }

    /// Adds the parts of a wait that long holds are to blame for, or holders that the waiter's row does not reach yet.
    #[cold]
    fn blame_apart(&mut self, number: u32) {
        let figures = &mut self.figures[number as usize];
        let row = &mut figures.waited_for_ns;
        for (held, part_ns) in self.apart.drain(..) {
            let holder = held.holder() as usize;
            if holder >= row.len() {
                let more = holder + 1 - row.len();
                if self.blame_cells + more <= BLAME_CELLS {
                    self.blame_cells += more;
                    row.resize(holder + 1, 0);
                }
            }
            match row.get_mut(holder) {
                Some(cell) => *cell += part_ns,
                None => figures.wait_unattributed_ns += part_ns,
            }
            if held.is_long()
                && let Some(entry) = self.longest_holds.find(held.holder(), held.start_ns)
            {
                entry.add_other(number, part_ns);
            }
        }
    }

    /// Who held the GIL for most of a wait: the thread with the longest part, of several the last.
    pub(crate) fn held_most(&self, number: u32, span: Span) -> Option<u32> {
        let mut most: Option<(u32, u64)> = None;
        self.history.split(
            number,
            span.start_ns,
            span.end_ns,
            &mut [],
            |held, part_ns| {
                if most.is_none_or(|(_, most_ns)| part_ns > most_ns) {
                    most = Some((held.holder(), part_ns));
                }
            },
        );
        most.map(|(holder, _)| holder)
    }
}

/// Keeps the longest, the earlier one of two that are equally long.
fn remember_long(long_holds: &mut Vec<(u64, u64)>, start_ns: u64, duration_ns: u64) {
    if long_holds.len() < LONG_HOLDS {
        long_holds.push((start_ns, duration_ns));
        return;
    }
    let shortest = long_holds
        .iter_mut()
        .min_by_key(|(start_ns, duration_ns)| (*duration_ns, std::cmp::Reverse(*start_ns)));
    if let Some(shortest) = shortest
        && shortest.1 < duration_ns
    {
        *shortest = (start_ns, duration_ns);
    }
}
