//! A comparison as text and as JSON.

use std::io::{self, Write};

use super::text::TextOptions;
use super::text::ThreadChoice;
use super::text::page::{Page, Style, left, right};
use crate::diff::{Diff, Side, ThreadDiff, ThreadSide};
use crate::format::{duration_cell, per_second, percent_cell, plain};

/// Columns of a name.
const NAME: usize = 26;

/// Writes a comparison as JSON, with a newline at the end.
///
/// # Errors
/// When it cannot be written.
pub fn diff_json(diff: &Diff, output: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *output, diff)?;
    output.write_all(b"\n")
}

/// Writes a comparison as text.
///
/// # Errors
/// When it cannot be written.
pub fn diff_text(diff: &Diff, options: &TextOptions, output: &mut impl Write) -> io::Result<()> {
    let mut page = Page::new(output, options.color);
    page.wrapped("before: ", &diff.before.verdict.line, Style::Strong)?;
    page.wrapped("after:  ", &diff.after.verdict.line, Style::Strong)?;
    if diff.before.lower_bounds || diff.after.lower_bounds {
        let line = "events are missing: counts and sums are lower bounds";
        page.wrapped("", line, Style::Bad)?;
    }
    page.blank()?;
    let head = left("", NAME) + &right("before", 12) + &right("after", 12) + &right("change", 12);
    page.line(&[(Style::Faint, &head)])?;
    for (name, pick, show) in whole() {
        let (before, after) = (pick(&diff.before), pick(&diff.after));
        let figures = left(name, NAME) + &right(&show(before), 12) + &right(&show(after), 12);
        let (style, change) = change(before, after);
        page.line(&[(Style::Plain, &figures), (style, &right(&change, 12))])?;
    }
    threads(&mut page, diff, options)
}

/// How a figure is read out of a side, and shown.
type Line = (&'static str, fn(&Side) -> f64, fn(f64) -> String);

fn whole() -> [Line; 8] {
    use crate::format::to_float;
    [
        ("held, of time", |side| side.hold_share, percent_cell),
        ("waited, of time", |side| side.wait_share, percent_cell),
        ("acquired", |side| side.acquisitions_per_second, per_second),
        ("switches", |side| side.switches_per_second, per_second),
        (
            "median wait",
            |side| to_float(side.waits.p50_ns),
            show_duration,
        ),
        (
            "99th percentile of waits",
            |side| to_float(side.waits.p99_ns),
            show_duration,
        ),
        (
            "longest wait",
            |side| to_float(side.waits.max_ns),
            show_duration,
        ),
        (
            "longest hold",
            |side| to_float(side.holds.max_ns),
            show_duration,
        ),
    ]
}

fn show_duration(duration_ns: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was an unsigned number before"
    )]
    let duration_ns = duration_ns as u64;
    duration_cell(duration_ns)
}

/// How much a figure changed: as a factor where it grew to more than the double.
fn change(before: f64, after: f64) -> (Style, String) {
    if before == 0.0 {
        let text = if after == 0.0 { "=" } else { "new" };
        return (Style::Faint, text.to_owned());
    }
    let factor = after / before;
    if (0.995..1.005).contains(&factor) {
        (Style::Faint, "=".to_owned())
    } else if factor >= 2.0 {
        (Style::Wait, format!("× {factor:.1}"))
    } else if factor > 1.0 {
        (Style::Wait, format!("+{:.0} %", (factor - 1.0) * 100.0))
    } else {
        (Style::Hold, format!("−{:.0} %", (1.0 - factor) * 100.0))
    }
}

fn threads(page: &mut Page<impl Write>, diff: &Diff, options: &TextOptions) -> io::Result<()> {
    let shown = match options.threads {
        ThreadChoice::All => diff.threads.len(),
        ThreadChoice::Top(top) => top.min(diff.threads.len()),
    };
    let further = diff.threads.len() - shown;
    let note = if further > 0 {
        format!("those that changed most; {further} further with --threads all")
    } else {
        String::new()
    };
    page.title("Threads", &note)?;
    let head = left("  name", NAME)
        + &right("held, of time", 20)
        + &right("waited, of time", 20)
        + &right("99th pct. of waits", 22);
    page.line(&[(Style::Faint, &head)])?;
    for thread in &diff.threads[..shown] {
        let name = format!("  {}", left(&label(thread), NAME - 2));
        let mut cells = String::new();
        for (show, width) in [
            (show_hold as fn(&ThreadSide) -> String, 20),
            (show_wait, 20),
            (show_p99, 22),
        ] {
            let side = |side: &Option<ThreadSide>| side.as_ref().map_or("–".to_owned(), show);
            let cell = format!(
                "{} → {}",
                side(&thread.before),
                right(&side(&thread.after), 7)
            );
            cells += &right(&cell, width);
        }
        let fate = match (&thread.before, &thread.after) {
            (None, _) => "  new",
            (_, None) => "  gone",
            _ => "",
        };
        page.line(&[
            (Style::Plain, &name),
            (Style::Plain, &cells),
            (Style::Strong, fate),
        ])?;
    }
    Ok(())
}

fn label(thread: &ThreadDiff) -> String {
    let name = if thread.name.is_empty() {
        "(no name)".to_owned()
    } else {
        plain(&thread.name)
    };
    let most = [&thread.before, &thread.after]
        .into_iter()
        .flatten()
        .map(|side| side.threads)
        .max();
    match most {
        Some(threads) if threads > 1 => format!("{name} ×{threads}"),
        _ => name,
    }
}

fn show_hold(side: &ThreadSide) -> String {
    percent_cell(side.hold_share)
}

fn show_wait(side: &ThreadSide) -> String {
    percent_cell(side.wait_share)
}

fn show_p99(side: &ThreadSide) -> String {
    duration_cell(side.waits.p99_ns)
}
