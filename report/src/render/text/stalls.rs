//! What makes a free-threaded process stall: who stopped its world, who waited for which mutex.

use std::io::{self, Write};

use super::page::{Page, Style, left, right};
use super::verdict;
use crate::distribution::Distribution;
use crate::figures::share;
use crate::format::{count, duration, duration_cell, percent_cell, plain};
use crate::stall_report::{StallReport, label};
use crate::stalls::{MutexWaits, Stalls, Stops, Who};
use crate::summary::Session;

/// Lines of each table.
const LINES: usize = 12;

/// Columns of the thread's name, with two spaces before it.
const NAME: usize = 22;

/// Writes the tables of one process.
pub(super) fn about(
    page: &mut Page<impl Write>,
    session: &Session,
    answer: &StallReport,
    is_only_answer: bool,
) -> io::Result<()> {
    let stalls = &session.stalls[answer.process];
    if !is_only_answer {
        page.blank()?;
        let title = format!("Stalls of process {}", stalls.pid);
        page.wrapped("", &title, Style::Strong)?;
        verdict(page, answer.verdict.kind, &answer.verdict.line)?;
    }
    stops(page, session, stalls)?;
    mutexes(page, session, stalls)
}

fn stops(page: &mut Page<impl Write>, session: &Session, stalls: &Stalls) -> io::Result<()> {
    let mut rows: Vec<&Stops> = stalls.stops.iter().collect();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|row| (std::cmp::Reverse(row.stopped.total_ns()), row.who.clone()));
    page.title(
        "Stopped the world",
        "by the thread that asked; how long the others were stopped",
    )?;
    let head = left("  thread", NAME) + HEAD + "  until stopped: mean     max";
    page.line(&[(Style::Faint, &head)])?;
    for row in rows.iter().take(LINES) {
        let until = right(&duration_cell(row.waits.mean_ns()), 21)
            + &right(&duration_cell(row.waits.max_ns()), 8);
        line(page, session, &row.who, &row.stopped, &until, Style::Hold)?;
    }
    more(page, rows.len())?;
    for row in rows.iter().filter(|row| row.open_ns > 0) {
        let open = format!(
            "{} has wanted the world to stop, or has stopped it, for {} when tracing ended",
            label(&row.who),
            duration(row.open_ns)
        );
        page.wrapped("  ", &open, Style::Bad)?;
    }
    Ok(())
}

fn mutexes(page: &mut Page<impl Write>, session: &Session, stalls: &Stalls) -> io::Result<()> {
    for (threading, title, note) in [
        (
            false,
            "Waited for mutexes",
            "of objects and of the interpreter: only waits in which the thread slept",
        ),
        (
            true,
            "Waited for locks of threading",
            "not part of the verdict: a thread may be there to wait",
        ),
    ] {
        let mut rows: Vec<&MutexWaits> = stalls
            .mutexes
            .iter()
            .filter(|row| row.threading == threading)
            .collect();
        if rows.is_empty() {
            continue;
        }
        rows.sort_by_key(|row| {
            let who = row.who.clone();
            (std::cmp::Reverse(row.waits.total_ns()), who, row.address)
        });
        page.title(title, note)?;
        let head = left("  thread", NAME) + HEAD + "   mutex";
        page.line(&[(Style::Faint, &head)])?;
        for row in rows.iter().take(LINES) {
            let address = match row.address {
                0 => "   others".to_owned(),
                address => format!("   {address:x}"),
            };
            line(page, session, &row.who, &row.waits, &address, Style::Wait)?;
        }
        more(page, rows.len())?;
    }
    Ok(())
}

/// The columns that both tables have.
const HEAD: &str = "of time   count   total    mean     p50     p99     max";

fn line(
    page: &mut Page<impl Write>,
    session: &Session,
    who: &Who,
    durations: &Distribution,
    rest: &str,
    style: Style,
) -> io::Result<()> {
    let name = match who.name.as_deref() {
        Some(name) if !name.is_empty() => plain(name),
        _ => format!("tid {}", who.tid),
    };
    let of_time = share(durations.total_ns(), session.wall_ns());
    let mut cells = right(&count(durations.count()), 8);
    for duration_ns in [
        durations.total_ns(),
        durations.mean_ns(),
        durations.quantile_ns(0.5),
        durations.quantile_ns(0.99),
        durations.max_ns(),
    ] {
        cells += &right(&duration_cell(duration_ns), 8);
    }
    page.line(&[
        (Style::Plain, &left(&format!("  {name}"), NAME)),
        (style, &right(&percent_cell(of_time), 7)),
        (Style::Plain, &cells),
        (Style::Plain, rest),
    ])
}

fn more(page: &mut Page<impl Write>, number: usize) -> io::Result<()> {
    if number > LINES {
        let more = format!("  and {} further", count((number - LINES) as u64));
        page.line(&[(Style::Faint, &more)])?;
    }
    Ok(())
}
