//! What a picture of a trace needs, in bounded memory: for every lane how much it held and waited in each cell of time, and
//! single intervals as far as they fit: the longest everywhere, and all of them where most was waited.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::interval::{Interval, IntervalSink, State};
use crate::summary::Session;

/// Cells over all lanes.
const CELLS: usize = 1 << 20;

/// Cells of one lane, at most.
const LANE_CELLS: usize = 1 << 15;

/// The narrowest cell: 2^16 ns, 66 µs.
const NARROWEST: u32 = 16;

/// Single intervals that are kept because they are long.
const KEPT: usize = 350_000;

/// The width of a stretch that may be kept with every interval: 2^26 ns, 67 ms.
const STRETCH: u32 = 26;

/// Stretches that are kept.
const STRETCHES: usize = 12;

/// Intervals of one stretch, at most.
const STRETCH_INTERVALS: usize = 12_000;

/// The picture of one session.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// When tracing began and ended, on the trace's clock.
    pub start_ns: u64,
    /// The end of it.
    pub end_ns: u64,
    /// A cell is 2^this nanoseconds wide.
    pub cell_log2: u32,
    /// The number of the first cell, counted from the clock's zero.
    pub first_cell: u64,
    /// A lane for each thread and GIL that had an interval.
    pub lanes: Vec<Lane>,
    /// Every interval of this length or more is kept as itself.
    pub kept_from_ns: u64,
    /// Stretches of which every interval is kept, ordered by time: start and end.
    pub complete: Vec<(u64, u64)>,
    /// How many intervals there were.
    pub intervals: u64,
}

/// One thread and one GIL.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's last name.
    pub name: Option<String>,
    /// The GIL's address.
    pub gil: u64,
    /// Nanoseconds held and waited in each cell.
    pub cells: Vec<(u64, u64)>,
    /// Single intervals, by start.
    pub kept: Vec<Kept>,
}

/// One interval that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// When it began.
    pub start_ns: u64,
    /// How long it was.
    pub duration_ns: u64,
    /// A wait, not a hold.
    pub wait: bool,
    /// A hold that another thread asked to end.
    pub forced: bool,
    /// It had not ended when tracing did.
    pub open: bool,
    /// For a wait: the tid that held the GIL for most of it; 0 = nobody.
    pub holder_tid: u32,
}

/// Collects the timelines of a trace.
#[derive(Debug, Default)]
pub struct TimelineSink {
    finished: Vec<Timeline>,
    current: Collecting,
}

/// A timeline in the making.
#[derive(Debug, Default)]
struct Collecting {
    timeline: Timeline,
    kept: Vec<(u32, Kept)>,
    stretch: Stretch,
    worst: BinaryHeap<Reverse<Stretch>>,
}

/// All intervals that ended in one stretch of time.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    wait_ns: u64,
    number: u64,
    intervals: Vec<(u32, Kept)>,
}

impl TimelineSink {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One timeline for each session, in the order of the trace; they are matched to the sessions of a summary by their
    /// start and end.
    #[must_use]
    pub fn into_timelines(self) -> Vec<Timeline> {
        self.finished
    }
}

impl IntervalSink for TimelineSink {
    fn interval(&mut self, interval: &Interval<'_>) {
        self.current.interval(interval);
    }

    fn session_ended(&mut self, session: &Session) {
        let mut timeline = std::mem::take(&mut self.current).finish();
        timeline.start_ns = session.start_ns;
        timeline.end_ns = session.end_ns;
        self.finished.push(timeline);
    }
}

impl Collecting {
    fn interval(&mut self, interval: &Interval<'_>) {
        self.timeline.intervals += 1;
        let lane = interval.lane as usize;
        if lane >= self.timeline.lanes.len() {
            self.add_lanes(lane + 1);
        }
        let entry = &mut self.timeline.lanes[lane];
        if entry.tid == 0 {
            entry.pid = interval.pid;
            entry.tid = interval.tid;
            entry.gil = interval.gil;
        }
        if entry.name.as_deref() != interval.name {
            entry.name = interval.name.map(str::to_owned);
        }
        self.timeline
            .fill(lane, interval.state, interval.start_ns, interval.end_ns);

        let kept = Kept {
            start_ns: interval.start_ns,
            duration_ns: interval.end_ns - interval.start_ns,
            wait: interval.state == State::Wait,
            forced: interval.forced,
            open: interval.open,
            holder_tid: interval.holder_tid.unwrap_or(0),
        };
        self.keep_if_long(interval.lane, kept);
        self.keep_in_stretch(interval.lane, kept, interval.end_ns);
    }

