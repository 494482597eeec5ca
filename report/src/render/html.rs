//! The report as one HTML file that needs no network: verdict, tables, histograms and a timeline to zoom into.

mod encode;

use std::io::{self, Write};

use serde::Serialize;

use super::text::{TextOptions, ThreadChoice, text};
use crate::paths::paths;
use crate::report::Report;
use crate::timeline::Timeline;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPTS: [&str; 6] = [
    include_str!("html/format.js"),
    include_str!("html/data.js"),
    include_str!("html/timeline.js"),
    include_str!("html/tables.js"),
    include_str!("html/flames.js"),
    include_str!("html/page.js"),
];

/// What the page's scripts need besides the report.
#[derive(Serialize)]
struct TimelineFacts<'t> {
    start_ns: u64,
    end_ns: u64,
    /// Cells are given relative to the start of tracing.
    first_cell_ns: i128,
    cell_ns: u64,
    kept_from_ns: u64,
    complete: &'t [(u64, u64)],
    intervals: u64,
    kept: usize,
    lanes: Vec<LaneFacts<'t>>,
}

#[derive(Serialize)]
struct LaneFacts<'t> {
    pid: u32,
    tid: u32,
    name: Option<&'t str>,
    gil: String,
}

/// Writes the page. Without timelines (a saved report has none) it says so in their place.
///
/// # Errors
/// When it cannot be written.
pub fn html(report: &Report, timelines: &[Timeline], output: &mut impl Write) -> io::Result<()> {
    let mut rest = PAGE;
    while let Some((before, (place, after))) = rest
        .split_once("<!--{")
        .and_then(|(before, after)| Some((before, after.split_once("}-->")?)))
    {
        output.write_all(before.as_bytes())?;
        match place {
            "verdict" => output.write_all(escape(&report.verdict.line).as_bytes())?,
            "style" => output.write_all(STYLE.as_bytes())?,
            "plain" => plain(report, output)?,
            "report" => script_json(report, output)?,
            "paths" => script_json(&paths(report), output)?,
            "timelines" => write_timelines(timelines, output)?,
            "scripts" => {
                for script in SCRIPTS {
                    output.write_all(script.as_bytes())?;
                }
            }
            _ => {}
        }
        rest = after;
    }
    output.write_all(rest.as_bytes())
}

/// The text form, for whom scripts do not run.
fn plain(report: &Report, output: &mut impl Write) -> io::Result<()> {
    let options = TextOptions {
        threads: ThreadChoice::All,
        ..TextOptions::default()
    };
    let mut page = Vec::new();
    text(report, &options, &mut page)?;
    output.write_all(escape(&String::from_utf8_lossy(&page)).as_bytes())
}

fn write_timelines(timelines: &[Timeline], output: &mut impl Write) -> io::Result<()> {
    let facts: Vec<_> = timelines.iter().map(facts).collect();
    output.write_all(b"<script type=\"application/json\" id=\"timeline-facts\">")?;
    script_json(&facts, output)?;
    output.write_all(b"</script>\n")?;
    for (number, timeline) in timelines.iter().enumerate() {
        writeln!(
            output,
            "<script type=\"text/plain\" id=\"timeline-{number}\">{}</script>",
            encode::base64(&encode::timeline(timeline))
        )?;
    }
    Ok(())
}

fn facts(timeline: &Timeline) -> TimelineFacts<'_> {
    let first_ns = timeline.first_cell << timeline.cell_log2;
    TimelineFacts {
        start_ns: timeline.start_ns,
        end_ns: timeline.end_ns,
        first_cell_ns: i128::from(first_ns) - i128::from(timeline.start_ns),
        cell_ns: 1 << timeline.cell_log2,
        kept_from_ns: timeline.kept_from_ns,
        complete: &timeline.complete,
        intervals: timeline.intervals,
        kept: timeline.kept(),
        lanes: timeline
            .lanes
            .iter()
            .map(|lane| LaneFacts {
                pid: lane.pid,
                tid: lane.tid,
                name: lane.name.as_deref(),
                gil: format!("{:x}", lane.gil),
            })
            .collect(),
    }
}

/// JSON that cannot end the script element it stands in, whatever names it holds.
fn script_json(value: &impl Serialize, output: &mut impl Write) -> io::Result<()> {
    let json = serde_json::to_string(value)?;
    let mut rest = json.as_str();
    while let Some(at) = rest.find('<') {
        output.write_all(&rest.as_bytes()[..at])?;
        output.write_all(b"\\u003c")?;
        rest = &rest[at + 1..];
    }
    output.write_all(rest.as_bytes())
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Thresholds, TimelineSink, summarise};

    #[test]
    fn a_name_cannot_become_markup() {
        let trace = "# gil-trace 1 clock=monotonic pid=10 start_ns=0\n\
            1 thread 11 10 1 7 </script><img src=x onerror=alert(1)>\n\
            900 drop 11 a 0 500 0\n";
        let mut sink = TimelineSink::new();
        let summary = summarise(trace.as_bytes(), &Options::default(), &mut sink).unwrap();
        let report = Report::new(summary, &Thresholds::default());
        let mut page = Vec::new();
        html(&report, &sink.into_timelines(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(!page.contains("<img"));
        assert!(!page.contains("<!--{"));
    }
}
