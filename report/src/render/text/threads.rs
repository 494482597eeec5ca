//! The tables of threads: their holds, their waits, and how the GIL went from one to the other.

use std::collections::HashMap;
use std::io::{self, Write};

use super::page::{Page, Style, left, right};
use super::{Sort, TextOptions, ThreadChoice};
use crate::distribution::Distribution;
use crate::figures::{Figures, share};
use crate::format::{count, duration_cell, percent_cell, thread_name};
use crate::summary::{Gil, Thread};

/// Columns of the thread's name, with two spaces before it.
const NAME: usize = 22;

/// A line of a table: one thread, or several folded into one.
struct Row {
    name: String,
    thread: Thread,
    made_wait_ns: u64,
}

/// Writes the tables.
pub(super) fn tables(
    page: &mut Page<impl Write>,
    gil: &Gil,
    figures: &Figures,
    options: &TextOptions,
) -> io::Result<()> {
    let rows = rows(gil, options);
    let total = gil.threads.len();
    let note = if rows.len() < total {
        format!("{total} threads; --threads all shows each of them")
    } else {
        String::new()
    };
    let of = Whole {
        wall_ns: figures.wall_ns,
        all_ns: figures.hold_ns,
        style: Style::Hold,
    };
    durations(page, ("Holds", &note), &of, &rows, |thread| &thread.holds)?;
    let of = Whole {
        wall_ns: figures.wall_ns,
        all_ns: figures.wait_ns,
        style: Style::Wait,
    };
    durations(page, ("Waits", ""), &of, &rows, |thread| &thread.waits)?;
    hand_overs(page, &rows)?;
    open(page, gil)
}

/// What shares are taken of.
struct Whole {
    wall_ns: u64,
    all_ns: u64,
    style: Style,
}

fn durations(
    page: &mut Page<impl Write>,
    (title, note): (&str, &str),
    of: &Whole,
    rows: &[Row],
    pick: fn(&Thread) -> &Distribution,
) -> io::Result<()> {
    page.title(title, note)?;
    let mut head = left("  thread", NAME) + "of time of all   count";
    for title in ["total", "mean", "min", "p50", "p90", "p99", "max"] {
        head += &right(title, 8);
    }
    page.line(&[(Style::Faint, &head)])?;
    for row in rows {
        let durations = pick(&row.thread);
        let wall = right(&percent_cell(share(durations.total_ns(), of.wall_ns)), 7);
        let all = share(durations.total_ns(), of.all_ns);
        let mut cells = right(&percent_cell(all), 7) + &right(&count_cell(durations.count()), 8);
        if durations.count() > 0 {
            for duration_ns in [
                durations.total_ns(),
                durations.mean_ns(),
                durations.min_ns(),
                durations.quantile_ns(0.5),
                durations.quantile_ns(0.9),
                durations.quantile_ns(0.99),
                durations.max_ns(),
            ] {
                cells += &right(&duration_cell(duration_ns), 8);
            }
        }
        page.line(&[
            (Style::Plain, &row.name),
            (of.style, &wall),
            (Style::Plain, &cells),
        ])?;
    }
    Ok(())
}

fn hand_overs(page: &mut Page<impl Write>, rows: &[Row]) -> io::Result<()> {
    page.title("Hand-overs", "")?;
    let head = left("  thread", NAME)
        + "  made others wait  voluntary drops  forced drops  asked to drop  4–8 ms waits";
    page.line(&[(Style::Faint, &head)])?;
    for row in rows {
        let mut cells = right(&duration_cell(row.made_wait_ns), 18);
        for (number, width) in [
            (row.thread.voluntary_drops, 17),
            (row.thread.forced_drops, 14),
            (row.thread.requests_received, 15),
            (row.thread.switch_interval_waits, 14),
        ] {
            cells += &right(&count_cell(number), width);
        }
        page.line(&[(Style::Plain, &row.name), (Style::Plain, &cells)])?;
    }
    Ok(())
}

