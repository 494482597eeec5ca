//! How durations are spread: exact count, sum and extremes, percentiles to three digits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::counts::Counts;

/// So many durations are kept as they are before a histogram is worth its memory: a process may have thousands of
/// threads that hardly run.
const FEW: usize = 64;

/// Significant digits of percentiles.
const DIGITS: u8 = 3;

/// Durations in nanoseconds. `count`, `total_ns`, `min_ns` and `max_ns` are exact.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Distribution {
    count: u64,
    total_ns: u64,
    min_ns: u64,
    max_ns: u64,
    samples: Samples,
}

#[derive(Debug, Clone)]
enum Samples {
    /// Durations and how often each came.
    Few(Vec<(u64, u64)>),
    /// While they come.
    Counting(Counts),
    /// Once all have come.
    Many(Box<Histogram<u64>>),
}

impl Default for Samples {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// As it is written: the figures a reader wants, and the buckets that make it mergeable.
#[derive(Debug, Serialize, Deserialize)]
struct Form {
    count: u64,
    total_ns: u64,
    #[serde(default, skip_deserializing)]
    mean_ns: u64,
    min_ns: u64,
    #[serde(default, skip_deserializing)]
    p50_ns: u64,
    #[serde(default, skip_deserializing)]
    p90_ns: u64,
    #[serde(default, skip_deserializing)]
    p99_ns: u64,
    max_ns: u64,
    buckets: Vec<(u64, u64)>,
}

impl Distribution {
    /// Adds one duration.
    #[inline]
    pub fn record(&mut self, duration_ns: u64) {
        let min_ns = if self.count == 0 {
            u64::MAX
        } else {
            self.min_ns
        };
        self.min_ns = min_ns.min(duration_ns);
        self.count += 1;
        self.total_ns = self.total_ns.saturating_add(duration_ns);
        self.max_ns = self.max_ns.max(duration_ns);
        if let Samples::Counting(counts) = &mut self.samples {
            counts.add_one(duration_ns);
        } else {
            self.add_samples(duration_ns, 1);
        }
    }

    /// Durations of which only this is known; how they are spread is told by [`Distribution::spread`], then
    /// [`Distribution::settle`] makes up for what was not told.
    #[must_use]
    pub fn of_total(count: u64, total_ns: u64, max_ns: u64) -> Self {
        Self {
            count,
            total_ns,
            min_ns: max_ns,
            max_ns,
            samples: Samples::default(),
        }
    }

    /// So many of a total's durations were so long.
    pub fn spread(&mut self, duration_ns: u64, count: u64) {
        let duration_ns = duration_ns.min(self.max_ns);
        self.min_ns = self.min_ns.min(duration_ns);
        self.add_samples(duration_ns, count);
    }

    /// Durations of a total whose length was not told count as of mean length.
    pub fn settle(&mut self) {
        let told = self.with_histogram(Histogram::len);
        self.count = self.count.max(told);
        self.add_samples(self.mean_ns(), self.count - told);
        self.min_ns = self.min_ns.min(self.mean_ns());
    }

    #[inline(never)]
    fn add_samples(&mut self, value: u64, count: u64) {
        match &mut self.samples {
            Samples::Counting(counts) => counts.add(value, count),
            Samples::Many(histogram) => record(histogram, value, count),
            Samples::Few(few) if few.len() < FEW => few.push((value, count)),
            Samples::Few(few) => {
                let mut counts = Counts::default();
                for &(value, count) in few.iter().chain(&[(value, count)]) {
                    counts.add(value, count);
                }
                self.samples = Samples::Counting(counts);
            }
        }
    }

    /// As it is kept: no more durations are expected, and percentiles will be asked for.
    #[must_use]
    pub(crate) fn complete(mut self) -> Self {
        if let Samples::Counting(counts) = &self.samples {
            self.samples = Samples::Many(Box::new(histogram_of(counts.iter())));
        }
        self
    }

    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.total_ns
    }

    /// The shortest; 0 when there is none.
    #[must_use]
    pub fn min_ns(&self) -> u64 {
        self.min_ns
    }

    /// The longest; 0 when there is none.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Their mean, rounded down; 0 when there is none.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.total_ns.checked_div(self.count).unwrap_or(0)
    }

    /// The duration that the share `quantile` (0.0 to 1.0) of them does not exceed, to three digits; 0 when there is
    /// none.
    #[must_use]
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.with_histogram(|histogram| histogram.value_at_quantile(quantile))
            .clamp(self.min_ns, self.max_ns)
    }

    /// How many lie between the two durations, both included (to three digits).
    #[must_use]
    pub fn count_between(&self, low_ns: u64, high_ns: u64) -> u64 {
        self.with_histogram(|histogram| histogram.count_between(low_ns, high_ns))
    }

    /// The non-empty buckets: the lowest duration of the bucket and how many lie in it, shortest first.
    #[must_use]
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        self.with_histogram(|histogram| {
            histogram
                .iter_recorded()
                .map(|step| {
                    let low = histogram.lowest_equivalent(step.value_iterated_to());
                    (low, step.count_at_value())
                })
                .collect()
        })
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_ns = if self.count == 0 {
            other.min_ns
        } else {
            self.min_ns.min(other.min_ns)
        };
        self.count = self.count.saturating_add(other.count);
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        match &other.samples {
            Samples::Few(few) => few
                .iter()
                .for_each(|&(value, count)| self.add_samples(value, count)),
            Samples::Counting(counts) => counts
                .iter()
                .for_each(|(value, count)| self.add_samples(value, count)),
            Samples::Many(histogram) => {
                for step in histogram.iter_recorded() {
                    self.add_samples(step.value_iterated_to(), step.count_at_value());
                }
            }
        }
    }

    fn with_histogram<T>(&self, read: impl FnOnce(&Histogram<u64>) -> T) -> T {
        match &self.samples {
            Samples::Few(few) => read(&histogram_of(few.iter().copied())),
            Samples::Counting(counts) => read(&histogram_of(counts.iter())),
            Samples::Many(histogram) => read(histogram),
        }
    }
}

