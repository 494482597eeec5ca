//! `gilbuild sources`: the table of CPython releases.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::{CommandError, Exit};
use crate::sources;
use crate::terminal;

/// Look after the table of CPython releases
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rewrite the table from pyenv's build definitions, keeping what only other places know
    Refresh {
        /// The folder with the definitions: pyenv's plugins/python-build/share/python-build
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The table to rewrite: builder/src/sources/releases.toml in a checkout of gilbuild
        #[arg(long, value_name = "FILE")]
        table: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// When the definitions cannot be read, contradict the table, or the table cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let Command::Refresh { from, table } = &arguments.command;
    let refreshed = sources::refresh(from, table)
        .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    for version in &refreshed.added {
        terminal::step("Added", &version.to_string());
    }
    Ok(terminal::result(&format!(
        "{} releases in {}",
        refreshed.total,
        table.display()
    ))?)
}
