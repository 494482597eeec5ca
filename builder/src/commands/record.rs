//! `gilbuild record`: attaches to a running process, or to a command, and writes down what its threads do with the GIL.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use gil_record::{
    Cost, Finished, Interpreter, Mode, Observer, Options, RecordError, Recording, StopFlag,
    StopReason, Target,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::processes::Processes;
use crate::error::{CommandError, Exit};
use crate::folders;
use crate::host::{self, Facts};
use crate::terminal;

/// Record what the threads of processes do with the GIL
///
/// Writes a trace for `gilbuild report` and prints its path. Stops when the time is up, at Ctrl-C, or when the processes have ended;
/// they themselves go on undisturbed. A command that was started for it is ended with the recording.
/// What a recorded process starts is recorded, too.
/// Needs root, or the capabilities to load eBPF programs and to trace; bpftrace only where the kernel is older than 5.12.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
#[command(
    override_usage = "gilbuild record [OPTIONS] --pid <PID>\n       gilbuild record [OPTIONS] --container <ID|NAME>\n       \
                      gilbuild record [OPTIONS] --cgroup <PATH>\n       gilbuild record [OPTIONS] --all\n       gilbuild record [OPTIONS] --build-id <HEX>\n       \
                      gilbuild record [OPTIONS] -- <CMD>..."
)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["pid", "container", "cgroup", "all", "build_id", "command"]))]
pub struct Arguments {
    #[command(flatten)]
    processes: Processes,
    /// With `--pid`: the process alone, not what it starts; others that run the same interpreter then hit no marker
    #[arg(long, requires = "pid")]
    alone: bool,
    /// Stop after this long: 30s, 2m, 500ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// What attaches to the process
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    backend: Backend,
    /// What to write down
    #[arg(long, value_enum, default_value_t = ModeName::Events)]
    mode: ModeName,
    /// With `--mode slow`: a cycle is an event when its hold or its wait lasts so long. Also the threshold of `--stacks` and `--adaptive`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5ms")]
    over: Duration,
    /// Warn when the recording takes more than this share of one processor from the processes (native tracer)
    #[arg(long, value_name = "SHARE", value_parser = percentage, default_value = "5%")]
    max_overhead: f64,
    /// When it takes more than that, go on with `--mode slow`, and end the recording where that is still too much for 3 s
    #[arg(long)]
    adaptive: bool,
    /// Take native stacks of holds of at least `--over`, at their end and while somebody waits: names the C function that kept the GIL
    #[arg(long)]
    stacks: bool,
    /// Tell where in Python code the GIL is given up and waited for: function, file and line
    #[arg(long)]
    functions: bool,
    /// Record the spans of requests, as the Python package gilprobe or an extension module marks them
    #[arg(long)]
    spans: bool,
    /// Where to write the trace; a summary goes to stdout without it [default: gil-PID-TIME.arrow, or the container's id instead]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The form of the trace [default: arrow if the file's name ends in .arrow or none is given, else text]
    #[arg(long, value_enum)]
    format: Option<FormName>,
    /// Overwrite the output file if it exists
    #[arg(long)]
    force: bool,
    /// The command to start and record, with its arguments; its output goes to stderr
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What attaches to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// native where the kernel can, else bpftrace
    Auto,
    /// gilbuild's own eBPF program: exact, a fraction of the cost, needs nothing installed
    Native,
    /// bpftrace with the bundled scripts
    Bpftrace,
    /// SystemTap with the bundled scripts: for kernels without eBPF; compiles a kernel module first, which takes a minute
    Systemtap,
}

/// What to write down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// Every event, for `gilbuild report`
    Events,
    /// Totals per thread, counted in the kernel: cheaper, a text to read, no trace
    Summary,
    /// Totals of everything, and only long holds and waits as events: exact sums and a small trace, the choice for production
    Slow,
}

/// The form of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormName {
    /// An Arrow IPC stream: small, and opened as it is by pandas, polars and `DuckDB`
    Arrow,
    /// A line for each event, for people and awk
    Text,
}

