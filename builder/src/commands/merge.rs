//! `gilbuild merge`: puts traces and saved reports of many processes and hosts together.

use std::path::PathBuf;

use clap::Args;
use gil_report::{Options, Report, Summary, render};

use crate::error::CommandError;
use crate::output::Output;
use crate::trace_file;

/// Put traces and saved reports together into one saved report
///
/// The result is JSON that `gilbuild report`, `merge` and `diff` read. What belongs to the same recording is added up,
/// everything else stands side by side.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Traces or saved reports
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where to write it; stdout if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or the result cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let options = Options::default();
    let mut output = Output::new(arguments.output.as_deref())?;
    let mut summary = Summary::default();
    for file in &arguments.files {
        summary.merge(trace_file::summarise(file, &options, &mut ())?);
    }
    let report = Report::new(summary, &options.thresholds);
    render::json(&report, &mut output)?;
    output.finish()
}
