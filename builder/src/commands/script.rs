//! `gilbuild script`: lists, shows, runs and exports the bundled SystemTap and bpftrace scripts.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::{Args, Subcommand};
use fs_err as fs;
use gil_containers::base::Base;
use gil_containers::registry::Transport;
use gil_record::scripts::{self, SCRIPTS, Script, Tool};
use gil_record::systemtap;
use signal_hook::consts::SIGINT;

use super::record;
use crate::error::{CommandError, Exit};
use crate::folders;
use crate::host::{self, Facts};
use crate::image::inspect::inspect;
use crate::terminal;

/// List, show, run or export the SystemTap and bpftrace scripts
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print their names and what they are for
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a script
    Show {
        /// Its name, as `gilbuild script list` prints it
        name: String,
        /// Print what it prints instead: its example
        #[arg(long)]
        example: bool,
    },
    /// Run a script on a process
    ///
    /// Needs root. SystemTap compiles a kernel module first, which takes a minute.
    Run {
        /// Its name, as `gilbuild script list` prints it
        name: String,
        /// The process to watch; it may be in a container
        #[arg(long)]
        pid: u32,
        /// What the script takes: limits in milliseconds, seconds between reports; see its first lines
        #[arg(last = true, value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },
    /// Write all scripts, with what they need and their examples, to a folder
    Export {
        /// The folder; it must be empty or not exist
        folder: PathBuf,
        /// Take those that came with an image, which fit its markers; it is not run (oci:DIR[:TAG], oci-archive:FILE[:TAG], or
        /// NAME:TAG in a registry)
        #[arg(long, value_name = "IMAGE")]
        from: Option<Base>,
    },
}

/// Runs the command.
///
/// # Errors
/// When there is no such script, this machine cannot run it, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    match &arguments.action {
        Action::List { json } => list(*json),
        Action::Show { name, example } => {
            let script = find(name)?;
            let text = if *example {
                script.example
            } else {
                script.text
            };
            Ok(terminal::result(text.trim_end_matches('\n'))?)
        }
        Action::Run {
            name,
            pid,
            arguments,
        } => watch(find(name)?, *pid, arguments),
        Action::Export { folder, from } => export(folder, from.as_ref()),
    }
}

fn find(name: &str) -> Result<&'static Script, CommandError> {
    Script::find(name).ok_or_else(|| {
        let names: Vec<_> = SCRIPTS.iter().map(|script| script.name).collect();
        CommandError::new(
            Exit::Usage,
            format!(
                "there is no script {name}: choose one of {}",
                names.join(", ")
            ),
        )
    })
}

fn list(json: bool) -> Result<(), CommandError> {
    if json {
        let list: Vec<_> = SCRIPTS
            .iter()
            .map(|script| serde_json::json!({"name": script.name, "tool": script.tool.folder(), "purpose": script.purpose()}))
            .collect();
        let text = serde_json::to_string_pretty(&list)
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        return Ok(terminal::result(&text)?);
    }
    for script in &SCRIPTS {
        terminal::result(&format!("{:<16} {}", script.name, script.purpose()))?;
    }
    Ok(())
}

/// Runs a script on a process until the script ends or the user stops it.
fn watch(script: &Script, pid: u32, arguments: &[String]) -> Result<(), CommandError> {
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
    let interpreter = gil_record::interpreter_of(pid).map_err(|error| record::failure(&error))?;
    let facts = Facts::of_this_machine();
    let folder = tempfile::Builder::new().prefix("gilbuild-").tempdir()?;
    scripts::write_all(folder.path())?;
    // Ctrl-C is for the tracer, which prints its report then; gilbuild waits for that.
    signal_hook::flag::register(SIGINT, std::sync::Arc::default())?;
    let pid = pid.to_string();
    let status = match script.tool {
        Tool::Bpftrace => {
            host::bpftrace(&facts).demand()?;
            start(
                Command::new("bpftrace")
                    .arg("-p")
                    .arg(&pid)
                    .arg(folder.path().join(script.tool.folder()).join(script.name))
                    .args(arguments),
            )?
        }
        Tool::Systemtap => {
            host::systemtap(&facts).demand()?;
            let folder = folder.path().join(script.tool.folder());
            let cache = folders::cache().ok();
            let mut stap = systemtap::compiler(&folder, cache.as_deref(), &interpreter)
                .map_err(|error| record::failure(&error))?;
            stap.args(["-x", &pid]);
            start(
                stap.arg(folder.join(script.name))
                    .arg(&interpreter.file)
                    .args(arguments),
            )?
        }
    };
    ended(script, status)
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

fn export(folder: &Path, from: Option<&Base>) -> Result<(), CommandError> {
    if folder.exists() && fs::read_dir(folder)?.next().is_some() {
        return Err(CommandError::new(
            Exit::Failed,
            format!(
                "{} is not empty: name a folder that is empty or does not exist yet",
                folder.display()
            ),
        ));
    }
    match from {
        None => scripts::write_all(folder)?,
        Some(image) => {
            let inspected = inspect(image, Transport::Encrypted)
                .map_err(|error| CommandError::because(Exit::Failed, &error))?;
            let copied = inspected.copy_scripts(folder)?;
            if copied == 0 {
                return Err(CommandError::new(
                    Exit::Failed,
                    format!(
                        "{image} has no scripts in {}: it was not made by gilbuild with markers; leave --from out for those of this gilbuild",
                        inspected.description.display()
                    ),
                ));
            }
        }
    }
    Ok(terminal::result(&folder.display().to_string())?)
}