    /// Also makes cells wider when there are so many lanes that their cells would take too much memory.
    fn add_lanes(&mut self, count: usize) {
        let before = lane_cells(self.timeline.lanes.len());
        self.timeline.lanes.resize_with(count, Lane::default);
        if lane_cells(count) == before {
            return;
        }
        while self.timeline.longest_lane() > lane_cells(count) {
            self.timeline.widen_cells();
        }
    }

    fn keep_if_long(&mut self, lane: u32, kept: Kept) {
        if kept.duration_ns < self.timeline.kept_from_ns {
            return;
        }
        self.kept.push((lane, kept));
        if self.kept.len() < 2 * KEPT {
            return;
        }
        let (_, middle, _) = self
            .kept
            .select_nth_unstable_by_key(KEPT, |(_, kept)| kept.duration_ns);
        self.timeline.kept_from_ns = middle.1.duration_ns + 1;
        let from_ns = self.timeline.kept_from_ns;
        self.kept.retain(|(_, kept)| kept.duration_ns >= from_ns);
    }

    fn keep_in_stretch(&mut self, lane: u32, kept: Kept, end_ns: u64) {
        let number = end_ns >> STRETCH;
        if number != self.stretch.number {
            let next = Stretch {
                number,
                ..Stretch::default()
            };
            let finished = std::mem::replace(&mut self.stretch, next);
            self.rank(finished);
        }
        if kept.wait {
            self.stretch.wait_ns = self.stretch.wait_ns.saturating_add(kept.duration_ns);
        }
        // One more than fits says that it does not.
        if self.stretch.intervals.len() <= STRETCH_INTERVALS {
            self.stretch.intervals.push((lane, kept));
        }
    }

    fn rank(&mut self, stretch: Stretch) {
        if stretch.intervals.is_empty() || stretch.intervals.len() > STRETCH_INTERVALS {
            return;
        }
        let least_ns = self.worst.peek().map_or(0, |least| least.0.wait_ns);
        if self.worst.len() < STRETCHES || stretch.wait_ns > least_ns {
            self.worst.push(Reverse(stretch));
            if self.worst.len() > STRETCHES {
                self.worst.pop();
            }
        }
    }

    fn finish(mut self) -> Timeline {
        let last = std::mem::take(&mut self.stretch);
        self.rank(last);
        let mut timeline = self.timeline;
        let from_ns = timeline.kept_from_ns;
        if from_ns > 0 {
            let ranges = self.worst.iter().map(|Reverse(stretch)| stretch.number);
            timeline.complete = ranges
                .map(|number| (number << STRETCH, (number + 1) << STRETCH))
                .collect();
            timeline.complete.sort_unstable();
            let short = self.worst.into_iter().flat_map(|one| one.0.intervals);
            self.kept
                .extend(short.filter(|(_, kept)| kept.duration_ns < from_ns));
        }
        for (lane, kept) in self.kept {
            timeline.lanes[lane as usize].kept.push(kept);
        }
        for lane in &mut timeline.lanes {
            lane.kept.sort_unstable();
        }
        timeline
    }
}

