//! `gilbuild matrix`: what a CI matrix has to build.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::build::options::{Markers, Optimize};
use crate::build::patching;
use crate::error::{CommandError, Exit};
use crate::terminal;

/// Print the builds that a CI matrix goes through: each supported series
#[derive(Debug, Args)]
pub struct Arguments {
    /// The form of the list
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// The compiler's effort, for all of them
    #[arg(long, value_enum, default_value_t = Optimize::PgoLto)]
    optimize: Optimize,
    /// The markers and their nop; several, separated by commas, give a build each
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Markers::Nop])]
    markers: Vec<Markers>,
}

/// The forms of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A list of objects
    Json,
    /// One line for a job's output on GitHub: `matrix={"include":[…]}`
    Github,
}

#[derive(Serialize)]
struct Entry {
    python: String,
    markers: Markers,
    optimize: Optimize,
}

/// Runs the command.
///
/// # Errors
/// When stdout cannot be written to.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let mut entries = Vec::new();
    for series in patching::supported() {
        for &markers in &arguments.markers {
            entries.push(Entry {
                python: series.to_string(),
                markers,
                optimize: arguments.optimize,
            });
        }
    }
    let text = match arguments.format {
        Format::Json => serde_json::to_string_pretty(&entries),
        Format::Github => serde_json::to_string(&serde_json::json!({ "include": entries }))
            .map(|matrix| format!("matrix={matrix}")),
    };
    let text = text.map_err(|error| CommandError::because(Exit::Failed, &error))?;
    Ok(terminal::result(&text)?)
}
