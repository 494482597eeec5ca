//! `gilbuild diff`: did the change help?

use std::path::{Path, PathBuf};

use clap::Args;
use gil_report::render::{self, TextOptions, ThreadChoice};
use gil_report::{Diff, Options, Report};

use super::report::{colors_wanted, thread_choice};
use crate::error::CommandError;
use crate::output::Output;
use crate::trace_file;

/// Compare two traces or saved reports, before and after a change
///
/// Threads are matched by name.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The trace or saved report from before
    before: PathBuf,
    /// The one from after
    after: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How many threads to show, or `all`
    #[arg(long, value_name = "N|all", default_value = "10", value_parser = thread_choice)]
    threads: ThreadChoice,
    /// Where to write it; stdout if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or the result cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let mut output = Output::new(arguments.output.as_deref())?;
    let diff = Diff::new(&read(&arguments.before)?, &read(&arguments.after)?);
    if arguments.json {
        render::diff_json(&diff, &mut output)?;
    } else {
        let options = TextOptions {
            color: arguments.output.is_none() && colors_wanted(),
            threads: arguments.threads,
            ..TextOptions::default()
        };
        render::diff_text(&diff, &options, &mut output)?;
    }
    output.finish()
}

fn read(path: &Path) -> Result<Report, CommandError> {
    let options = Options::default();
    let summary = trace_file::summarise(path, &options, &mut ())?;
    Ok(Report::new(summary, &options.thresholds))
}
