//! `gilbuild matrix`: what a CI matrix has to build; with `--run`, built here.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::build::options::{Markers, Optimize};
use crate::error::{CommandError, Exit};
use crate::matrix::cell::Cell;
use crate::matrix::file::{FileError, MatrixFile, NAME};
use crate::matrix::run::{Ended, Outcome, RunOptions, minutes, run as build};
use crate::terminal;

/// Print the builds that a CI matrix goes through, or go through them here
///
/// What a team builds is said in gilbuild.toml; without one, it is every supported series.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The file that says what there is to build [default: gilbuild.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of what is printed [default: json; with --run, a table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The compiler's effort, instead of what the file says
    #[arg(long, value_enum)]
    optimize: Option<Optimize>,
    /// The markers and their nop, instead of what the file says (several, separated by commas)
    #[arg(long, value_enum, value_delimiter = ',')]
    markers: Vec<Markers>,
    /// Only this cell, by its name (any number)
    #[arg(long, value_name = "NAME")]
    cell: Vec<String>,
    /// Build the cells on this machine; what an earlier run has built is not built again
    #[arg(long)]
    run: bool,
    /// How many cells are built at once
    #[arg(long, value_name = "N", requires = "run", default_value = "1")]
    jobs: NonZeroUsize,
    /// Where images, records and logs go
    #[arg(
        long,
        value_name = "DIR",
        requires = "run",
        default_value = "gilbuild-matrix"
    )]
    folder: PathBuf,
    /// Send the images to the registries that the tags name
    #[arg(long, requires = "run")]
    push: bool,
}

/// The forms of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A list of objects
    Json,
    /// One line for a job's output on GitHub: `matrix={"include":[…]}`
    Github,
}

/// Runs the command.
///
/// # Errors
/// When the file is not understood or, with `--run`, a cell could not be built.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let file = file(arguments)?;
    let cells = file
        .cells()
        .map_err(|error| CommandError::because(Exit::Usage, &error))?;
    let cells = chosen(cells, &arguments.cell)?;
    if arguments.run {
        return run_here(&file, &cells, arguments);
    }
    let text = match arguments.format.unwrap_or(Format::Json) {
        Format::Json => json(&cells)?,
        Format::Github => {
            let matrix = serde_json::json!({ "include": cells });
            format!("matrix={matrix}")
        }
    };
    Ok(terminal::result(&text)?)
}

/// What the team says, with what was typed put in its place.
fn file(arguments: &Arguments) -> Result<MatrixFile, CommandError> {
    let own = Path::new(NAME);
    let path = arguments
        .config
        .as_deref()
        .or_else(|| own.is_file().then_some(own));
    let mut file = match path {
        Some(path) => MatrixFile::read(path).map_err(|error| {
            let exit = match error {
                FileError::Io(_) => Exit::Failed,
                _ => Exit::Usage,
            };
            CommandError::because(exit, &error)
        })?,
        None => MatrixFile::default(),
    };
    if let Some(optimize) = arguments.optimize {
        file.optimize = optimize;
    }
    if !arguments.markers.is_empty() {
        file.markers.clone_from(&arguments.markers);
    }
    Ok(file)
}

fn chosen(mut cells: Vec<Cell>, names: &[String]) -> Result<Vec<Cell>, CommandError> {
    for name in names {
        if !cells.iter().any(|cell| cell.name == *name) {
            let known: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
            return Err(CommandError::new(
                Exit::Usage,
                format!("there is no cell `{name}`; there are {}", known.join(", ")),
            ));
        }
    }
    cells.retain(|cell| names.is_empty() || names.contains(&cell.name));
    if cells.is_empty() {
        return Err(CommandError::new(
            Exit::Usage,
            "there is nothing to build: everything is excluded",
        ));
    }
    Ok(cells)
}

fn run_here(file: &MatrixFile, cells: &[Cell], arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.format == Some(Format::Github) {
        return Err(CommandError::new(
            Exit::Usage,
            "--format github lists what there is to build; with --run, say json or nothing",
        ));
    }
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options = RunOptions {
        folder: std::path::absolute(&arguments.folder)?,
        jobs: arguments.jobs.get(),
        push: arguments.push,
        processors,
    };
    let ended = build(file, cells, &options)?;
    let text = match arguments.format {
        Some(_) => json(&ended)?,
        None => table(&ended),
    };
    terminal::result(&text)?;
    let failed = ended
        .iter()
        .filter(|end| end.result == Outcome::Failed)
        .count();
    if failed == 0 {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::Failed,
        format!(
            "{failed} of {} could not be built; the logs are in {}",
            ended.len(),
            options.folder.display()
        ),
    ))
}

fn table(ended: &[Ended]) -> String {
    let width = ended.iter().map(|end| end.cell.len()).max().unwrap_or(0);
    let rows = ended.iter().map(|end| {
        let result = match end.result {
            Outcome::Built => "built",
            Outcome::Ready => "ready",
            Outcome::Failed => "failed",
        };
        let time = match end.result {
            Outcome::Ready => String::new(),
            Outcome::Built | Outcome::Failed => minutes(end.seconds),
        };
        // Of a failure only what it is; the log tells the rest.
        let said = match end.result {
            Outcome::Failed => end.said[..end.said.len().min(1)].join(""),
            Outcome::Built | Outcome::Ready => end.said.join(" "),
        };
        let said = said.trim_end_matches(':');
        format!("{:width$}  {result:6}  {time:>11}  {said}", end.cell)
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn json(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string_pretty(value).map_err(|error| CommandError::because(Exit::Failed, &error))
}
