//! Why a recording failed, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a process could not be recorded. Each message names what was tried, the reason and the way out.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Attaching needs root.
    #[error(
        "cannot attach to other processes as user {euid}: loading programs into the kernel needs root; run it again with sudo"
    )]
    NotRoot {
        /// The effective user id.
        euid: u32,
    },
    /// Root, but without the capabilities: in a container, or dropped.
    #[error(
        "cannot load BPF programs: this user lacks {missing}, as root does in an unprivileged container; run it on the host with sudo, or in \
         a container that has the capabilities of containers/kubernetes/recorder.yaml"
    )]
    MissingCapability {
        /// The capability.
        missing: &'static str,
    },
    /// There is no bpftrace.
    #[error(
        "bpftrace is not installed: no such program on PATH; install it with `apt-get install bpftrace` or `dnf install bpftrace`"
    )]
    BpftraceMissing,
    /// bpftrace is there and does not run, or its version is not known.
    #[error("`bpftrace --version` failed: {reason}; reinstall bpftrace")]
    BpftraceUnusable {
        /// What went wrong.
        reason: String,
    },
    /// bpftrace is older than the scripts need.
    #[error(
        "bpftrace {found} is too old: the scripts need {needed} or newer; install a newer one, for example the distribution's backport"
    )]
    BpftraceTooOld {
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: &'static str,
    },
    /// There is no SystemTap.
    #[error(
        "SystemTap is not installed: no program `stap` on PATH; install it with `apt-get install systemtap` or `dnf install systemtap`"
    )]
    SystemtapMissing,
    /// SystemTap cannot see the process's files.
    #[error(
        "SystemTap cannot watch process {pid}: it runs in a root of its own, a container's or a chroot's, and what {} is there is \
         not what it is here; use `gilbuild record --backend native`, or a bpftrace script",
        file.display()
    )]
    Elsewhere {
        /// The process.
        pid: u32,
        /// The interpreter's file, as the process names it.
        file: PathBuf,
    },
    /// SystemTap could not make a module for this kernel.
    #[error(
        "SystemTap could not compile its module for Linux {release}: {message}; `gilbuild doctor` says what this machine lacks"
    )]
    SystemtapCompile {
        /// The kernel's release.
        release: String,
        /// Its own words, shortened.
        message: String,
    },
    /// There is no process with this number.
    #[error("there is no process {pid}: `pgrep -a python` lists the ones that run Python")]
    NoSuchProcess {
        /// The number asked for.
        pid: u32,
    },
    /// There is no container with this id or name.
    #[error(
        "there is no running container {name}: no control group has such an id, {asked}; `podman ps` or `docker ps` lists them"
    )]
    NoSuchContainer {
        /// The id or name asked for.
        name: String,
        /// What the engines said.
        asked: String,
    },
    /// Several containers have an id that begins like this.
    #[error("several containers have ids that begin with {name}: {}; give more of it", candidates.join(", "))]
    AmbiguousContainer {
        /// The beginning.
        name: String,
        /// The whole ids, or the control groups of that name.
        candidates: Vec<String>,
    },
    /// The container has ended, or was not started.
    #[error("container {name} is not running: `{engine} start {name}` starts it")]
    ContainerNotRunning {
        /// The id or name asked for.
        name: String,
        /// The engine that knows it.
        engine: &'static str,
    },
    /// There is no such control group.
    #[error("there is no control group {}: name its folder below /sys/fs/cgroup, or what /proc/PID/cgroup says", path.display())]
    NoSuchCgroup {
        /// What was asked for.
        path: PathBuf,
    },
    /// None of several processes has an interpreter with markers.
    #[error("none of the {processes} processes of {target} runs a Python with GIL markers{}", without_markers(without.as_deref()))]
    NoneWithMarkers {
        /// What was asked for.
        target: String,
        /// How many processes it has.
        processes: usize,
        /// An interpreter without markers in one of them.
        without: Option<PathBuf>,
    },
    /// No process runs the interpreter with this build id.
    #[error(
        "no process of this machine runs a Python with GIL markers and a build id that begins with {build_id}{}; `gilbuild verify PID` \
         prints that of a process",
        running(others)
    )]
    NoSuchBuild {
        /// The build id asked for.
        build_id: String,
        /// Those of the interpreters that run.
        others: Vec<String>,
    },
    /// It is somebody else's.
    #[error(
        "cannot look into process {pid}: {what} is closed to this user; run it again with sudo, or with CAP_SYS_PTRACE besides CAP_BPF and \
         CAP_PERFMON, and with CAP_DAC_READ_SEARCH where the file itself is closed"
    )]
    NotAllowed {
        /// The process.
        pid: u32,
        /// What could not be read.
        what: String,
    },
    /// The process could not be looked at.
    #[error("cannot read what process {pid} has mapped: {source}")]
    Maps {
        /// The process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// It does not run Python.
    #[error(
        "process {pid} ({name}) does not run Python: no file with GIL markers, and none named like an interpreter, is mapped into it"
    )]
    NotPython {
        /// The process.
        pid: u32,
        /// Its name (`comm`).
        name: String,
    },
    /// It runs Python without markers.
    #[error(
        "process {pid} runs a Python without GIL markers ({}): build one that has them with `gilbuild build`, or an image with \
         `gilbuild image`, and start the program with it",
        file.display()
    )]
    WithoutMarkers {
        /// The process.
        pid: u32,
        /// The interpreter's file, as the process names it.
        file: PathBuf,
    },
    /// The command could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command, as typed.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The command ended before an interpreter with markers was seen in it.
    #[error(
        "`{command}` ended ({status}) before a Python with GIL markers was seen in it: it must run a Python made by `gilbuild build`"
    )]
    CommandEnded {
        /// The command, as typed.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A tracing tool could not be run, or talked to.
    #[error("cannot run {tool}: {source}")]
    Tool {
        /// The tool.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A tracing tool ended before it had attached.
    #[error("{tool} could not attach to process {pid}: {message}")]
    Attach {
        /// The tool.
        tool: &'static str,
        /// The process.
        pid: u32,
        /// The tool's own words, shortened.
        message: String,
    },
    /// The native tracer could not load or attach its program.
    #[error(
        "the native tracer could not attach to process {pid}: {message}; `--backend bpftrace` may work, and `gilbuild verify {pid}` \
         checks the markers"
    )]
    AttachNative {
        /// The process.
        pid: u32,
        /// The reason, of ours or of libbpf.
        message: String,
    },
    /// The totals could not be read out of the kernel.
    #[error(
        "{message}: what was counted is lost; record again, with `--mode events` if it stays so"
    )]
    Totals {
        /// Why.
        message: String,
    },
    /// The scripts cannot do what was asked for.
    #[error("`{what}` is the native tracer's: leave out `--backend`, or it")]
    NeedsNative {
        /// What was asked for.
        what: &'static str,
    },
    /// What cannot be in a summary.
    #[error(
        "`{what}` needs a trace to write into, and a summary is none: use `--mode slow` or `--mode events`"
    )]
    NeedsTrace {
        /// What was asked for.
        what: &'static str,
    },
    /// The kernel is older than the native tracer's program needs.
    #[error(
        "the native tracer needs Linux 5.12 or newer, and this is {release}: use `--backend bpftrace`"
    )]
    KernelTooOld {
        /// The kernel's release.
        release: String,
    },
    /// The kernel does not tell where its structures' fields are.
    #[error(
        "the native tracer needs the kernel's type information, and {release} has no /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF): \
         use `--backend bpftrace`"
    )]
    NoBtf {
        /// The kernel's release.
        release: String,
    },
    /// A tracing tool did not attach in time.
    #[error("{tool} had not attached to process {pid} after {} s and was stopped: {message}", waited.as_secs())]
    AttachTimeout {
        /// The tool.
        tool: &'static str,
        /// The process.
        pid: u32,
        /// How long it was given.
        waited: Duration,
        /// The tool's own words, shortened.
        message: String,
    },
    /// The output file is there already.
    #[error("{} exists: name another file with -o, or overwrite it with --force", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The output could not be written. What was written before is a valid trace.
    #[error("cannot write the trace: {source}")]
    Write {
        /// Why; names the file.
        source: io::Error,
    },
    /// The process ended while the tracer was still attaching.
    #[error("process {pid} ended before the tracer was attached")]
    EndedEarly {
        /// The process.
        pid: u32,
    },
    /// The user stopped it before anything was recorded.
    #[error("stopped before the tracer was attached: nothing was recorded")]
    Interrupted,
}

fn running(build_ids: &[String]) -> String {
    if build_ids.is_empty() {
        ": none has markers".to_owned()
    } else {
        format!(": those that have markers are {}", build_ids.join(", "))
    }
}

fn without_markers(file: Option<&std::path::Path>) -> String {
    match file {
        Some(file) => format!(
            " ({} has none): build one that has them with `gilbuild build`, or an image with `gilbuild image`",
            file.display()
        ),
        None => String::new(),
    }
}

impl RecordError {
    /// Whether the reason is this machine or this user's rights (a missing privilege, kernel feature or tool) rather than
    /// what was asked for.
    #[must_use]
    pub fn is_about_this_machine(&self) -> bool {
        matches!(
            self,
            Self::NotRoot { .. }
                | Self::NotAllowed { .. }
                | Self::MissingCapability { .. }
                | Self::KernelTooOld { .. }
                | Self::NoBtf { .. }
                | Self::BpftraceMissing
                | Self::BpftraceUnusable { .. }
                | Self::BpftraceTooOld { .. }
                | Self::SystemtapMissing
                | Self::SystemtapCompile { .. }
        )
    }
}
