//! Counts durations in the buckets that a histogram of three digits has. The histogram's own way of recording is made for every number of digits;
//! this is done twice for every event.

use rustc_hash::FxHashMap;

/// Values below 2 to the power of this have a bucket each; from there on, each power of two has half as many buckets.
const EXACT_BITS: u32 = 11;

/// How many durations lie in each bucket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// A byte each: there are two of these for each thread, all in use at the same time, and a processor's cache has to hold them.
    buckets: Vec<u8>,
    /// What does not fit into a bucket.
    more: FxHashMap<usize, u64>,
}

impl Counts {
    #[inline]
    pub(crate) fn add_one(&mut self, value: u64) {
        let index = index(value);
        if let Some(bucket) = self.buckets.get_mut(index)
            && let Some(counted) = bucket.checked_add(1)
        {
            *bucket = counted;
        } else {
            self.add_at(index, 1);
        }
    }

    pub(crate) fn add(&mut self, value: u64, count: u64) {
        self.add_at(index(value), count);
    }

    #[cold]
    fn add_at(&mut self, index: usize, count: u64) {
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        let sum = count.saturating_add(self.buckets[index].into());
        if let Ok(sum) = u8::try_from(sum) {
            self.buckets[index] = sum;
        } else {
            self.buckets[index] = 0;
            let more = self.more.entry(index).or_default();
            *more = more.saturating_add(sum);
        }
    }

    /// The buckets that are not empty, by a value that lies in each: shortest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.buckets.iter().enumerate().map(|(index, &count)| {
            let more = self.more.get(&index).copied().unwrap_or(0);
            (lowest(index), more.saturating_add(count.into()))
        });
        counts.filter(|&(_, count)| count > 0)
    }
}

/// The bucket of a value: rising with it, without gaps.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left after the shift is below 2,048"
)]
#[inline]
fn index(value: u64) -> usize {
    let exact = (1 << EXACT_BITS) - 1;
    let shift = (64 - EXACT_BITS) - (value | exact).leading_zeros();
    // At most 53 times 1024 and 2047.
    ((shift as usize) << (EXACT_BITS - 1)) + (value >> shift) as usize
}

/// The lowest value of a bucket.
fn lowest(index: usize) -> u64 {
    let octave = (index >> (EXACT_BITS - 1)).saturating_sub(1);
    let within = index - (octave << (EXACT_BITS - 1));
    (within as u64) << octave
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;

    #[test]
    fn counts_more_than_a_bucket_holds() {
        let mut counts = Counts::default();
        counts.add(5, u64::from(u8::MAX));
        counts.add_one(5);
        counts.add_one(5);
        counts.add(7, u64::MAX);
        counts.add(7, 1);
        let counted: Vec<_> = counts.iter().collect();
        assert_eq!(counted, [(5, u64::from(u8::MAX) + 2), (7, u64::MAX)]);
    }

    #[test]
    fn buckets_are_those_of_the_histogram() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        histogram.auto(true);
        histogram.record(u64::MAX).unwrap();
        let powers = (0..64).map(|power| 1_u64 << power);
        let near = powers.flat_map(|power| [power - 1, power, power + 1, power + power / 3]);
        for value in (0..5000).chain(near).chain([u64::MAX]) {
            let lowest = lowest(index(value));
            assert_eq!(lowest, histogram.lowest_equivalent(value), "{value}");
            let below = value.checked_sub(1).map(index);
            assert!(
                below.is_none_or(|below| index(value) - below <= 1),
                "{value}"
            );
        }
    }
}
