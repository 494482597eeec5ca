//! The totals as a text for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::native::layout::Totals;
use crate::native::open::{Open, OpenCycle};
use crate::native::totals::{Everything, Histogram, Row};

/// Columns of a thread's name: as many as the longest needs, within these.
const NAME: std::ops::RangeInclusive<usize> = 16..=32;
/// More threads than this on one GIL are folded into one line.
const MOST_ROWS: usize = 40;

/// Writes out what the threads did from `start_ns` to `end_ns`, and what they were in the middle of then. In a free-threaded process nobody
/// may need the GIL.
pub(super) fn render(
    everything: &Everything,
    open: &[OpenCycle],
    (start_ns, end_ns): (u64, u64),
    free_threaded: bool,
) -> String {
    let duration_ns = end_ns - start_ns;
    let mut text = String::new();
    let mut gils: BTreeMap<(u32, u64), Vec<&Row>> = BTreeMap::new();
    for row in &everything.rows {
        if row.lane.hold.count > 0 {
            gils.entry((row.key.pid, row.key.gil))
                .or_default()
                .push(row);
        }
    }
    if gils.is_empty() && !free_threaded {
        text.push_str("No thread took and dropped the GIL meanwhile: all of them slept, or one kept it throughout.\n");
    }
    for ((pid, gil), rows) in &mut gils {
        rows.sort_by_key(|row| std::cmp::Reverse(row.lane.hold.sum_ns + row.lane.wait.sum_ns));
        // Writing to a String cannot fail.
        let _ = render_gil(&mut text, (*pid, *gil), rows, duration_ns);
    }
    for cycle in open {
        let name = everything
            .rows
            .iter()
            .find(|row| row.key.tid == cycle.tid)
            .map_or("", |row| &row.lane.name);
        let (what, since_ns) = match cycle.open {
            Open::Hold { acquired_ns, .. } => ("held", acquired_ns),
            Open::Wait { since_ns } => ("waited for", since_ns),
        };
        let time = duration(end_ns.saturating_sub(since_ns));
        let _ = writeln!(
            text,
            "Still going on at the end, and not in the figures: {name} (tid {}) had {what} the GIL {:x} for {time}.",
            cycle.tid, cycle.gil
        );
    }
    let counters = everything.counters;
    for (lost, what) in [
        (
            counters.lanes_full,
            "cycles of threads beyond the first 65536 are missing",
        ),
        (
            counters.buckets_full,
            "durations are in the totals, but missing in the percentiles: the histograms were full",
        ),
    ] {
        if lost > 0 {
            let _ = writeln!(text, "LOST: {lost} {what}.");
        }
    }
    text
}

fn render_gil(
    text: &mut String,
    (pid, gil): (u32, u64),
    rows: &[&Row],
    duration_ns: u64,
) -> std::fmt::Result {
    let sum = |part: fn(&Row) -> u64| -> u64 { rows.iter().map(|row| part(row)).sum() };
    let held = sum(|row| row.lane.hold.sum_ns);
    let waited = sum(|row| row.lane.wait.sum_ns);
    let cycles = sum(|row| row.lane.hold.count);
    let forced = sum(|row| row.lane.forced);
    writeln!(
        text,
        "Process {pid}, GIL {gil:x}, {} s: held {:.1} % of the time; on average {:.2} threads waited for it",
        seconds(duration_ns),
        ratio(held, duration_ns) * 100.0,
        ratio(waited, duration_ns),
    )?;
    writeln!(
        text,
        "{cycles} finished holds ({:.0} a second), {:.1} % of them ended because another thread asked\n",
        ratio(cycles, duration_ns) * 1e9,
        ratio(forced, cycles) * 100.0,
    )?;
    let longest = rows
        .iter()
        .take(MOST_ROWS)
        .map(|row| row.lane.name.chars().count());
    let width = longest.max().unwrap_or(0).clamp(*NAME.start(), *NAME.end());
    writeln!(
        text,
        "{:<width$} {:>8}  {:^47}  {:^47}\n{:<width$} {:>8}  {}  {}",
        "",
        "",
        "holds",
        "waits",
        "thread",
        "tid",
        heads(),
        heads()
    )?;
    for row in rows.iter().take(MOST_ROWS) {
        writeln!(
            text,
            "{:<width$} {:>8}  {}  {}",
            cut(&row.lane.name, width),
            row.key.tid,
            figures(&row.lane.hold, Some(&row.holds)),
            figures(&row.lane.wait, Some(&row.waits)),
        )?;
    }
    if let Some(rest @ [_, ..]) = rows.get(MOST_ROWS..) {
        let add = |part: fn(&Row) -> &Totals| {
            rest.iter()
                .map(|row| part(row))
                .fold(Totals::default(), |sum, totals| Totals {
                    count: sum.count + totals.count,
                    sum_ns: sum.sum_ns + totals.sum_ns,
                    max_ns: sum.max_ns.max(totals.max_ns),
                })
        };
        writeln!(
            text,
            "{:<width$} {:>8}  {}  {}",
            format!("{} more", rest.len()),
            "",
            figures(&add(|row| &row.lane.hold), None),
            figures(&add(|row| &row.lane.wait), None),
        )?;
    }
    text.push('\n');
    Ok(())
}

/// A name in so many columns. Control characters would act upon the terminal.
fn cut(name: &str, width: usize) -> String {
    let plain = name.chars().map(|letter| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    });
    if name.chars().count() <= width {
        return plain.collect();
    }
    plain.take(width - 1).chain(['…']).collect()
}

fn heads() -> String {
    format!(
        "{:>9} {:>9} {:>8} {:>8} {:>9}",
        "count", "total", "p50", "p99", "max"
    )
}

fn figures(totals: &Totals, histogram: Option<&Histogram>) -> String {
    if totals.count == 0 {
        return format!("{:>9} {:>9} {:>8} {:>8} {:>9}", 0, "-", "-", "-", "-");
    }
    let quantile = |quantile| {
        histogram.map_or_else(String::new, |histogram| {
            duration(histogram.quantile_ns(quantile).min(totals.max_ns))
        })
    };
    format!(
        "{:>9} {:>9} {:>8} {:>8} {:>9}",
        totals.count,
        duration(totals.sum_ns),
        quantile(0.5),
        quantile(0.99),
        duration(totals.max_ns)
    )
}

/// Three digits and a unit.
fn duration(nanoseconds: u64) -> String {
    for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
        if nanoseconds >= size {
            let value = ratio(nanoseconds, size);
            let decimals = if value < 10.0 {
                2
            } else {
                usize::from(value < 100.0)
            };
            return format!("{value:.decimals$} {unit}");
        }
    }
    format!("{nanoseconds} ns")
}

fn seconds(nanoseconds: u64) -> String {
    format!("{:.1}", ratio(nanoseconds, 1_000_000_000))
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        assert_eq!(duration(7), "7 ns");
        assert_eq!(duration(1_234), "1.23 us");
        assert_eq!(duration(12_345_678), "12.3 ms");
        assert_eq!(duration(123_456_789_012), "123 s");
    }

    #[test]
    fn nothing_seen_is_said() {
        assert!(render(&Everything::default(), &[], (0, 1), false).starts_with("No thread took"));
    }
}