fn histogram_of(values: impl Iterator<Item = (u64, u64)>) -> Histogram<u64> {
    #[expect(
        clippy::expect_used,
        reason = "fails only for more than five digits, and three is what DIGITS says"
    )]
    let mut histogram = Histogram::new(DIGITS).expect("three digits are fine");
    histogram.auto(true);
    for (value, count) in values {
        record(&mut histogram, value, count);
    }
    histogram
}

fn record(histogram: &mut Histogram<u64>, value: u64, count: u64) {
    let recorded = histogram.record_n(value, count);
    debug_assert!(
        recorded.is_ok(),
        "a histogram that grows takes every value: {recorded:?}"
    );
}

impl From<Distribution> for Form {
    fn from(distribution: Distribution) -> Self {
        Self {
            count: distribution.count,
            total_ns: distribution.total_ns,
            mean_ns: distribution.mean_ns(),
            min_ns: distribution.min_ns,
            p50_ns: distribution.quantile_ns(0.5),
            p90_ns: distribution.quantile_ns(0.9),
            p99_ns: distribution.quantile_ns(0.99),
            max_ns: distribution.max_ns,
            buckets: distribution.buckets(),
        }
    }
}

impl TryFrom<Form> for Distribution {
    type Error = &'static str;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        let mut counted: u64 = 0;
        let mut distribution = Self {
            count: form.count,
            total_ns: form.total_ns,
            min_ns: form.min_ns,
            max_ns: form.max_ns,
            samples: Samples::default(),
        };
        for (value, count) in form.buckets {
            counted = counted.saturating_add(count);
            distribution.add_samples(value, count);
        }
        if counted != form.count {
            return Err("a distribution's buckets do not add up to its count");
        }
        let most_ns = form.max_ns.saturating_mul(form.count);
        let possible = if form.count == 0 {
            (form.total_ns, form.min_ns, form.max_ns) == (0, 0, 0)
        } else {
            form.min_ns <= form.max_ns && (form.max_ns..=most_ns).contains(&form.total_ns)
        };
        if !possible {
            return Err("a distribution's figures contradict each other");
        }
        Ok(distribution.complete())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Distribution {
        let mut distribution = Distribution::default();
        values
            .into_iter()
            .for_each(|value| distribution.record(value));
        distribution
    }

    #[test]
    fn figures_of_a_known_set() {
        let distribution = of(1..=1000);
        assert_eq!(distribution.count(), 1000);
        assert_eq!(distribution.total_ns(), 500_500);
        assert_eq!(distribution.mean_ns(), 500);
        assert_eq!(distribution.quantile_ns(0.5), 500);
        assert_eq!(distribution.quantile_ns(0.99), 990);
        assert_eq!((distribution.min_ns(), distribution.max_ns()), (1, 1000));
        assert_eq!(distribution.count_between(1, 10), 10);
    }

    #[test]
    fn percentiles_keep_three_digits() {
        let distribution = of((0..500).map(|step| 5_000_000 + step * 1_000));
        let median = distribution.quantile_ns(0.5);
        assert!(median.abs_diff(5_249_000) < 5_249, "{median}");
    }

    #[test]
    fn nothing_is_zero() {
        let nothing = Distribution::default();
        assert_eq!(nothing.quantile_ns(0.5), 0);
        assert_eq!(nothing.mean_ns(), 0);
    }

    #[test]
    fn merged_equals_all_at_once_and_survives_json() {
        let values = |seed: u64, count: u64| (0..count).map(move |n| n * n * seed % 9_000_000_007);
        for (left, right) in [(3, 4), (3, 500), (500, 3), (700, 900), (0, 5)] {
            let mut merged = of(values(7, left));
            merged.merge(&of(values(11, right)));
            let whole = of(values(7, left).chain(values(11, right)));
            let json = serde_json::to_string(&merged).unwrap();
            assert_eq!(json, serde_json::to_string(&whole).unwrap());
            let back: Distribution = serde_json::from_str(&json).unwrap();
            assert_eq!(json, serde_json::to_string(&back).unwrap());
        }
    }

    #[test]
    fn refuses_what_cannot_be() {
        let lie = r#"{"count":3,"total_ns":3,"min_ns":1,"max_ns":1,"buckets":[[1,2]]}"#;
        assert!(serde_json::from_str::<Distribution>(lie).is_err());
        let lie = r#"{"count":1,"total_ns":3,"min_ns":4,"max_ns":3,"buckets":[[3,1]]}"#;
        assert!(serde_json::from_str::<Distribution>(lie).is_err());
    }
}
