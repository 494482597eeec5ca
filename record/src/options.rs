//! What to record and how: what a caller asks for.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::stop::StopFlag;

/// What to record.
#[derive(Clone, Debug)]
pub enum Target {
    /// A process that runs already, and those that it starts from now on.
    Process(u32),
    /// The processes of a container: by its id, which may be shortened, or by its name.
    Container(String),
    /// The processes of a control group and of those below it: its folder, or its path in a hierarchy.
    Cgroup(PathBuf),
    /// All processes of this machine that run a Python with markers.
    All,
    /// All processes of this machine that run the very interpreter with this build id, or with one that begins so.
    Build(String),
    /// A command, which is started: its program and arguments. It and the processes that it starts are recorded from the
    /// first instruction of their interpreters on.
    Command(Vec<OsString>),
}

/// What to write down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every event, into a trace file.
    #[default]
    Events,
    /// Totals only, counted in the kernel: a text for a person, no trace.
    Summary,
    /// Totals counted in the kernel, and as events only cycles whose hold or wait lasts at least so long: a small trace with exact
    /// sums. By the native tracer only.
    Slow(Duration),
}

/// The form of a trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An Arrow IPC stream: for `gilbuild report` and for notebooks.
    Arrow,
    /// A line for each event: for people and `awk`.
    Text,
}

impl Form {
    /// What the name of a file asks for: Arrow if it ends in `.arrow` or `.arrows`, else text.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(OsStr::to_str);
        match extension {
            Some("arrow" | "arrows") => Self::Arrow,
            _ => Self::Text,
        }
    }

    /// What the names of such files end in.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Arrow => "arrow",
            Self::Text => "trace",
        }
    }
}

/// What attaches to the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The native tracer where this machine can, else bpftrace.
    #[default]
    Auto,
    /// The tracer with its own eBPF program.
    Native,
    /// bpftrace with the bundled scripts.
    Bpftrace,
    /// SystemTap with the bundled scripts.
    Systemtap,
}

/// What processes tell of themselves besides what their threads are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where in Python code each event is.
    pub functions: bool,
    /// For which spans threads work.
    pub spans: bool,
}

/// How to record.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What attaches to the process.
    pub backend: Backend,
    /// What to write down.
    pub mode: Mode,
    /// Record one process and nothing that it starts. Otherwise other processes that run the same interpreter's file hit its
    /// markers as well, which costs them time, although they are not recorded. By the native tracer only.
    pub alone: bool,
    /// The observer is told when the recording takes more than this share of one processor from the processes, 0.05 for 5 %. By the
    /// native tracer only, which knows.
    pub max_overhead: Option<f64>,
    /// When it takes more than [`Options::max_overhead`], go on with what costs less: from [`Mode::Events`] with [`Mode::Slow`] of this
    /// threshold. Where that is still too much for some seconds, or there was nothing to leave out, the recording ends. By the native
    /// tracer only.
    pub adaptive: Option<Duration>,
    /// Take the native stack at the end of every hold that lasts at least so long, for a trace. By the native tracer only.
    pub stacks: Option<Duration>,
    /// What processes tell of themselves, for a trace. By the native tracer only.
    pub told: Told,
    /// For how long; without it until the process ends or `stop` is set.
    pub duration: Option<Duration>,
    /// The trace file; without it `gil-PID-TIME.arrow` or `.trace` in the current folder.
    pub output: Option<PathBuf>,
    /// The form of the trace file; without it what the name of `output` asks for, and Arrow if it has none.
    pub form: Option<Form>,
    /// Overwrite `output` if it exists.
    pub force: bool,
    /// A folder for what the next recording can use again: a runtime for SystemTap that fits this kernel, where its own does not.
    pub cache: Option<PathBuf>,
    /// Stops the recording.
    pub stop: StopFlag,
}
