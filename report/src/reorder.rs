//! Puts events that arrive out of order back into order, within a window.
//!
//! Tracers read one buffer a CPU, so a trace is several sorted runs shuffled together. The window is counted in events:
//! memory stays the same however long the trace is.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::event::{DropInfo, Event, Kind};
use crate::trace::EventSink;

/// Events kept back to see whether an earlier one still comes.
pub(crate) const DEFAULT_WINDOW: usize = 1 << 19;

/// An event that is so few places late is put in its place at once; sorting takes the others.
const NEAR: usize = 64;

/// Events handed on at a time.
const CHUNK: usize = 1 << 12;

/// An event while it is kept back: 32 bytes. Nearly all are of a few kinds and shorter than four seconds, and lie here with all that they say; of the others,
/// the rest lies apart.
#[derive(Clone, Copy)]
struct Slot {
    time_ns: u64,
    /// For [`SlotKind::Rare`], under which number the rest lies; for [`SlotKind::At`], the number of the place.
    gil: u64,
    hold_ns: u32,
    wait_ns: u32,
    tid: u32,
    kind: SlotKind,
}

#[derive(Clone, Copy)]
enum SlotKind {
    Drop,
    ForcedDrop,
    Claim,
    Acquired,
    At,
    Rare,
}

pub(crate) struct Reorder {
    buffer: VecDeque<Slot>,
    /// What does not lie in a slot.
    rare: FxHashMap<u64, Kind>,
    next_rare: u64,
    window: usize,
    /// With so many, the oldest are handed on.
    full: usize,
    sorted: bool,
    /// The latest time in the buffer, or of what was handed on.
    latest_ns: u64,
    handed_on_ns: u64,
    late: u64,
}

impl Reorder {
    pub(crate) fn new(window: usize) -> Self {
        let window = window.max(1);
        Self {
            // Memory is taken as it is used. More would be gone through in turn.
            buffer: VecDeque::with_capacity(window.min(DEFAULT_WINDOW) + CHUNK),
            rare: FxHashMap::default(),
            next_rare: 0,
            window,
            full: window + CHUNK.min(window),
            sorted: true,
            latest_ns: 0,
            handed_on_ns: 0,
            late: 0,
        }
    }

    /// Events that came too late to be put in their place and were left out.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// Takes one more event; hands on those that the window is full of.
    #[expect(clippy::inline_always, reason = "see EventSink")]
    #[inline(always)]
    pub(crate) fn push(&mut self, event: Event, sink: &mut impl EventSink) {
        let slot = self.slot(event);
        self.push_slot(slot, sink);
    }

    /// Takes one more drop, like [`Reorder::push`].
    #[expect(clippy::inline_always, reason = "see EventSink")]
    #[inline(always)]
    pub(crate) fn push_drop(
        &mut self,
        time_ns: u64,
        tid: u32,
        drop: DropInfo,
        sink: &mut impl EventSink,
    ) {
        let slot = self.drop_slot(time_ns, tid, drop);
        self.push_slot(slot, sink);
    }

    #[expect(clippy::inline_always, reason = "see EventSink")]
    #[inline(always)]
    fn push_slot(&mut self, slot: Slot, sink: &mut impl EventSink) {
        if slot.time_ns >= self.latest_ns {
            self.latest_ns = slot.time_ns;
            self.buffer.push_back(slot);
        } else {
            self.put_back(slot);
        }
        if self.buffer.len() >= self.full {
            self.hand_on_window(sink);
        }
    }

    #[expect(clippy::inline_always, reason = "see EventSink")]
    #[inline(always)]
    fn slot(&mut self, event: Event) -> Slot {
        let Event { time_ns, tid, kind } = event;
        let slot = |kind, gil, wait_ns| Slot {
            time_ns,
            gil,
            hold_ns: 0,
            wait_ns,
            tid,
            kind,
        };
        match kind {
            Kind::Drop(drop) => self.drop_slot(time_ns, tid, drop),
            Kind::Claim { gil } => slot(SlotKind::Claim, gil, 0),
            Kind::Acquired { gil, wait_ns } => match u32::try_from(wait_ns) {
                Ok(wait_ns) => slot(SlotKind::Acquired, gil, wait_ns),
                Err(_) => slot(SlotKind::Rare, self.put_apart(kind), 0),
            },
            Kind::At { location } => slot(SlotKind::At, location, 0),
            kind => slot(SlotKind::Rare, self.put_apart(kind), 0),
        }
    }

