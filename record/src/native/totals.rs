//! The totals that the program kept, read out of its maps.

use std::collections::HashMap;

use libbpf_rs::{MapCore as _, MapFlags};

use crate::native::NativeError;
use crate::native::layout::{self, Counters, Lane, LaneKey};
use crate::native::names::one_line;
use crate::native::tables::Tables;

/// Entries asked of the kernel at a time.
const BATCH: u32 = 4096;
/// Each power of two is divided into 2 to the power of this many buckets, as in gil.bpf.c: a bucket is less than 1 % wide.
const BUCKET_BITS: u32 = 7;

/// A line of a trace stays well below what a reader takes.
const BUCKETS_A_LINE: usize = 1000;

/// What all threads did.
#[derive(Clone, Debug, Default)]
pub(super) struct Everything {
    pub(super) rows: Vec<Row>,
    pub(super) counters: Counters,
}

impl Everything {
    /// How often a marker was hit.
    pub(super) fn hits(&self) -> u64 {
        let counted = self
            .rows
            .iter()
            .map(|row| row.lane.hits + row.lane.requests);
        counted.sum::<u64>() + self.counters.hits
    }
}

impl Everything {
    /// As lines of a trace, which is told of what is missing, too.
    pub(super) fn lines(&self, time_ns: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for row in self.rows.iter().filter(|row| row.lane.hold.count > 0) {
            for (word, totals, histogram, forced) in [
                ("hold", &row.lane.hold, &row.holds, row.lane.forced),
                ("wait", &row.lane.wait, &row.waits, 0),
            ] {
                let whose = format!("{} {:x} {word}", row.key.tid, row.key.gil);
                lines.push(format!(
                    "{time_ns} total {whose} {} {} {} {forced}\n",
                    totals.count, totals.sum_ns, totals.max_ns
                ));
                for buckets in histogram.0.chunks(BUCKETS_A_LINE) {
                    let buckets: Vec<String> = buckets
                        .iter()
                        .map(|(bucket, count)| {
                            format!("{}:{count}", last_of(*bucket).min(totals.max_ns))
                        })
                        .collect();
                    lines.push(format!("{time_ns} spread {whose} {}\n", buckets.join(" ")));
                }
            }
        }
        for (lost, cause) in [
            (self.counters.lanes_full, "the table of threads was full"),
            (self.counters.buckets_full, "the histograms were full"),
        ] {
            if lost > 0 {
                lines.push(format!("{time_ns} lost {lost} {cause}\n"));
            }
        }
        lines
    }
}

/// What one thread did with one GIL.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: LaneKey,
    pub(super) lane: Lane,
    pub(super) holds: Histogram,
    pub(super) waits: Histogram,
}

/// How many durations were how long, by bucket, in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram(Vec<(u32, u64)>);

impl Histogram {
    /// The duration that the share `quantile` (0.0 to 1.0) does not exceed: the upper end of its bucket, which is less than 1 %
    /// too long.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among fewer than 2^52 durations"
    )]
    pub(super) fn quantile_ns(&self, quantile: f64) -> u64 {
        let count: u64 = self.0.iter().map(|(_, count)| count).sum();
        let rank = ((count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, count) in &self.0 {
            seen += count;
            if seen >= rank {
                return last_of(bucket);
            }
        }
        0
    }
}

/// The longest duration that falls into a bucket.
fn last_of(bucket: u32) -> u64 {
    let octave = bucket >> BUCKET_BITS;
    if octave < 2 {
        return u64::from(bucket);
    }
    let shift = octave - 1;
    let first = u64::from(bucket - (shift << BUCKET_BITS)) << shift;
    first + ((1 << shift) - 1)
}

/// Reads everything; everything is to be detached, so that nothing moves meanwhile.
pub(super) fn read(tables: &Tables) -> Result<Everything, NativeError> {
    let mut histograms = histograms(tables)?;
    let mut rows = Vec::new();
    for (key, lane) in lanes(tables)? {
        let mut histogram = |which| {
            let mut buckets = histograms.remove(&(lane.number, which)).unwrap_or_default();
            buckets.sort_unstable();
            Histogram(buckets)
        };
        rows.push(Row {
            key,
            holds: histogram(HOLDS),
            waits: histogram(WAITS),
            lane,
        });
    }
    Ok(Everything {
        rows,
        counters: tables.counters()?.read(),
    })
}

