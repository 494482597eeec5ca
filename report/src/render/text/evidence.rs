//! What the verdict rests on: who waited for whom, the longest holds and waits, patterns, and what to do.

use std::io::{self, Write};

use super::page::{Page, Style, WIDTH, left, right};
use crate::advice::Advice;
use crate::figures::{Figures, share};
use crate::format::{
    count, duration, duration_cell, percent, percent_cell, plain, ratio, thread_name,
};
use crate::functions::Place;
use crate::patterns::Pattern;
use crate::summary::{Gil, Longest, Session, sum};

/// Lines of each list.
pub(super) const LINES: usize = 6;

/// Columns of a thread's name.
const NAME: usize = 24;

/// The pairs that cost most.
pub(super) fn blame(page: &mut Page<impl Write>, gil: &Gil, figures: &Figures) -> io::Result<()> {
    let mut blame: Vec<_> = gil.blame.iter().collect();
    if blame.is_empty() {
        return Ok(());
    }
    blame.sort_by_key(|pair| (std::cmp::Reverse(pair.wait_ns), pair.waiter, pair.holder));
    let nobody_ns = sum(gil.threads.iter().map(|thread| thread.wait_on_nobody_ns));
    let unattributed_ns = sum(gil.threads.iter().map(|thread| thread.wait_unattributed_ns));
    let mut note = format!(
        "of {} of waits, {} with nobody seen to hold the GIL",
        duration(figures.wait_ns),
        percent(share(nobody_ns, figures.wait_ns))
    );
    if unattributed_ns > 0 {
        let unattributed = percent(share(unattributed_ns, figures.wait_ns));
        note.extend([format!(", {unattributed} not attributed")]);
    }
    page.title("Who waited for whom", &note)?;
    for pair in blame.iter().take(LINES) {
        let names = format!(
            "  {} waited for {}",
            left(&thread_name(&gil.threads[pair.waiter]), NAME),
            left(&thread_name(&gil.threads[pair.holder]), NAME)
        );
        let of_all = right(&percent_cell(share(pair.wait_ns, figures.wait_ns)), 9);
        page.line(&[
            (Style::Plain, &names),
            (Style::Wait, &right(&duration_cell(pair.wait_ns), 9)),
            (Style::Plain, &of_all),
        ])?;
    }
    more(page, blame.len())
}

pub(super) fn more(page: &mut Page<impl Write>, number: usize) -> io::Result<()> {
    if number > LINES {
        let more = format!("  and {} further", count((number - LINES) as u64));
        page.line(&[(Style::Faint, &more)])?;
    }
    Ok(())
}

/// The longest holds and waits.
pub(super) fn longest(page: &mut Page<impl Write>, session: &Session, gil: &Gil) -> io::Result<()> {
    for (title, list, style, during) in [
        (
            "Longest holds",
            &gil.longest_holds,
            Style::Hold,
            "waiting during it",
        ),
        (
            "Longest waits",
            &gil.longest_waits,
            Style::Wait,
            "held meanwhile by",
        ),
    ] {
        if list.is_empty() {
            continue;
        }
        page.title(title, "")?;
        let head = left("  thread", NAME + 4) + "   at   duration   " + during;
        page.line(&[(Style::Faint, &head.replace("   at ", "      at "))])?;
        for one in list.iter().take(LINES) {
            let name = format!("  {}", left(&thread_name(&gil.threads[one.thread]), NAME));
            let at = right(&moment(one.start_ns, session), 12);
            let open = if one.open { "+" } else { " " };
            page.line(&[
                (Style::Plain, &name),
                (Style::Plain, &at),
                (style, &right(&duration_cell(one.duration_ns), 10)),
                (Style::Plain, open),
                (Style::Plain, &format!("  {}", others(gil, one))),
            ])?;
            if let Some((lead, code)) = code(one) {
                let code = left(&plain(&code), WIDTH - 14);
                page.line(&[(Style::Faint, lead), (Style::Plain, &code)])?;
            }
        }
        if list.iter().take(LINES).any(|one| one.open) {
            page.line(&[(Style::Faint, "  + had not ended when tracing did")])?;
        }
    }
    Ok(())
}