    #[expect(clippy::inline_always, reason = "see EventSink")]
    #[inline(always)]
    fn drop_slot(&mut self, time_ns: u64, tid: u32, drop: DropInfo) -> Slot {
        let slot = |kind, gil, hold_ns, wait_ns| Slot {
            time_ns,
            gil,
            hold_ns,
            wait_ns,
            tid,
            kind,
        };
        match (u32::try_from(drop.hold_ns), u32::try_from(drop.wait_ns)) {
            (Ok(hold_ns), Ok(wait_ns)) => {
                let kind = if drop.forced {
                    SlotKind::ForcedDrop
                } else {
                    SlotKind::Drop
                };
                slot(kind, drop.gil, hold_ns, wait_ns)
            }
            _ => slot(SlotKind::Rare, self.put_apart(Kind::Drop(drop)), 0, 0),
        }
    }

    #[cold]
    fn put_apart(&mut self, kind: Kind) -> u64 {
        self.next_rare += 1;
        self.rare.insert(self.next_rare, kind);
        self.next_rare
    }

    /// Takes an event that is earlier than one before it.
    #[cold]
    fn put_back(&mut self, mut slot: Slot) {
        if slot.time_ns < self.handed_on_ns {
            if self.is_about_time(slot) {
                if let SlotKind::Rare = slot.kind {
                    self.rare.remove(&slot.gil);
                }
                self.late += 1;
                return;
            }
            // Names, losses and the end are true whenever they come.
            slot.time_ns = self.handed_on_ns;
        }
        let mut later = self.buffer.iter().rev().take(NEAR);
        let steps = later.position(|other| other.time_ns <= slot.time_ns);
        match steps {
            Some(steps) if self.sorted => self.buffer.insert(self.buffer.len() - steps, slot),
            _ => {
                self.sorted = false;
                self.buffer.push_back(slot);
            }
        }
    }

    fn is_about_time(&self, slot: Slot) -> bool {
        match slot.kind {
            SlotKind::Rare => self.rare.get(&slot.gil).is_some_and(is_about_time),
            _ => true,
        }
    }

    /// Hands on what is more than the window. Where events are far from their places that is done for many at once: all have to be sorted.
    #[cold]
    fn hand_on_window(&mut self, sink: &mut impl EventSink) {
        if self.sorted || self.buffer.len() >= self.window * 2 {
            self.hand_on(self.buffer.len() - self.window, sink);
        }
    }

    /// Hands on what is left.
    pub(crate) fn finish(&mut self, sink: &mut impl EventSink) {
        self.hand_on(self.buffer.len(), sink);
    }

    fn hand_on(&mut self, count: usize, sink: &mut impl EventSink) {
        if !self.sorted {
            // Stable: lines with the same time keep the order in which they were written.
            let slots = self.buffer.make_contiguous();
            slots.sort_by_key(|slot| slot.time_ns);
            self.sorted = true;
        }
        if let Some(last) = count
            .checked_sub(1)
            .and_then(|index| self.buffer.get(index))
        {
            self.handed_on_ns = last.time_ns;
        }
        for slot in self.buffer.drain(..count) {
            let Slot {
                time_ns,
                gil,
                tid,
                kind,
                ..
            } = slot;
            let wait_ns = slot.wait_ns.into();
            let kind = match kind {
                SlotKind::Drop | SlotKind::ForcedDrop => {
                    let drop = DropInfo {
                        gil,
                        forced: matches!(kind, SlotKind::ForcedDrop),
                        hold_ns: slot.hold_ns.into(),
                        wait_ns,
                    };
                    sink.dropped(time_ns, tid, drop);
                    continue;
                }
                SlotKind::Claim => Kind::Claim { gil },
                SlotKind::Acquired => Kind::Acquired { gil, wait_ns },
                SlotKind::At => Kind::At { location: gil },
                SlotKind::Rare => match self.rare.remove(&gil) {
                    Some(kind) => kind,
                    None => continue,
                },
            };
            sink.event(Event { time_ns, tid, kind });
        }
    }
}

