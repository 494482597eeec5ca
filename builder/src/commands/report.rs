//! `gilbuild report`: reads traces or saved reports and writes the answer.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gil_report::render::{
    self, PerfettoSink, Sort, TableError, TableFormat, TableSink, TextOptions, ThreadChoice,
};
use gil_report::summary::Session;
use gil_report::{Interval, IntervalSink, Options, Report, Summary, Thresholds, TimelineSink};

use crate::error::{CommandError, Exit};
use crate::otlp::{Destination, OtlpSink};
use crate::output::Output;
use crate::terminal;
use crate::trace_file;

/// Say whether it is the GIL, who holds it and who waits
///
/// Reads traces written by `gilbuild record`, or reports saved as JSON. Several files are merged.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Traces or saved reports; `-` is stdin
    #[arg(value_name = "TRACE", required = true)]
    traces: Vec<PathBuf>,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Where to write it; stdout if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tell also what each request had of the GIL, by its trace id, to the system that has its trace: the address of a collector that takes OTLP
    /// over HTTP (`http://localhost:4318`), or a file (OTLP's JSON, a line each); with --format text or json
    #[arg(long, value_name = "ENDPOINT|FILE")]
    otlp: Option<Destination>,
    /// What the rows of arrow, parquet and csv are
    #[arg(long, value_enum, default_value_t = Rows::Intervals)]
    rows: Rows,
    /// How many threads have a line of their own, or `all`
    #[arg(long, value_name = "N|all", default_value = "10", value_parser = thread_choice)]
    threads: ThreadChoice,
    /// How threads are ordered
    #[arg(long, value_enum, default_value_t = SortBy::Weight)]
    sort: SortBy,
    /// Below this wait ratio it is not the GIL
    #[arg(long, value_name = "RATIO", default_value_t = Thresholds::default().quiet_wait_ratio)]
    quiet_wait_ratio: f64,
    /// From this utilisation on, with --crowded-wait-ratio, it is the GIL
    #[arg(long, value_name = "SHARE", default_value_t = Thresholds::default().busy_utilisation)]
    busy_utilisation: f64,
    /// From this wait ratio on, with --busy-utilisation, it is the GIL
    #[arg(long, value_name = "RATIO", default_value_t = Thresholds::default().crowded_wait_ratio)]
    crowded_wait_ratio: f64,
    /// From this utilisation on, one starved thread is enough
    #[arg(long, value_name = "SHARE", default_value_t = Thresholds::default().full_utilisation)]
    full_utilisation: f64,
    /// A thread with a median wait of so many milliseconds is starved
    #[arg(long, value_name = "MS", default_value_t = 4.0)]
    starved_median_wait: f64,
}

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, in 100 columns
    Text,
    /// For programs; it can be read again
    Json,
    /// One page with a timeline to zoom into; needs no network
    Html,
    /// For ui.perfetto.dev
    Perfetto,
    /// For profiler.firefox.com
    Firefox,
    /// For flame graphs: how long was held where; of a trace recorded with `--functions` or `--stacks`, as the next two
    Folded,
    /// For speedscope.app
    Speedscope,
    /// For pprof
    Pprof,
    /// Every hold and wait as a row, for notebooks: an Arrow IPC stream
    Arrow,
    /// The same as Parquet
    Parquet,
    /// The same as CSV
    Csv,
}

/// What the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// Holds and waits
    Intervals,
    /// The events of one trace as they were recorded; as arrow, the same file that `record` writes
    Events,
}

/// How threads are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortBy {
    /// Time held, waited and made others wait, together
    Weight,
    /// Time held
    Hold,
    /// Time waited
    Wait,
    /// Time made others wait
    Blame,
    /// Name
    Name,
    /// Thread id
    Tid,
}

/// A report, of which the requests are told to whom `--otlp` names.
fn read_and_tell(arguments: &Arguments, options: &Options) -> Result<Report, CommandError> {
    let Some(destination) = &arguments.otlp else {
        return read(arguments, options, &mut ());
    };
    let mut sink = OtlpSink::default();
    let report = read(arguments, options, &mut sink)?;
    let requests = sink.deliver(destination)?;
    terminal::step("Told", &format!("what {requests} requests had of the GIL"));
    Ok(report)
}

/// A report that says where the GIL was held.
fn read_places(arguments: &Arguments, options: &Options) -> Result<Report, CommandError> {
    let report = read(arguments, options, &mut ())?;
    let mut gils = report.summary.sessions.iter().flat_map(|one| &one.gils);
    if gils.all(|gil| gil.stacks.is_empty() && gil.functions.is_none()) {
        return Err(CommandError::new(
            Exit::Failed,
            "it does not say where the GIL was held: record with `gilbuild record --functions`, or long holds with `--stacks`",
        ));
    }
    Ok(report)
}