impl Timeline {
    /// How many intervals are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.lanes.iter().map(|lane| lane.kept.len()).sum()
    }

    fn longest_lane(&self) -> usize {
        self.lanes
            .iter()
            .map(|lane| lane.cells.len())
            .max()
            .unwrap_or(0)
    }

    fn fill(&mut self, lane: usize, state: State, start_ns: u64, end_ns: u64) {
        if end_ns <= start_ns {
            return;
        }
        if self.cell_log2 == 0 {
            self.cell_log2 = NARROWEST;
            self.first_cell = start_ns >> NARROWEST;
        }
        while ((end_ns - 1) >> self.cell_log2).saturating_sub(self.first_cell)
            >= lane_cells(self.lanes.len()) as u64
        {
            self.widen_cells();
        }
        let start_ns = start_ns.max(self.first_cell << self.cell_log2);
        if end_ns <= start_ns {
            return;
        }
        let (low, high) = (start_ns >> self.cell_log2, (end_ns - 1) >> self.cell_log2);
        let (first_cell, cell_log2) = (self.first_cell, self.cell_log2);
        let cells = &mut self.lanes[lane].cells;
        let index = |cell: u64| usize::try_from(cell - first_cell).unwrap_or(usize::MAX);
        if cells.len() <= index(high) {
            cells.resize(index(high) + 1, (0, 0));
        }
        for cell in low..=high {
            let from = start_ns.max(cell << cell_log2);
            let to = end_ns.min((cell + 1) << cell_log2);
            let entry = &mut cells[index(cell)];
            match state {
                State::Hold => entry.0 += to - from,
                State::Wait => entry.1 += to - from,
            }
        }
    }

    fn widen_cells(&mut self) {
        let odd = usize::from(self.first_cell & 1 == 1);
        for lane in &mut self.lanes {
            if lane.cells.is_empty() {
                continue;
            }
            let mut wide = vec![(0, 0); (lane.cells.len() + odd).div_ceil(2)];
            for (at, cell) in lane.cells.iter().enumerate() {
                let target = &mut wide[(at + odd) >> 1];
                target.0 += cell.0;
                target.1 += cell.1;
            }
            lane.cells = wide;
        }
        self.first_cell >>= 1;
        self.cell_log2 += 1;
    }
}

fn lane_cells(lanes: usize) -> usize {
    (CELLS / lanes.max(1)).clamp(64, LANE_CELLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(lane: u32, start_ns: u64, end_ns: u64) -> Interval<'static> {
        Interval {
            state: State::Hold,
            lane,
            pid: 1,
            tid: lane + 10,
            name: None,
            gil: 1,
            start_ns,
            end_ns,
            forced: false,
            open: false,
            holder_tid: None,
        }
    }

    #[test]
    fn keeps_all_of_a_short_trace() {
        let mut collecting = Collecting::default();
        for step in 0..1000 {
            collecting.interval(&hold(0, step * 1000, step * 1000 + 500));
        }
        let timeline = collecting.finish();
        assert_eq!(timeline.kept(), 1000);
        assert_eq!(timeline.kept_from_ns, 0);
        let held: u64 = timeline.lanes[0].cells.iter().map(|cell| cell.0).sum();
        assert_eq!(held, 500_000);
    }

    #[test]
    fn thins_a_long_trace_and_says_so() {
        let mut collecting = Collecting::default();
        let count = 3 * KEPT as u64;
        for step in 0..count {
            let long = if step % 100 == 0 { 90_000 } else { step % 7919 };
            collecting.interval(&hold(0, step * 100_000, step * 100_000 + long));
        }
        let timeline = collecting.finish();
        assert_eq!(timeline.intervals, count);
        assert!(timeline.kept_from_ns > 0 && timeline.kept_from_ns <= 90_000);
        assert!(timeline.kept() < 2 * KEPT + STRETCHES * STRETCH_INTERVALS);
        assert_eq!(timeline.complete.len(), STRETCHES);
        let long = timeline.lanes[0].kept.iter();
        let long = long.filter(|kept| kept.duration_ns == 90_000).count() as u64;
        assert_eq!(long, count / 100);
        assert!(timeline.longest_lane() <= LANE_CELLS);
    }

    #[test]
    fn many_lanes_share_the_memory() {
        let mut collecting = Collecting::default();
        for step in 0..50_000_u64 {
            let lane = u32::try_from(step % 5_000).unwrap();
            collecting.interval(&hold(lane, step * 100_000, step * 100_000 + 50_000));
        }
        let timeline = collecting.finish();
        let cells: usize = timeline.lanes.iter().map(|lane| lane.cells.len()).sum();
        assert!(cells <= CELLS);
        let held: u64 = timeline
            .lanes
            .iter()
            .flat_map(|lane| &lane.cells)
            .map(|cell| cell.0)
            .sum();
        assert_eq!(held, 50_000 * 50_000);
    }
}
