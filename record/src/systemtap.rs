//! The tracer that drives SystemTap with the bundled scripts.
//!
//! In two steps, as by hand on a host without a compiler: `stap -p4` makes a kernel module of the script, which SystemTap keeps for
//! the next time; `staprun` loads it and hands on what it prints.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::RecordError;
use crate::interpreter::Interpreter;
use crate::options::Mode;
use crate::privilege;
use crate::process::Process;
use crate::scripted::{self, Start};
use crate::scripts::{self, Tool};
use crate::stop::StopFlag;
use crate::tracer::{Plan, Session, Tracer};

const TOOL: &str = "SystemTap";
/// MiB for output that was not read yet, for each processor.
const EVENT_BUFFERS: &str = "64";
const TICK: Duration = Duration::from_millis(50);

/// Drives SystemTap.
#[derive(Debug)]
pub(crate) struct Systemtap {
    /// Where a runtime that fits the kernel is kept, if SystemTap's own does not.
    pub(crate) cache: Option<PathBuf>,
}

impl Tracer for Systemtap {
    fn check(&self) -> Result<(), RecordError> {
        privilege::check_is_root()?;
        let found = Command::new("stap")
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RecordError::SystemtapMissing)
            }
            Err(source) => Err(failed(source)),
            Ok(_) => Ok(()),
        }
    }

    fn attach(&self, plan: Plan, stop: &StopFlag) -> Result<Box<dyn Session>, RecordError> {
        let Some(interpreter) = plan.interpreters.first() else {
            return Err(RecordError::Interrupted);
        };
        let pid = interpreter.pid;
        let process = Process::open(pid).ok_or(RecordError::EndedEarly { pid })?;
        let folder = tempfile::Builder::new()
            .prefix("gilbuild-")
            .tempdir()
            .map_err(failed)?;
        scripts::write_all(folder.path()).map_err(failed)?;
        let script = match plan.task.mode {
            Mode::Summary => "gil-summary.stp",
            // It is not asked for the latter.
            Mode::Events | Mode::Slow(_) => "gil-events.stp",
        };
        let scripts = folder.path().join(Tool::Systemtap.folder());
        demand_here(interpreter)?;
        let mut compile = compiler(&scripts, self.cache.as_deref())?;
        compile
            .arg("-p4")
            .arg(scripts.join(script))
            .arg(&interpreter.file);
        let module = module(compile, folder.path(), &process, stop)?;

        let mut command = Command::new("staprun");
        command
            .args(["-b", EVENT_BUFFERS, "-x", &pid.to_string()])
            .arg(module);
        let start = Start {
            tool: TOOL,
            command,
            folder,
        };
        start.attach(plan.output, &process, stop)
    }
}

/// `stap`, told where the tapset is, with a runtime that compiles against this kernel's headers. `scripts` is the folder of the
/// SystemTap scripts. What is still to be added: the script, and the interpreter's file.
///
/// # Errors
///
/// [`RecordError::Tool`], [`RecordError::SystemtapCompile`].
pub fn compiler(scripts: &Path, cache: Option<&Path>) -> Result<Command, RecordError> {
    let mut stap = Command::new("stap");
    stap.arg("-R")
        .arg(runtime(scripts, cache)?)
        .arg("-I")
        .arg(scripts.join("tapset"));
    Ok(stap)
}

/// Demands that an interpreter's file is one that SystemTap finds.
///
/// # Errors
///
/// [`RecordError::Elsewhere`].
pub fn demand_here(interpreter: &Interpreter) -> Result<(), RecordError> {
    if is_elsewhere(&interpreter.file, &interpreter.reachable) {
        return Err(RecordError::Elsewhere {
            pid: interpreter.pid,
            file: interpreter.file.clone(),
        });
    }
    Ok(())
}

/// Whether a path means another file to the process than to us. SystemTap compares the names of files as the process sees them, and
/// looks the file up by that name here, when it compiles and again when its module is loaded: it cannot see into a container. (Tried:
/// `--sysroot` with /proc/PID/root, and with a copy of the file; the path from here to a chrooted process's file.)
fn is_elsewhere(file: &Path, reachable: &Path) -> bool {
    let identity = |path: &Path| {
        fs::metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .ok()
    };
    identity(file).is_none() || identity(file) != identity(reachable)
}

/// A runtime of SystemTap's that compiles against this kernel's headers.
fn runtime(scripts: &Path, cache: Option<&Path>) -> Result<PathBuf, RecordError> {
    let copy = cache.unwrap_or(scripts).join("systemtap-runtime");
    let output = Command::new(scripts.join("runtime-for"))
        .arg(format!("/lib/modules/{}/build", release()))
        .arg(copy)
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        return Err(cannot_compile(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}

/// Compiles, and returns the module's path. What the compiler prints goes to files in `folder`.
fn module(
    mut compile: Command,
    folder: &Path,
    process: &Process,
    stop: &StopFlag,
) -> Result<PathBuf, RecordError> {
    let (printed, messages) = (folder.join("module"), folder.join("messages"));
    compile
        // Where it may keep no module, stap leaves it in the folder it runs in.
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&printed).map_err(failed)?.into_file())
        .stderr(fs::File::create(&messages).map_err(failed)?.into_file());
    let status = run(compile, process, stop)?;
    let text = fs::read_to_string(printed).map_err(failed)?;
    if let Some(module) = text.lines().last().filter(|_| status.success()) {
        return Ok(folder.join(module.trim()));
    }
    let messages = fs::read(messages).map_err(failed)?;
    Err(cannot_compile(&String::from_utf8_lossy(&messages)))
}

/// Waits for the compiler; not longer than anybody wants its module.
fn run(
    mut command: Command,
    process: &Process,
    stop: &StopFlag,
) -> Result<ExitStatus, RecordError> {
    // A group of its own: it starts compilers.
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        let given_up = if process.has_ended() {
            RecordError::EndedEarly { pid: process.pid }
        } else if stop.is_set() {
            RecordError::Interrupted
        } else {
            thread::sleep(TICK);
            continue;
        };
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        let _ = child.wait();
        return Err(given_up);
    }
}

fn cannot_compile(messages: &str) -> RecordError {
    RecordError::SystemtapCompile {
        release: release(),
        message: scripted::shorten(messages),
    }
}

fn failed(source: io::Error) -> RecordError {
    RecordError::Tool { tool: TOOL, source }
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