/// The Python code and the native function that one is about, as far as they are known: `burn (hog.so), called at work (app.py:12)`.
fn code(one: &Longest) -> Option<(&'static str, String)> {
    let place = one.place.as_ref().map(Place::text);
    let (lead, function) = match (&one.within, &one.function) {
        (Some(within), _) => ("    in ", Some(within)),
        (None, Some(function)) => ("    ended in ", Some(function)),
        (None, None) => ("    at ", None),
    };
    let code = match (function, place) {
        (Some(function), Some(place)) => format!("{function}, called at {place}"),
        (Some(function), None) => function.clone(),
        (None, place) => place?,
    };
    Some((lead, code))
}

/// Seconds since tracing began.
pub(super) fn moment(time_ns: u64, session: &Session) -> String {
    let since_ns = time_ns.saturating_sub(session.start_ns);
    format!(
        "{}.{:03} s",
        count(since_ns / 1_000_000_000),
        since_ns / 1_000_000 % 1000
    )
}

fn others(gil: &Gil, one: &Longest) -> String {
    const NAMED: usize = 2;
    let mut named: Vec<_> = one
        .others
        .iter()
        .take(NAMED)
        .map(|&(place, part_ns)| {
            let name = left(&thread_name(&gil.threads[place]), 14);
            format!("{} {}", name.trim_end(), duration_cell(part_ns))
        })
        .collect();
    if named.is_empty() {
        return "nobody".to_owned();
    }
    if one.others.len() > NAMED {
        named.push(format!("+{}", one.others.len() - NAMED));
    }
    named.join(", ")
}

/// What comes back.
pub(super) fn patterns(
    page: &mut Page<impl Write>,
    session: &Session,
    gil: &Gil,
    patterns: &[Pattern],
) -> io::Result<()> {
    if patterns.is_empty() {
        return Ok(());
    }
    page.title("Patterns", "")?;
    for pattern in patterns.iter().take(LINES) {
        let line = match pattern {
            Pattern::Periodic {
                thread,
                period_ns,
                first_ns,
                holds,
                duration_ns,
                deviation_ns,
            } => format!(
                "{} holds the GIL for {} every {}, first at {}: {} times, none more than {} off",
                thread_name(&gil.threads[*thread]),
                duration(*duration_ns),
                duration(*period_ns),
                moment(*first_ns, session),
                count(*holds),
                duration(*deviation_ns)
            ),
            Pattern::Burst {
                start_ns,
                end_ns,
                utilisation,
                wait_ratio,
            } => format!(
                "a burst at {}, {} long: held {} of the time, on average {} threads wait",
                moment(*start_ns, session),
                duration(end_ns - start_ns),
                percent(*utilisation),
                ratio(*wait_ratio)
            ),
            Pattern::SwitchInterval {
                threads,
                waits,
                of_waits,
            } => {
                let names: Vec<_> = threads
                    .iter()
                    .take(4)
                    .map(|&place| thread_name(&gil.threads[place]))
                    .collect();
                let more = threads.len() - names.len();
                format!(
                    "the mark of the switch interval: {} of {} waits of {}{} last 4 to 8 ms and end with a forced drop",
                    count(*waits),
                    count(*of_waits),
                    names.join(", "),
                    if more > 0 {
                        format!(" and {more} more")
                    } else {
                        String::new()
                    }
                )
            }
        };
        page.wrapped("  • ", &line, Style::Plain)?;
    }
    Ok(())
}

/// What to do next.
pub(super) fn advice(
    page: &mut Page<impl Write>,
    figures: &Figures,
    advice: &[Advice],
) -> io::Result<()> {
    if advice.is_empty() {
        return Ok(());
    }
    page.title("What to do next", "")?;
    for (number, advice) in (1..).zip(advice) {
        page.wrapped(&format!("  {number}. "), &advice.text, Style::Plain)?;
        if let Some(at_most_ns) = advice.at_most_ns {
            let bound = format!(
                "at most {} of {} of waiting goes away with it",
                duration(at_most_ns),
                duration(figures.wait_ns)
            );
            page.wrapped("     ", &bound, Style::Faint)?;
        }
    }
    Ok(())
}
