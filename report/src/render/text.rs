//! The report for a terminal: the answer first, then the evidence, in 100 columns.

mod bars;
mod evidence;
mod functions;
pub(super) mod page;
mod requests;
mod stalls;
mod threads;

use std::io::{self, Write};

use crate::format::{count, duration, per_second, percent, percent_cell, plain, ratio};
use crate::process::Process;
use crate::report::{GilReport, Report};
use crate::summary::{Losses, Session};
use crate::verdict::VerdictKind;
use page::{Page, Style};

/// What can be set about the text.
#[derive(Debug, Clone, Default)]
pub struct TextOptions {
    /// Use colours.
    pub color: bool,
    /// Which threads have a line of their own.
    pub threads: ThreadChoice,
    /// How threads are ordered.
    pub sort: Sort,
}

/// Which threads have a line of their own; the others share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadChoice {
    /// The first so many, in the chosen order.
    Top(usize),
    /// All of them.
    All,
}

impl Default for ThreadChoice {
    fn default() -> Self {
        Self::Top(10)
    }
}

/// How threads are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// By the time they held the GIL, waited for it and made others wait, together.
    #[default]
    Weight,
    /// By the time they held it.
    Hold,
    /// By the time they waited.
    Wait,
    /// By the time they made others wait.
    Blame,
    /// By name.
    Name,
    /// By tid.
    Tid,
}

/// Writes a report as text.
///
/// # Errors
/// When it cannot be written.
pub fn text(report: &Report, options: &TextOptions, output: &mut impl Write) -> io::Result<()> {
    let mut page = Page::new(output, options.color);
    verdict(&mut page, report.verdict.kind, &report.verdict.line)?;
    page.wrapped("rule: ", &report.verdict.rule, Style::Faint)?;
    let answers = report.gils.len() + report.stalls.len();
    for (at, session) in report.summary.sessions.iter().enumerate() {
        about_session(&mut page, session)?;
        requests::about(&mut page, session)?;
        for stall in report.stalls.iter().filter(|stall| stall.session == at) {
            stalls::about(&mut page, session, stall, answers == 1)?;
        }
        for gil in report.gils.iter().filter(|gil| gil.session == at) {
            about_gil(&mut page, report, gil, options)?;
        }
    }
    Ok(())
}

fn verdict(page: &mut Page<impl Write>, kind: VerdictKind, line: &str) -> io::Result<()> {
    let style = match kind {
        VerdictKind::GilBound => Style::Bad,
        VerdictKind::Contended | VerdictKind::Stalled => Style::Doubtful,
        VerdictKind::NotTheGil => Style::Good,
        VerdictKind::Unknown => Style::Strong,
    };
    page.wrapped("", line, style)
}

/// What several processes have in common.
fn several(target: Option<&str>) -> String {
    /// As many digits of an id as container engines show.
    const ID: usize = 12;
    match target.map(|target| target.split_once(':').unwrap_or((target, ""))) {
        Some(("container", id)) => {
            format!(
                "Container {}",
                plain(&id.chars().take(ID).collect::<String>())
            )
        }
        Some(("cgroup", path)) => format!("Control group {}", plain(path)),
        Some(("all", _)) => "All processes of the machine".to_owned(),
        Some(("build", id)) => format!("All processes with build id {}", plain(id)),
        _ => "Several processes".to_owned(),
    }
}

/// What one process may use, or how many there are.
fn about_processes(page: &mut Page<impl Write>, session: &Session) -> io::Result<()> {
    let mut facts = Vec::new();
    if session.processes.len() > 1 {
        facts.push(format!("{} processes", session.processes.len()));
    }
    let same = |fact: fn(&Process) -> Option<&String>| {
        let mut known = session.processes.iter().map(fact);
        let first = known.next().flatten();
        first.filter(|_| known.all(|other| other == first))
    };
    if let Some(id) = same(|process| process.container.as_ref())
        && session.target.is_none()
    {
        facts.push(format!(
            "in container {}",
            plain(&id.chars().take(12).collect::<String>())
        ));
    }
    match same(|process| process.cpu_limit.as_ref()).map(String::as_str) {
        Some("none") => facts.push("no limit of processor time".to_owned()),
        Some("1") => facts.push("limited to 1 processor".to_owned()),
        Some(limit) => facts.push(format!("limited to {} processors", plain(limit))),
        None => {}
    }
    let mut intervals = session.gils.iter().map(|gil| gil.switch_interval_ns);
    if let Some(Some(interval_ns)) = intervals.next()
        && intervals.all(|other| other == Some(interval_ns))
    {
        facts.push(format!("switch interval {}", duration(interval_ns)));
    }
    if facts.is_empty() {
        return Ok(());
    }
    page.wrapped("  ", &facts.join(", "), Style::Plain)
}