fn is_about_time(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Thread(_)
            | Kind::Process { .. }
            | Kind::Gil { .. }
            | Kind::Frames { .. }
            | Kind::Module { .. }
            | Kind::Location { .. }
            | Kind::Mode { .. }
            | Kind::Lost { .. }
            | Kind::End { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A longer hold or wait does not lie in a slot.
    const SLOT_NS: u64 = u32::MAX as u64;

    #[test]
    fn what_comes_out_is_what_went_in() {
        let kinds = [0, 5, SLOT_NS, SLOT_NS + 1, u64::MAX].map(|long_ns| {
            let drop = |forced, hold_ns, wait_ns| {
                Kind::Drop(DropInfo {
                    gil: 1,
                    forced,
                    hold_ns,
                    wait_ns,
                })
            };
            let wait_ns = long_ns;
            [
                drop(true, long_ns, 7),
                drop(false, 7, long_ns),
                Kind::Acquired { gil: 2, wait_ns },
                Kind::Claim { gil: long_ns },
                Kind::Request {
                    gil: long_ns,
                    holder: 3,
                },
                Kind::End { reason: "x".into() },
            ]
        });
        let events: Vec<Event> = (0..)
            .zip(kinds.into_iter().flatten())
            .map(|(time_ns, kind)| Event {
                time_ns,
                tid: 9,
                kind,
            })
            .collect();
        let mut reorder = Reorder::new(4);
        let mut out = Vec::new();
        for event in &events {
            reorder.push(event.clone(), &mut |event| out.push(event));
        }
        reorder.finish(&mut |event| out.push(event));
        assert_eq!(out, events);
        assert!(reorder.rare.is_empty());
    }

    #[test]
    fn what_comes_too_late_leaves_nothing_behind() {
        let mut reorder = Reorder::new(1);
        for time_ns in [10, 20, 30, 5, 6] {
            let kind = Kind::Request { gil: 1, holder: 2 };
            let event = Event {
                time_ns,
                tid: 1,
                kind,
            };
            reorder.push(event, &mut drop);
        }
        assert_eq!(reorder.late(), 2);
        reorder.finish(&mut drop);
        assert!(reorder.rare.is_empty());
    }

    fn claim(time_ns: u64) -> Event {
        Event {
            time_ns,
            tid: 1,
            kind: Kind::Claim { gil: 1 },
        }
    }

    fn through(window: usize, times: &[u64]) -> (Vec<u64>, u64) {
        let mut reorder = Reorder::new(window);
        let mut order = Vec::new();
        for &time in times {
            reorder.push(claim(time), &mut |event: Event| order.push(event.time_ns));
        }
        reorder.finish(&mut |event: Event| order.push(event.time_ns));
        (order, reorder.late())
    }

    #[test]
    fn sorts_within_the_window() {
        assert_eq!(
            through(2, &[1, 4, 3, 2, 5, 7, 6]),
            (vec![1, 2, 3, 4, 5, 6, 7], 0)
        );
    }

    #[test]
    fn sorts_what_is_far_from_its_place() {
        // Two runs, one behind the other, as two buffers of a tracer are read.
        let runs = (0..900).map(|time| time * 2);
        let times: Vec<u64> = runs.clone().chain(runs.map(|time| time + 1)).collect();
        let (order, late) = through(1000, &times);
        assert_eq!(order, (0..1800).collect::<Vec<_>>());
        assert_eq!(late, 0);
    }

    #[test]
    fn counts_what_comes_later_than_the_window() {
        assert_eq!(through(1, &[10, 20, 30, 5]), (vec![10, 20, 30], 1));
    }
}