/// Tells what had not ended when tracing did.
fn open(page: &mut Page<impl Write>, gil: &Gil) -> io::Result<()> {
    let open: Vec<_> = gil
        .threads
        .iter()
        .flat_map(|thread| {
            let name = thread_name(thread);
            let hold = (thread.open_hold_ns > 0)
                .then(|| format!("{name} held it for {}", duration_cell(thread.open_hold_ns)));
            let wait = (thread.open_wait_ns > 0)
                .then(|| format!("{name} waited for {}", duration_cell(thread.open_wait_ns)));
            [hold, wait]
        })
        .flatten()
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let shown = open.len().min(6);
    let mut line = open[..shown].join(", ");
    if shown < open.len() {
        line.extend([format!(" and {} more", open.len() - shown)]);
    }
    page.blank()?;
    page.wrapped("  still open at the end: ", &line, Style::Faint)
}

fn count_cell(number: u64) -> String {
    if number < 1_000_000 {
        count(number)
    } else {
        format!("{:.2} M", crate::format::to_float(number) / 1e6)
    }
}

fn rows(gil: &Gil, options: &TextOptions) -> Vec<Row> {
    let made_wait = gil.made_wait();
    let mut names: HashMap<String, usize> = HashMap::new();
    for thread in &gil.threads {
        *names.entry(thread_name(thread)).or_default() += 1;
    }
    let mut rows: Vec<_> = gil
        .threads
        .iter()
        .zip(&made_wait)
        .map(|(thread, &made_wait_ns)| {
            let mut name = thread_name(thread);
            let tid = if names[&name] > 1 {
                format!(" {}", thread.tid)
            } else {
                String::new()
            };
            name = left(&name, NAME - 2 - tid.len());
            Row {
                name: format!("  {}", left(&(name.trim_end().to_owned() + &tid), NAME - 2)),
                thread: thread.clone(),
                made_wait_ns,
            }
        })
        .collect();
    sort(&mut rows, options.sort);
    let shown = match options.threads {
        ThreadChoice::All => rows.len(),
        // One more is shown rather than folded into a line of its own.
        ThreadChoice::Top(top) if rows.len() <= top.saturating_add(1) => rows.len(),
        ThreadChoice::Top(top) => top,
    };
    let folded = rows.split_off(shown);
    if !folded.is_empty() {
        let name = format!("  ({} further)", folded.len());
        let mut rest = Row {
            name: left(&name, NAME),
            thread: Thread::default(),
            made_wait_ns: 0,
        };
        for row in &folded {
            rest.thread.merge(&row.thread);
            rest.made_wait_ns = rest.made_wait_ns.saturating_add(row.made_wait_ns);
        }
        rows.push(rest);
    }
    rows
}

fn sort(rows: &mut [Row], sort: Sort) {
    let hold = |row: &Row| row.thread.holds.total_ns();
    let wait = |row: &Row| row.thread.waits.total_ns();
    match sort {
        Sort::Weight => rows.sort_by_key(|row| {
            let weight = hold(row)
                .saturating_add(wait(row))
                .saturating_add(row.made_wait_ns);
            (std::cmp::Reverse(weight), row.thread.tid)
        }),
        Sort::Hold => rows.sort_by_key(|row| (std::cmp::Reverse(hold(row)), row.thread.tid)),
        Sort::Wait => rows.sort_by_key(|row| (std::cmp::Reverse(wait(row)), row.thread.tid)),
        Sort::Blame => {
            rows.sort_by_key(|row| (std::cmp::Reverse(row.made_wait_ns), row.thread.tid));
        }
        Sort::Name => rows.sort_by(|left, right| {
            (&left.name, left.thread.tid).cmp(&(&right.name, right.thread.tid))
        }),
        Sort::Tid => rows.sort_by_key(|row| row.thread.tid),
    }
}
