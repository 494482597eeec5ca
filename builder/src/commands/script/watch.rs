//! `gilbuild script run`: a script on a process, or on every process that runs an ELF file.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::Args;
use gil_probes::check::check;
use gil_probes::elf;
use gil_record::scripts::{self, Script, Tool};
use gil_record::{Interpreter, systemtap};
use signal_hook::consts::SIGINT;

use crate::build::verification;
use crate::commands::record;
use crate::error::{CommandError, Exit};
use crate::folders;
use crate::host::{self, Facts};

/// What a script watches.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Subject {
    /// The process to watch; it may be in a container
    #[arg(long)]
    pid: Option<u32>,
    /// The file that holds an interpreter's markers (libpython, or python itself): every process that runs it is watched, also those
    /// that start later
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
}

/// The same, looked at.
enum Watched {
    Process(Interpreter),
    File(PathBuf),
}

impl Subject {
    fn look(&self) -> Result<Watched, CommandError> {
        match (self.pid, &self.elf) {
            (_, Some(file)) => {
                let image =
                    elf::read(file).map_err(|error| CommandError::because(Exit::Failed, &error))?;
                let outcome = check(&image);
                if outcome.faults.is_empty() {
                    return Ok(Watched::File(fs_err::canonicalize(file)?));
                }
                Err(CommandError::new(
                    Exit::Failed,
                    format!(
                        "{}: {}; `gilbuild build 3.13` builds an interpreter with markers",
                        file.display(),
                        verification::faults(&outcome)
                    ),
                ))
            }
            (pid, None) => gil_record::interpreter_of(pid.unwrap_or_default())
                .map(Watched::Process)
                .map_err(|error| record::failure(&error)),
        }
    }
}

/// Runs a script until it ends or the user stops it.
pub(super) fn watch(
    script: &Script,
    subject: &Subject,
    arguments: &[String],
) -> Result<(), CommandError> {
    for argument in arguments {
        // They become part of the script's text.
        if !argument
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric())
        {
            return Err(CommandError::new(
                Exit::Usage,
                format!("`{argument}` is no argument for a script: they are numbers and words"),
            ));
        }
    }
    let watched = subject.look()?;
    let facts = Facts::of_this_machine();
    let folder = tempfile::Builder::new().prefix("gilbuild-").tempdir()?;
    // Ctrl-C is for the tracer, which prints its report then; gilbuild waits for that.
    signal_hook::flag::register(SIGINT, std::sync::Arc::default())?;
    let mut tracer = match script.tool {
        Tool::Bpftrace => {
            host::bpftrace(&facts).demand()?;
            bpftrace(script, &watched, folder.path())?
        }
        Tool::Systemtap => {
            host::systemtap(&facts).demand()?;
            stap(script, &watched, folder.path())?
        }
    };
    let status = start(tracer.args(arguments))?;
    ended(script, status)
}

fn bpftrace(script: &Script, watched: &Watched, folder: &Path) -> Result<Command, CommandError> {
    let mut bpftrace = Command::new("bpftrace");
    match watched {
        Watched::Process(interpreter) => {
            scripts::write_all(folder)?;
            bpftrace
                .args(["-p", &interpreter.pid.to_string()])
                .arg(folder.join(script.tool.folder()).join(script.name));
        }
        Watched::File(file) => {
            bpftrace.arg(script.write_for(file, folder)?);
        }
    }
    Ok(bpftrace)
}

fn stap(script: &Script, watched: &Watched, folder: &Path) -> Result<Command, CommandError> {
    scripts::write_all(folder)?;
    let folder = folder.join(script.tool.folder());
    let cache = folders::cache().ok();
    if let Watched::Process(interpreter) = watched {
        systemtap::demand_here(interpreter).map_err(|error| record::failure(&error))?;
    }
    let mut stap =
        systemtap::compiler(&folder, cache.as_deref()).map_err(|error| record::failure(&error))?;
    if let Watched::Process(interpreter) = watched {
        stap.args(["-x", &interpreter.pid.to_string()]);
    }
    stap.arg(folder.join(script.name)).arg(match watched {
        Watched::Process(interpreter) => &interpreter.file,
        Watched::File(file) => file,
    });
    Ok(stap)
}

fn start(command: &mut Command) -> Result<ExitStatus, CommandError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .status()
        .map_err(|error| CommandError::new(Exit::Failed, format!("cannot run {program}: {error}")))
}

fn ended(script: &Script, status: ExitStatus) -> Result<(), CommandError> {
    if status.success() {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::Failed,
        format!(
            "{} ended with {status}; what its tracer printed above says why, and `gilbuild doctor` what this machine lacks",
            script.name
        ),
    ))
}