/// Runs the command.
///
/// # Errors
/// When the process cannot be found or attached to, or the trace cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let stop = StopFlag::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.shared())?;
    }
    // clap has seen to it that it is one thing.
    let target = arguments
        .processes
        .target()
        .unwrap_or_else(|| Target::Command(arguments.command.clone()));
    if arguments.backend == Backend::Systemtap {
        // What is asked for is looked at before the machine is.
        if let Target::Process(pid) = target {
            gil_record::interpreter_of(pid).map_err(|error| failure(&error))?;
        }
        host::systemtap(&Facts::of_this_machine()).demand()?;
        terminal::step(
            "Compiling",
            "SystemTap's kernel module, if it has not made it before",
        );
    }
    let options = Options {
        backend: match arguments.backend {
            Backend::Auto => gil_record::Backend::Auto,
            Backend::Native => gil_record::Backend::Native,
            Backend::Bpftrace => gil_record::Backend::Bpftrace,
            Backend::Systemtap => gil_record::Backend::Systemtap,
        },
        mode: match arguments.mode {
            ModeName::Events => Mode::Events,
            ModeName::Summary => Mode::Summary,
            ModeName::Slow => Mode::Slow(arguments.over),
        },
        alone: arguments.alone,
        max_overhead: Some(arguments.max_overhead),
        adaptive: arguments.adaptive.then_some(arguments.over),
        stacks: arguments.stacks.then_some(arguments.over),
        told: gil_record::Told {
            functions: arguments.functions,
            spans: arguments.spans,
        },
        duration: arguments.duration,
        output: arguments.output.clone(),
        form: arguments.format.map(|format| match format {
            FormName::Arrow => gil_record::Form::Arrow,
            FormName::Text => gil_record::Form::Text,
        }),
        force: arguments.force,
        cache: folders::cache().ok(),
        stop,
    };
    let mut told = Told {
        duration: arguments.duration,
        warned: arguments.adaptive,
    };
    let recording =
        gil_record::record(&target, &options, &mut told).map_err(|error| failure(&error))?;
    tell(&recording);
    deliver(&recording.finished, arguments)
}

/// `5%`, as the share 0.05.
fn percentage(typed: &str) -> Result<f64, String> {
    let number = typed.strip_suffix('%').unwrap_or(typed).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent.is_finite() && percent > 0.0 => Ok(percent / 100.0),
        _ => Err("a percentage is wanted, such as 5%".to_owned()),
    }
}

/// Says on stderr how the recording went.
fn tell(recording: &Recording) {
    if let Some(status) = recording.command_status {
        terminal::step("Ended", &format!("the command: {status}"));
    }
    if recording.reason == StopReason::Overhead {
        terminal::warning(
            "the recording is shorter than asked for: it took more from the process than it may",
        );
    }
    if recording.reason == StopReason::Tracer {
        terminal::warning("the tracer ended by itself: the recording is shorter than asked for");
    }
    if recording.lost > 0 {
        terminal::warning(&format!(
            "{} events were lost on the way: the trace says so, and its figures are not exact",
            recording.lost
        ));
    }
    if let Some(cost) = recording.cost {
        tell_cost(cost, recording.duration);
    }
    if let Finished::Trace(_) = recording.finished {
        let seconds = recording.duration.as_secs_f64();
        terminal::step(
            "Recorded",
            &format!("{} events in {seconds:.1} s", recording.events),
        );
        if recording.events == 0 {
            terminal::warning(
                "no thread took or dropped the GIL meanwhile: all of them slept, or one kept it throughout",
            );
        }
    }
}

/// What the recording cost the process.
fn tell_cost(cost: Cost, duration: Duration) {
    let total = cost.total();
    let share = 100.0 * total.as_secs_f64() / duration.as_secs_f64().max(f64::EPSILON);
    terminal::step(
        "Cost",
        &format!(
            "about {:.3} s of the process's time, {share:.2} % of one processor: {} hits of {} ns each",
            total.as_secs_f64(),
            cost.hits,
            cost.hit_ns
        ),
    );
}

