//! Where in Python code threads held the GIL and waited for it.

use std::io::{self, Write};

use super::evidence::{LINES, more};
use super::page::{Page, Style, left, right};
use crate::figures::{Figures, share};
use crate::format::{duration_cell, percent_cell, plain};
use crate::functions::Functions;
use crate::summary::Gil;

/// Columns of a function's name, where one is in a line, and where two are.
const NAME: usize = 44;
const NAMES: usize = 33;

/// The functions that held it longest, and who waited where for whom.
pub(super) fn tables(page: &mut Page<impl Write>, gil: &Gil, figures: &Figures) -> io::Result<()> {
    let Some(functions) = &gil.functions else {
        return Ok(());
    };
    let rows = functions.by_place();
    page.title(
        "Functions",
        "the line at which a hold ended, or a wait began",
    )?;
    let mut head = left("  function", NAME + 2);
    for (title, width) in [
        ("held", 8),
        ("of all", 8),
        ("holds", 8),
        ("longest", 9),
        ("waited", 9),
        ("made wait", 11),
    ] {
        head += &right(title, width);
    }
    page.line(&[(Style::Faint, &head)])?;
    for row in rows.iter().take(LINES) {
        let hold = right(&duration_cell(row.holds.total_ns), 8);
        let of_all = share(row.holds.total_ns, figures.hold_ns);
        let cells = right(&percent_cell(of_all), 8)
            + &right(&crate::format::count(row.holds.count), 8)
            + &right(&duration_cell(row.holds.max_ns), 9);
        page.line(&[
            (
                Style::Plain,
                &format!("  {}", name(functions, row.place, NAME)),
            ),
            (Style::Hold, &hold),
            (Style::Plain, &cells),
            (Style::Wait, &right(&duration_cell(row.waits.total_ns), 9)),
            (Style::Plain, &right(&duration_cell(row.made_wait_ns), 11)),
        ])?;
    }
    more(page, rows.len())?;
    pairs(page, functions, figures)
}

fn pairs(page: &mut Page<impl Write>, functions: &Functions, figures: &Figures) -> io::Result<()> {
    let pairs = functions.pairs();
    if pairs.is_empty() {
        return Ok(());
    }
    page.title("Which function waited for which", "")?;
    for pair in pairs.iter().take(LINES) {
        let names = format!(
            "  {} waited for {}",
            name(functions, pair.waiter, NAMES),
            name(functions, pair.holder, NAMES)
        );
        let of_all = share(pair.wait_ns, figures.wait_ns);
        page.line(&[
            (Style::Plain, &names),
            (Style::Wait, &right(&duration_cell(pair.wait_ns), 9)),
            (Style::Plain, &right(&percent_cell(of_all), 9)),
        ])?;
    }
    more(page, pairs.len())
}

fn name(functions: &Functions, place: Option<usize>, width: usize) -> String {
    left(&plain(&functions.text(place)), width)
}
