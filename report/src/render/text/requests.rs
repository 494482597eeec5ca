//! What requests had of the GIL.

use std::io::{self, Write};

use super::evidence::{LINES, moment, more};
use super::page::{Page, Style, left, right};
use crate::format::{count, duration, duration_cell, plain};
use crate::requests::{Request, RequestSummary, Requests};
use crate::stalls::Who;
use crate::summary::Session;

/// Columns of a request's name.
const NAME: usize = 34;

/// Requests by name, and those that waited longest.
pub(super) fn about(page: &mut Page<impl Write>, session: &Session) -> io::Result<()> {
    let Some(requests) = &session.requests else {
        return Ok(());
    };
    page.title("Requests", &note(session, requests))?;
    let mut head = left("  name", NAME + 2) + &right("count", 8);
    for title in [
        "p50",
        "p99",
        "held p99",
        "waited p50",
        "waited p99",
        "waited max",
    ] {
        head += &right(title, if title.len() > 8 { 11 } else { 9 });
    }
    page.line(&[(Style::Faint, &head)])?;
    let mut names: Vec<&Requests> = requests.names.iter().collect();
    names.sort_by_key(|one| (std::cmp::Reverse(one.waits.total_ns()), &one.name));
    for one in names.iter().take(LINES) {
        let mut cells = right(&count(one.durations.count()), 8);
        for (figure, quantile) in [
            (&one.durations, 0.5),
            (&one.durations, 0.99),
            (&one.holds, 0.99),
        ] {
            cells += &right(&duration_cell(figure.quantile_ns(quantile)), 9);
        }
        let mut waits = String::new();
        for wait_ns in [
            one.waits.quantile_ns(0.5),
            one.waits.quantile_ns(0.99),
            one.waits.max_ns(),
        ] {
            waits += &right(&duration_cell(wait_ns), 11);
        }
        page.line(&[
            (
                Style::Plain,
                &format!("  {}", left(&plain(&one.name), NAME)),
            ),
            (Style::Plain, &cells),
            (Style::Wait, &waits),
        ])?;
    }
    more(page, names.len())?;
    for request in requests
        .worst
        .iter()
        .take(LINES)
        .filter(|one| one.wait_ns > 0)
    {
        page.wrapped("  • ", &told(request, session), Style::Plain)?;
        let ids = format!("trace {:032x}, span {:016x}", request.trace, request.span);
        page.wrapped("    ", &ids, Style::Faint)?;
    }
    Ok(())
}

fn note(session: &Session, requests: &RequestSummary) -> String {
    let mut note = format!("{} that ended", count(requests.count()));
    if requests.cut > 0 {
        note.extend([format!(
            "; {} spans were cut by the ends of the trace",
            count(requests.cut)
        )]);
    }
    if requests.beyond_limits > 0 {
        note.extend([format!(
            "; {} spans beyond the number that is followed",
            count(requests.beyond_limits)
        )]);
    }
    if let Some(over_ns) = session.events_over_ns {
        note.extend([format!(
            "; held and waited: cycles from {} on",
            duration(over_ns)
        )]);
    }
    note
}

/// `GET /tasks at 1.853 s took 524 ms, had the GIL for 212 µs, waited 495 ms for it, of which 494 ms for metrics collector`.
fn told(request: &Request, session: &Session) -> String {
    /// Threads that are named.
    const NAMED: usize = 3;
    let mut told = format!(
        "{} at {} took {}, had the GIL for {} and waited {} for it",
        plain(&request.name),
        moment(request.start_ns, session),
        duration(request.duration_ns),
        duration(request.hold_ns),
        duration(request.wait_ns)
    );
    for (place, part) in request.waited_for.iter().take(NAMED).enumerate() {
        told += if place == 0 { ", of which " } else { ", " };
        told.extend([format!(
            "{} for {}",
            duration(part.wait_ns),
            name_of(&part.who)
        )]);
    }
    told
}

fn name_of(who: &Who) -> String {
    let name = who.name.as_deref().filter(|name| !name.is_empty());
    name.map_or_else(|| format!("tid {}", who.tid), plain)
}
