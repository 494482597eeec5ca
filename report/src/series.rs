//! Holds and waits over time, in a bounded number of buckets.

use serde::{Deserialize, Serialize};

/// At most so many buckets; when time goes on they become twice as wide.
const BUCKETS: u64 = 1024;

/// The narrowest bucket: 2^20 ns, about a millisecond.
const NARROWEST: u32 = 20;

/// Nanoseconds of hold and wait in each stretch of time. Bucket `n` covers the 2^`width_log2` ns from
/// (`first` + n) · 2^`width_log2` on the trace's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The width of a bucket is 2^this nanoseconds.
    pub width_log2: u32,
    /// The number of the first bucket, counted from the clock's zero.
    pub first: u64,
    /// How long some thread held the GIL.
    pub hold_ns: Vec<u64>,
    /// How long threads waited, summed over threads.
    pub wait_ns: Vec<u64>,
}

/// Which of the two series an interval belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Hold,
    Wait,
}

impl Series {
    /// Nothing yet, beginning at this time.
    pub(crate) fn new(start_ns: u64) -> Self {
        Self {
            width_log2: NARROWEST,
            first: start_ns >> NARROWEST,
            hold_ns: Vec::new(),
            wait_ns: Vec::new(),
        }
    }

    /// The width of a bucket in nanoseconds.
    #[must_use]
    pub fn width_ns(&self) -> u64 {
        1 << self.width_log2
    }

    /// When the bucket with this index begins.
    #[must_use]
    pub fn start_ns(&self, index: usize) -> u64 {
        (self.first + index as u64) << self.width_log2
    }

    /// Whether some thread held the GIL for longer than there was time.
    #[must_use]
    pub fn overlaps(&self) -> bool {
        self.hold_ns.iter().any(|&hold| hold > self.width_ns())
    }

    /// Whether what was read from a file can be worked with.
    pub(crate) fn is_sound(&self) -> bool {
        (NARROWEST..60).contains(&self.width_log2)
            && self.hold_ns.len() as u64 <= BUCKETS
            && self.hold_ns.len() == self.wait_ns.len()
            && self.first < 1 << (60 - self.width_log2)
    }

    /// Adds an interval; what lies before the first bucket is left out.
    #[inline]
    pub(crate) fn add(&mut self, column: Column, start_ns: u64, end_ns: u64) {
        let bucket = start_ns >> self.width_log2;
        let values = match column {
            Column::Hold => &mut self.hold_ns,
            Column::Wait => &mut self.wait_ns,
        };
        // Nearly all lie within one bucket that is there already.
        if end_ns > start_ns
            && bucket == (end_ns - 1) >> self.width_log2
            && let Some(value) = values.get_mut(index(bucket.wrapping_sub(self.first)))
        {
            *value += end_ns - start_ns;
        } else {
            self.spread(column, start_ns, end_ns);
        }
    }

    /// Adds an interval to all buckets that it touches.
    fn spread(&mut self, column: Column, start_ns: u64, end_ns: u64) {
        let start_ns = start_ns.max(self.first << self.width_log2);
        if end_ns <= start_ns {
            return;
        }
        self.reach((end_ns - 1) >> self.width_log2);
        let low = start_ns >> self.width_log2;
        let high = (end_ns - 1) >> self.width_log2;
        let width_log2 = self.width_log2;
        let first = self.first;
        let values = match column {
            Column::Hold => &mut self.hold_ns,
            Column::Wait => &mut self.wait_ns,
        };
        for bucket in low..=high {
            let from = start_ns.max(bucket << width_log2);
            let to = end_ns.min((bucket + 1) << width_log2);
            values[index(bucket - first)] += to - from;
        }
    }

    /// Makes room up to this bucket.
    #[inline]
    fn reach(&mut self, mut bucket: u64) {
        if bucket - self.first < self.hold_ns.len() as u64 {
            return;
        }
        while bucket - self.first >= BUCKETS {
            self.coarsen();
            bucket >>= 1;
        }
        let length = self.hold_ns.len().max(index(bucket - self.first) + 1);
        self.hold_ns.resize(length, 0);
        self.wait_ns.resize(length, 0);
    }

    fn coarsen(&mut self) {
        let odd = index(self.first & 1);
        let fold = |values: &mut Vec<u64>| {
            let length = match values.len() {
                0 => 0,
                length => (length + odd).div_ceil(2),
            };
            let value = |at: Option<usize>| at.and_then(|at| values.get(at)).copied();
            *values = (0..length)
                .map(|target| {
                    let left = value((target * 2).checked_sub(odd));
                    let right = value((target * 2 + 1).checked_sub(odd));
                    left.unwrap_or(0).saturating_add(right.unwrap_or(0))
                })
                .collect();
        };
        fold(&mut self.hold_ns);
        fold(&mut self.wait_ns);
        self.first >>= 1;
        self.width_log2 += 1;
    }

    /// Adds all of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.width_log2 < other.width_log2 {
            self.coarsen();
        }
        while other.width_log2 < self.width_log2 {
            other.coarsen();
        }
        let last = |series: &Self| series.first + series.hold_ns.len() as u64;
        while last(self).max(last(&other)) - self.first.min(other.first) > BUCKETS {
            self.coarsen();
            other.coarsen();
        }
        let first = self.first.min(other.first);
        let length = index(last(self).max(last(&other)) - first);
        let mut whole = Self {
            width_log2: self.width_log2,
            first,
            hold_ns: vec![0; length],
            wait_ns: vec![0; length],
        };
        for part in [&*self, &other] {
            let offset = index(part.first - first);
            for (at, (hold, wait)) in part.hold_ns.iter().zip(&part.wait_ns).enumerate() {
                let cells = (
                    &mut whole.hold_ns[offset + at],
                    &mut whole.wait_ns[offset + at],
                );
                *cells.0 = cells.0.saturating_add(*hold);
                *cells.1 = cells.1.saturating_add(*wait);
            }
        }
        *self = whole;
    }
}

/// Bucket numbers within a series are below `BUCKETS`.
fn index(bucket: u64) -> usize {
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_nanosecond_while_it_coarsens() {
        let mut series = Series::new(3 << 20);
        let mut sum = 0;
        for step in 0..50_000_u64 {
            let start = (3 << 20) + step * 1_000_003;
            series.add(Column::Hold, start, start + 777_777);
            sum += 777_777;
        }
        assert_eq!(series.hold_ns.iter().sum::<u64>(), sum);
        assert!(series.hold_ns.len() as u64 <= BUCKETS);
        let width = series.width_ns();
        assert!(series.hold_ns.iter().all(|&hold| hold <= width));
        let middle = series.hold_ns[series.hold_ns.len() / 2];
        assert!(middle.abs_diff(width / 1_000_003 * 777_777) < 2_000_000);
    }

    #[test]
    fn merged_equals_all_at_once() {
        for far in [1_u64 << 20, 1 << 31, 1 << 36] {
            let intervals = [(5 << 20, 9 << 20), (12 << 20, far + (13 << 20))];
            let mut whole = Series::new(5 << 20);
            let mut left = Series::new(5 << 20);
            let mut right = Series::new(5 << 20);
            for (start, end) in intervals {
                whole.add(Column::Wait, start, end);
            }
            left.add(Column::Wait, intervals[0].0, intervals[0].1);
            right.add(Column::Wait, intervals[1].0, intervals[1].1);
            let mut other_way = right.clone();
            other_way.merge(&left);
            left.merge(&right);
            assert_eq!(left, whole);
            assert_eq!(other_way, whole);
        }
    }
}
