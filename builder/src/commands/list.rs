//! `gilbuild list`: the interpreters that were built.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::build::prefix::{self, BuildRecord};
use crate::error::{CommandError, Exit};
use crate::folders;
use crate::terminal;

/// List the interpreters that were built
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON, with the whole record of each build
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    prefix: PathBuf,
    #[serde(flatten)]
    record: BuildRecord,
}

/// Runs the command.
///
/// # Errors
/// When the folder of the interpreters cannot be read.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let home = folders::home().map_err(|error| CommandError::because(Exit::Failed, &error))?;
    let found = prefix::list(&home.join("pythons"))?;
    if arguments.json {
        let rows: Vec<Row> = found
            .into_iter()
            .map(|(prefix, record)| Row { prefix, record })
            .collect();
        let text = serde_json::to_string_pretty(&rows)
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        return Ok(terminal::result(&text)?);
    }
    if found.is_empty() {
        terminal::warning("nothing was built yet: try `gilbuild build 3.13`");
    }
    for (prefix, record) in found {
        terminal::result(&format!(
            "{:<12} markers {:<5} optimize {:<8} {}",
            record.python,
            record.markers,
            record.optimize,
            prefix.display()
        ))?;
    }
    Ok(())
}
