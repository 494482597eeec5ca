//! Pictures made of letters: utilisation over time, and histograms.

use std::io::{self, Write};

use super::page::{Page, Style, left, right};
use crate::distribution::Distribution;
use crate::figures::share;
use crate::format::{count, duration, to_float};
use crate::summary::{Gil, Session};

/// Columns of the picture over time.
const COLUMNS: u64 = 80;

/// Columns of a histogram's longest bar.
const BAR: usize = 24;

/// From nothing to all.
const STEPS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// Holds and waits over time.
pub(super) fn over_time(
    page: &mut Page<impl Write>,
    session: &Session,
    gil: &Gil,
) -> io::Result<()> {
    let series = &gil.series;
    let wall_ns = session.wall_ns();
    if wall_ns == 0 || series.hold_ns.is_empty() {
        return Ok(());
    }
    let columns = COLUMNS.min(wall_ns.div_ceil(series.width_ns()));
    let width_ns = wall_ns.div_ceil(columns);
    let spread = |values: &[u64]| {
        let mut cells = vec![0_u64; usize::try_from(columns).unwrap_or(0)];
        for (bucket, &value_ns) in values.iter().enumerate() {
            let middle_ns = series.start_ns(bucket) + series.width_ns() / 2;
            let column = middle_ns.saturating_sub(session.start_ns) / width_ns;
            if let Some(cell) = usize::try_from(column)
                .ok()
                .and_then(|at| cells.get_mut(at))
            {
                *cell = cell.saturating_add(value_ns);
            }
        }
        cells
    };
    let holds = spread(&series.hold_ns);
    let waits = spread(&series.wait_ns);
    let full_hold = width_ns.max(holds.iter().copied().max().unwrap_or(0));
    let most_waiting = waits.iter().copied().max().unwrap_or(0);
    let picture = |cells: &[u64], full: u64| -> String {
        cells.iter().map(|&cell| STEPS[step(cell, full)]).collect()
    };
    page.blank()?;
    page.line(&[
        (Style::Plain, "  held    "),
        (Style::Hold, &picture(&holds, full_hold)),
        (Style::Faint, "▕ 100 %"),
    ])?;
    // At least one thread in line fills the column, so that next to nothing looks like it.
    let full_wait = width_ns.max(most_waiting);
    let scale = format!("▕ {:.1}", share(full_wait, width_ns));
    page.line(&[
        (Style::Plain, "  waiting "),
        (Style::Wait, &picture(&waits, full_wait)),
        (Style::Faint, &scale),
    ])?;
    let end = duration(wall_ns);
    let ruler = format!(
        "          0 s{}",
        right(
            &end,
            usize::try_from(columns).unwrap_or(0).saturating_sub(3)
        )
    );
    page.line(&[(Style::Faint, &ruler)])
}

/// The eighth that stands for a part of a whole; something is never nothing.
fn step(part: u64, whole: u64) -> usize {
    if part == 0 || whole == 0 {
        return 0;
    }
    let eighths = u128::from(part) * 8 / u128::from(whole);
    usize::try_from(eighths).unwrap_or(8).clamp(1, 8)
}

/// How long holds and waits of all threads are, side by side; a bar is the time spent in holds or waits of that length.
pub(super) fn histograms(page: &mut Page<impl Write>, gil: &Gil) -> io::Result<()> {
    let mut holds = Distribution::default();
    let mut waits = Distribution::default();
    for thread in &gil.threads {
        holds.merge(&thread.holds);
        waits.merge(&thread.waits);
    }
    let (holds, waits) = (by_length(&holds), by_length(&waits));
    let used = |bins: &[(u64, u64)]| bins.iter().rposition(|bin| bin.0 > 0);
    let Some(last) = used(&holds).max(used(&waits)) else {
        return Ok(());
    };
    let first = |bins: &[(u64, u64)]| bins.iter().position(|bin| bin.0 > 0).unwrap_or(last);
    let first = first(&holds).min(first(&waits));
    page.title(
        "How long",
        "count; the bar is the share of all hold or wait time",
    )?;
    let head = left("       up to", 14) + &right("holds", 12) + &right("waits", 12 + BAR + 3);
    page.line(&[(Style::Faint, &head)])?;
    let longest = |bins: &[(u64, u64)]| bins.iter().map(|bin| bin.1).max().unwrap_or(0);
    let (most_hold, most_wait) = (longest(&holds), longest(&waits));
    for bin in first..=last {
        let label = right(&duration(LENGTHS_NS[bin]), 12) + "  ";
        let cell = |(number, _): (u64, u64)| {
            right(
                &if number == 0 {
                    String::new()
                } else {
                    count(number)
                },
                12,
            ) + " "
        };
        page.line(&[
            (Style::Faint, &label),
            (Style::Plain, &cell(holds[bin])),
            (Style::Hold, &left(&bar(holds[bin].1, most_hold), BAR)),
            (Style::Plain, "  "),
            (Style::Plain, &cell(waits[bin])),
            (Style::Wait, &bar(waits[bin].1, most_wait)),
        ])?;
    }
    Ok(())
}

/// The upper edges of the bins: 1, 2, 4, 8 of each power of ten around the switch interval of 5 ms, coarser elsewhere.
const LENGTHS_NS: [u64; 17] = [
    1_000,
    10_000,
    100_000,
    500_000,
    1_000_000,
    2_000_000,
    4_000_000,
    8_000_000,
    16_000_000,
    32_000_000,
    64_000_000,
    128_000_000,
    256_000_000,
    512_000_000,
    1_000_000_000,
    10_000_000_000,
    u64::MAX >> 4,
];

/// For each bin: how many, and their time together.
fn by_length(distribution: &Distribution) -> Vec<(u64, u64)> {
    let mut bins = vec![(0_u64, 0_u64); LENGTHS_NS.len()];
    for (value_ns, number) in distribution.buckets() {
        let bin = LENGTHS_NS.partition_point(|&edge_ns| edge_ns < value_ns);
        let bin = &mut bins[bin.min(LENGTHS_NS.len() - 1)];
        bin.0 = bin.0.saturating_add(number);
        bin.1 = bin.1.saturating_add(value_ns.saturating_mul(number));
    }
    bins
}

/// A bar in eighths of a column.
fn bar(part: u64, whole: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if part == 0 || whole == 0 {
        return String::new();
    }
    let columns = to_float(part) / to_float(whole) * to_float(BAR as u64) * 8.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and eight times the width of a bar"
    )]
    let eighths = (columns.round() as usize).max(1);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}