/// Runs the command.
///
/// # Errors
/// When a trace cannot be read or the answer cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let options = arguments.options();
    if arguments.rows == Rows::Events {
        return events(arguments);
    }
    if arguments.otlp.is_some() && !matches!(arguments.format, Format::Text | Format::Json) {
        return Err(CommandError::new(
            Exit::Usage,
            "--otlp is for --format text and json",
        ));
    }
    let mut output = Output::new(arguments.output.as_deref())?;
    match arguments.format {
        Format::Text => {
            let report = read_and_tell(arguments, &options)?;
            let text = arguments.text_options(arguments.output.as_deref());
            render::text(&report, &text, &mut output)?;
        }
        Format::Json => render::json(&read_and_tell(arguments, &options)?, &mut output)?,
        Format::Html => {
            let mut timelines = TimelineSink::new();
            let report = read(arguments, &options, &mut timelines)?;
            render::html(&report, &timelines.into_timelines(), &mut output)?;
        }
        Format::Folded => render::folded(&read_places(arguments, &options)?, &mut output)?,
        Format::Speedscope => render::speedscope(&read_places(arguments, &options)?, &mut output)?,
        Format::Pprof => render::pprof(&read_places(arguments, &options)?, &mut output)?,
        Format::Perfetto => {
            let mut perfetto = PerfettoSink::new(output);
            intervals(arguments, &options, &mut perfetto)?;
            output = perfetto.finish()?;
        }
        Format::Firefox => {
            let mut timelines = TimelineSink::new();
            intervals(arguments, &options, &mut timelines)?;
            render::firefox(&timelines.into_timelines(), &mut output)?;
        }
        Format::Arrow => output = table(arguments, &options, TableFormat::Arrow, output)?,
        Format::Parquet => output = table(arguments, &options, TableFormat::Parquet, output)?,
        Format::Csv => output = table(arguments, &options, TableFormat::Csv, output)?,
    }
    output.finish()
}

/// Hands the holds and waits of all traces to a writer of them.
fn intervals(
    arguments: &Arguments,
    options: &Options,
    sink: &mut impl IntervalSink,
) -> Result<(), CommandError> {
    let mut counted = Counted { sink, intervals: 0 };
    let report = read(arguments, options, &mut counted)?;
    if counted.intervals == 0 && report.gils.iter().any(|gil| gil.figures.acquisitions > 0) {
        return Err(CommandError::new(
            Exit::Failed,
            "a saved report holds sums, not events: give the trace that it was made from",
        ));
    }
    Ok(())
}

fn table(
    arguments: &Arguments,
    options: &Options,
    format: TableFormat,
    output: Output,
) -> Result<Output, CommandError> {
    let mut table = TableSink::new(format, output).map_err(|error| failed(&error))?;
    intervals(arguments, options, &mut table)?;
    table.finish().map_err(|error| failed(&error))
}

fn failed(error: &TableError) -> CommandError {
    CommandError::because(Exit::Failed, error)
}

/// Writes the events of a trace as they are.
fn events(arguments: &Arguments) -> Result<(), CommandError> {
    let usage = |message: &str| Err(CommandError::new(Exit::Usage, message));
    let format = match arguments.format {
        Format::Arrow => TableFormat::Arrow,
        Format::Parquet => TableFormat::Parquet,
        Format::Csv => TableFormat::Csv,
        _ => return usage("--rows events is for --format arrow, parquet and csv"),
    };
    let [trace] = arguments.traces.as_slice() else {
        return usage("--rows events takes one trace at a time");
    };
    let output = Output::new(arguments.output.as_deref())?;
    let written = trace_file::read(trace, |source| render::events(source, format, output));
    written?.map_err(|error| failed(&error))?.finish()
}

/// Passes intervals on and counts them.
struct Counted<'s, S> {
    sink: &'s mut S,
    intervals: u64,
}

impl<S: IntervalSink> IntervalSink for Counted<'_, S> {
    fn interval(&mut self, interval: &Interval<'_>) {
        self.intervals += 1;
        self.sink.interval(interval);
    }

    fn session_ended(&mut self, session: &Session) {
        self.sink.session_ended(session);
    }
}

/// Reads all traces into one report.
fn read(
    arguments: &Arguments,
    options: &Options,
    sink: &mut impl IntervalSink,
) -> Result<Report, CommandError> {
    let mut summary = Summary::default();
    for trace in &arguments.traces {
        summary.merge(trace_file::summarise(trace, options, sink)?);
    }
    Ok(Report::new(summary, &options.thresholds))
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            thresholds: Thresholds {
                quiet_wait_ratio: self.quiet_wait_ratio,
                busy_utilisation: self.busy_utilisation,
                crowded_wait_ratio: self.crowded_wait_ratio,
                full_utilisation: self.full_utilisation,
                starved_median_wait_ns: milliseconds(self.starved_median_wait),
                ..Thresholds::default()
            },
            ..Options::default()
        }
    }

    fn text_options(&self, output: Option<&Path>) -> TextOptions {
        TextOptions {
            color: output.is_none() && colors_wanted(),
            threads: self.threads,
            sort: match self.sort {
                SortBy::Weight => Sort::Weight,
                SortBy::Hold => Sort::Hold,
                SortBy::Wait => Sort::Wait,
                SortBy::Blame => Sort::Blame,
                SortBy::Name => Sort::Name,
                SortBy::Tid => Sort::Tid,
            },
        }
    }
}

/// Whether stdout is a terminal whose user has not switched colours off.
pub(super) fn colors_wanted() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
        && (io::stdout().is_terminal() || std::env::var_os("CLICOLOR_FORCE").is_some())
}

fn milliseconds(milliseconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast stops at zero and at the top, and so does this setting"
    )]
    let duration_ns = (milliseconds * 1e6) as u64;
    duration_ns
}

pub(super) fn thread_choice(text: &str) -> Result<ThreadChoice, String> {
    match text {
        "all" => Ok(ThreadChoice::All),
        number => number
            .parse()
            .map(ThreadChoice::Top)
            .map_err(|_| "it is a number, or `all`".to_owned()),
    }
}
