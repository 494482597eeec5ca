//! `gilbuild script`: lists, shows, runs and exports the bundled SystemTap and bpftrace scripts.

mod watch;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fs_err as fs;
use gil_containers::base::Base;
use gil_containers::registry::Transport;
use gil_record::scripts::{self, SCRIPTS, Script};

use self::watch::Subject;
use crate::error::{CommandError, Exit};
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
    /// Run a script on a process, or on all that run one interpreter
    ///
    /// Needs root. SystemTap compiles a kernel module first, which takes a minute.
    Run {
        /// Its name, as `gilbuild script list` prints it
        name: String,
        #[command(flatten)]
        subject: Subject,
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
            subject,
            arguments,
        } => watch::watch(find(name)?, subject, arguments),
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
