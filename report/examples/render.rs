//! Renders a trace without the command line around it: `render text|color|json|html < trace`; `render trace < trace` writes it again as Arrow.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use gil_report::render::{TextOptions, html, json, text};
use gil_report::{Options, Report, TimelineSink, summarise, write_as_arrow};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let format = std::env::args().nth(1).unwrap_or_default();
    if format == "trace" {
        write_as_arrow(io::stdin().lock(), io::stdout().lock())?.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::default();
    let mut timelines = TimelineSink::new();
    let summary = if format == "html" {
        summarise(io::stdin().lock(), &options, &mut timelines)?
    } else {
        summarise(io::stdin().lock(), &options, &mut ())?
    };
    let report = Report::new(summary, &options.thresholds);
    let mut output = BufWriter::new(io::stdout().lock());
    match format.as_str() {
        "text" => text(&report, &TextOptions::default(), &mut output)?,
        "color" => {
            let options = TextOptions {
                color: true,
                ..TextOptions::default()
            };
            text(&report, &options, &mut output)?;
        }
        "json" => json(&report, &mut output)?,
        "html" => html(&report, &timelines.into_timelines(), &mut output)?,
        _ => return Ok(ExitCode::from(2)),
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