/// The path of the trace, or the summary, to stdout.
fn deliver(finished: &Finished, arguments: &Arguments) -> Result<(), CommandError> {
    match (finished, &arguments.output) {
        (Finished::Trace(path), _) => terminal::result(&path.display().to_string())?,
        (Finished::Summary(text), None) => terminal::result(text.trim_end())?,
        (Finished::Summary(text), Some(path)) => {
            write_summary(path, text, arguments.force)?;
            terminal::result(&path.display().to_string())?;
        }
    }
    Ok(())
}

fn write_summary(path: &std::path::Path, text: &str, force: bool) -> Result<(), CommandError> {
    let mut options = fs_err::OpenOptions::new();
    options
        .write(true)
        .create_new(!force)
        .create(true)
        .truncate(force);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => failure(&RecordError::Exists {
            path: path.to_owned(),
        }),
        _ => error.into(),
    })?;
    Ok(file.write_all(text.as_bytes())?)
}

pub(super) fn failure(error: &RecordError) -> CommandError {
    let exit = if error.is_about_this_machine() {
        Exit::NotThisMachine
    } else if matches!(error, RecordError::NeedsTrace { .. }) {
        Exit::Usage
    } else {
        Exit::Failed
    };
    CommandError::because(exit, error)
}

/// Tells the user what a recording does, as it does it.
struct Told {
    duration: Option<Duration>,
    /// It was said that the recording costs too much, or will be when it does something about it.
    warned: bool,
}

impl Observer for Told {
    fn falls_back(&mut self, reason: &RecordError) {
        terminal::warning(&format!("using bpftrace, which costs more: {reason}"));
    }

    fn started(&mut self, pid: u32) {
        terminal::step("Started", &format!("the command as process {pid}"));
    }

    fn attached(&mut self, interpreters: &[Interpreter]) {
        let until = match self.duration {
            Some(duration) => format!("for {}", humantime::format_duration(duration)),
            None => "until it ends; stop with Ctrl-C".to_owned(),
        };
        terminal::step("Recording", &format!("{}, {until}", subject(interpreters)));
    }

    fn tracer_ended(&mut self, words: &str) {
        terminal::warning(&format!("the tracer ended by itself: {words}"));
    }

    fn over_budget(&mut self, share: f64) {
        if !self.warned {
            self.warned = true;
            terminal::warning(&format!(
                "recording takes {:.1} % of one processor from the process, more than --max-overhead: end it with Ctrl-C, or record for a shorter time",
                share * 100.0
            ));
        }
    }

    fn uses_less(&mut self, over: Duration) {
        terminal::warning(&format!(
            "recording takes more than --max-overhead: from here on it writes only cycles of {} and longer, and totals of all",
            humantime::format_duration(over)
        ));
    }

    fn stopping(&mut self, reason: StopReason) {
        let why = match reason {
            StopReason::Duration => return,
            StopReason::Exit => "the process has ended",
            StopReason::Signal => "asked to",
            StopReason::Tracer => "the tracer has ended",
            StopReason::Overhead => {
                "it takes more than --max-overhead, and nothing is left to leave out"
            }
        };
        terminal::step("Stopping", why);
    }
}

/// One process with its interpreter, or how many there are.
fn subject(interpreters: &[Interpreter]) -> String {
    match interpreters {
        [interpreter] => {
            let python = interpreter
                .version
                .as_deref()
                .unwrap_or("of unknown version");
            format!(
                "process {}, Python {python} ({})",
                interpreter.pid,
                interpreter.file.display()
            )
        }
        several => {
            let mut versions: Vec<&str> = several
                .iter()
                .filter_map(|interpreter| interpreter.version.as_deref())
                .collect();
            versions.sort_unstable();
            versions.dedup();
            format!(
                "{} processes, Python {}",
                several.len(),
                versions.join(", ")
            )
        }
    }
}