/// What the program knows of each thread and GIL.
pub(super) fn lanes(tables: &Tables) -> Result<Vec<(LaneKey, Lane)>, NativeError> {
    let names = names(tables)?;
    let near = entries(&tables.near_lanes)?.into_iter();
    let near = near.filter_map(|(_, value)| layout::near_lane(&value));
    let others = entries(&tables.lanes)?.into_iter();
    let others = others.map(|(key, value)| (LaneKey::read(&key), Lane::read(&value)));
    Ok(near
        .chain(others)
        .map(|(key, mut lane)| {
            let told = names.get(&(key.pid, lane.ident));
            if let Some((_, name)) = told.filter(|(native_id, _)| *native_id == lane.native_id) {
                lane.name.clone_from(name);
            }
            (key, lane)
        })
        .collect())
}

/// Native ids and names of threads, by process and ident.
type Names = HashMap<(u32, u64), (u64, String)>;

/// What threads are called, as far as they have told.
fn names(tables: &Tables) -> Result<Names, NativeError> {
    let entries = entries(&tables.names)?.into_iter();
    Ok(entries
        .map(|(key, value)| {
            let (whose, native_id, name) = layout::name(&key, &value);
            (whose, (native_id, one_line(&name)))
        })
        .collect())
}

/// How often threads were asked to drop the GIL, by process, GIL and ident.
pub(super) fn asked(tables: &Tables) -> Result<HashMap<(u32, u64, u64), u64>, NativeError> {
    let entries = entries(&tables.asked)?.into_iter();
    Ok(entries
        .filter_map(|(key, count)| {
            let count = u64::from_ne_bytes(count.try_into().ok()?);
            Some((layout::asked_key(&key), count))
        })
        .collect())
}

/// Which of a lane's histograms, as in gil.bpf.c.
const HOLDS: u64 = 1;
const WAITS: u64 = 2;

/// Buckets by lane and by which of its histograms they belong to.
type Histograms = HashMap<(u64, u64), Vec<(u32, u64)>>;

fn histograms(tables: &Tables) -> Result<Histograms, NativeError> {
    let mut histograms = Histograms::new();
    let near = entries(&tables.near_buckets)?.into_iter();
    let near = near.filter_map(|(_, both)| layout::near_bucket(&both));
    let others = entries(&tables.buckets)?.into_iter();
    let others = others.filter_map(|(key, count)| layout::bucket(&key, &count));
    for (key, count) in near.chain(others) {
        let bucket = u32::try_from(key & 0xffff).unwrap_or(u32::MAX);
        let which = key >> 16 & 0xffff;
        histograms
            .entry((key >> 32, which))
            .or_default()
            .push((bucket, count));
    }
    Ok(histograms)
}

type Entry = (Vec<u8>, Vec<u8>);

fn entries(map: &libbpf_rs::MapHandle) -> Result<Vec<Entry>, NativeError> {
    let entries = map
        .lookup_batch(BATCH, MapFlags::ANY, MapFlags::ANY)
        .map_err(|error| NativeError::Libbpf {
            message: format!("cannot read the totals: {error}"),
        })?;
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_where_the_next_begins() {
        assert_eq!(last_of(0), 0);
        assert_eq!(last_of(255), 255);
        // 256 and 257, then 258 and 259.
        assert_eq!(last_of(256), 257);
        assert_eq!(last_of(257), 259);
        assert_eq!(last_of(383), 511);
        assert_eq!(last_of(384), 515);
        for bucket in 300..6000 {
            let width = last_of(bucket) - last_of(bucket - 1);
            assert!(width * 100 <= last_of(bucket), "bucket {bucket}");
        }
    }

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let histogram = Histogram(vec![(10, 5), (100, 4), (384, 1)]);
        assert_eq!(histogram.quantile_ns(0.5), 10);
        assert_eq!(histogram.quantile_ns(0.51), 100);
        assert_eq!(histogram.quantile_ns(0.99), 515);
        assert_eq!(Histogram::default().quantile_ns(0.5), 0);
    }
}
