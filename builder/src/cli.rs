//! The command line: what was typed, and which command it means.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::error::CommandError;
use crate::terminal;

/// Is it me, or the GIL?
///
/// Builds CPython with GIL markers, records running processes, and says who holds the GIL and who waits for it.
#[derive(Debug, Parser)]
#[command(name = "gilbuild", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(commands::quickstart::Arguments),
    Build(commands::build::Arguments),
    // Boxed: it has many more options than the others.
    Image(Box<commands::image::Arguments>),
    Package(commands::package::Arguments),
    List(commands::list::Arguments),
    Verify(commands::verify::Arguments),
    Selftest(commands::selftest::Arguments),
    Record(commands::record::Arguments),
    Top(commands::top::Arguments),
    Report(commands::report::Arguments),
    Diff(commands::diff::Arguments),
    Merge(commands::merge::Arguments),
    Matrix(commands::matrix::Arguments),
    Sources(commands::sources::Arguments),
    Patch(commands::patch::Arguments),
    Script(commands::script::Arguments),
    Doctor(commands::doctor::Arguments),
}

impl Command {
    fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::Quickstart(arguments) => commands::quickstart::run(arguments),
            Self::Build(arguments) => commands::build::run(arguments),
            Self::Image(arguments) => commands::image::run(arguments),
            Self::Package(arguments) => commands::package::run(arguments),
            Self::List(arguments) => commands::list::run(arguments),
            Self::Verify(arguments) => commands::verify::run(arguments),
            Self::Selftest(arguments) => commands::selftest::run(arguments),
            Self::Record(arguments) => commands::record::run(arguments),
            Self::Top(arguments) => commands::top::run(arguments),
            Self::Report(arguments) => commands::report::run(arguments),
            Self::Diff(arguments) => commands::diff::run(arguments),
            Self::Merge(arguments) => commands::merge::run(arguments),
            Self::Matrix(arguments) => commands::matrix::run(arguments),
            Self::Patch(arguments) => commands::patch::run(arguments),
            Self::Sources(arguments) => commands::sources::run(arguments),
            Self::Script(arguments) => commands::script::run(arguments),
            Self::Doctor(arguments) => commands::doctor::run(arguments),
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    // clap itself exits with 2 on wrong usage.
    match Cli::parse().command.run() {
        Ok(()) | Err(CommandError::OutputClosed) => ExitCode::SUCCESS,
        Err(CommandError::Failure { message, exit }) => {
            terminal::error(&message);
            exit.into()
        }
    }
}