fn about_session(page: &mut Page<impl Write>, session: &Session) -> io::Result<()> {
    let mut title = match session.pid {
        0 => several(session.target.as_deref()),
        pid => format!("Process {pid}"),
    };
    let python = session.python.as_ref();
    title.extend(python.map(|python| format!(", CPython {}", plain(python))));
    let host = session.host.as_ref();
    title.extend(host.map(|host| format!(", on {}", plain(host))));
    page.blank()?;
    page.wrapped("", &title, Style::Strong)?;
    if let Some(command) = &session.command {
        page.wrapped("  ", &plain(command), Style::Faint)?;
    }
    about_processes(page, session)?;
    let start = session
        .start
        .as_deref()
        .map_or_else(String::new, |start| format!(" from {}", plain(start)));
    let ended = session.ended.as_deref().map_or_else(
        || "; the trace was cut off".to_owned(),
        |reason| format!(", until {}", plain(reason)),
    );
    let events = count(session.events);
    let recorded = format!(
        "recorded for {}{start}{ended}; {events} events",
        duration(session.wall_ns())
    );
    page.wrapped("  ", &recorded, Style::Plain)?;
    if let Some(over_ns) = session.events_over_ns {
        let over = duration(over_ns);
        let since = session
            .events_over_from_ns
            .map_or_else(String::new, |from_ns| {
                let after = duration(from_ns.saturating_sub(session.start_ns));
                format!(", after the first {after}")
            });
        let line = format!(
            "counts, sums and percentiles are of all holds and waits; switches, blame and what is drawn over time{since}, of cycles \
             from {over} on"
        );
        page.wrapped("  ", &line, Style::Plain)?;
    }
    about_losses(page, &session.losses)
}

fn about_losses(page: &mut Page<impl Write>, losses: &Losses) -> io::Result<()> {
    if losses.is_lossy() {
        let mut missing = Vec::new();
        if losses.lost > 0 {
            let causes = losses.causes.join("; ");
            missing.push(format!(
                "{} events were lost ({})",
                count(losses.lost),
                plain(&causes)
            ));
        }
        if losses.late > 0 {
            missing.push(format!(
                "{} came too late in the file to be put in their place",
                count(losses.late)
            ));
        }
        if losses.beyond_limits > 0 {
            missing.push(format!(
                "{} are of threads or GILs beyond the number that is told apart",
                count(losses.beyond_limits)
            ));
        }
        let line = format!(
            "{}: counts and sums below are lower bounds",
            missing.join("; ")
        );
        page.wrapped("  ", &line, Style::Bad)?;
    }
    let odd: Vec<_> = [
        (
            losses.skipped_lines,
            "line that is no event",
            "lines that are no events",
        ),
        (
            losses.truncated,
            "line cut off at the end",
            "lines cut off at the end",
        ),
        (
            losses.unpaired_claims,
            "claim without a hold",
            "claims without a hold",
        ),
        (
            losses.unpaired_holds,
            "acquisition without a drop",
            "acquisitions without a drop",
        ),
        (
            losses.unknown_holds,
            "drop whose hold is not known",
            "drops whose hold is not known",
        ),
        (
            losses.clipped,
            "interval cut to fit",
            "intervals cut to fit",
        ),
    ]
    .into_iter()
    .filter(|(number, ..)| *number > 0)
    .map(|(number, one, many)| {
        format!("{} {}", count(number), if number == 1 { one } else { many })
    })
    .collect();
    if !odd.is_empty() {
        let mut line = format!("set aside: {}", odd.join(", "));
        let first = Some(losses.first_skipped_line).filter(|&first| first > 0);
        line.extend(first.map(|first| format!(" (the first is line {first})")));
        page.wrapped("  ", &line, Style::Faint)?;
    }
    Ok(())
}

fn about_gil(
    page: &mut Page<impl Write>,
    report: &Report,
    answer: &GilReport,
    options: &TextOptions,
) -> io::Result<()> {
    let (session, gil) = report.subject(answer);
    let figures = &answer.figures;
    if session.gils.len() + session.stalls.len() > 1 {
        page.blank()?;
        let mut title = format!("GIL {:x} of process {}", gil.address, gil.pid);
        let process = session.process(gil.pid);
        if session.pid != gil.pid
            && let Some(command) = process.and_then(|process| process.command.as_ref())
        {
            title.push_str(": ");
            title.push_str(&plain(command));
        }
        page.wrapped("", &title, Style::Strong)?;
        verdict(page, answer.verdict.kind, &answer.verdict.line)?;
    }
    page.blank()?;
    let drops = figures.forced_drops.saturating_add(figures.voluntary_drops);
    let forced = crate::figures::share(figures.forced_drops, drops);
    for line in [
        format!(
            "utilisation {:<12} wait ratio {:<8} held {:<16} waited {}",
            percent(figures.utilisation),
            ratio(figures.wait_ratio),
            duration(figures.hold_ns),
            duration(figures.wait_ns)
        ),
        format!(
            "acquired {:<15} switches {:<10} forced drops {:<8} drop requests {}",
            per_second(figures.acquisitions_per_second),
            per_second(figures.switches_per_second),
            percent_cell(forced),
            count(figures.drop_requests)
        ),
    ] {
        page.wrapped("  ", &line, Style::Plain)?;
    }
    bars::over_time(page, session, gil)?;
    threads::tables(page, gil, figures, options)?;
    bars::histograms(page, gil)?;
    functions::tables(page, gil, figures)?;
    evidence::blame(page, gil, figures)?;
    evidence::longest(page, session, gil)?;
    evidence::patterns(page, session, gil, &answer.patterns)?;
    evidence::advice(page, figures, &answer.advice)
}
