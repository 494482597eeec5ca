//! `gilbuild patch`: the bundled patches, and whether they fit a source tree.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::build::patching::{self, PatchError};
use crate::error::{CommandError, Exit};
use crate::sources::{self, Version};
use crate::terminal;

/// Look at the patches that put the markers into CPython
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the series that there are patches for
    List,
    /// Say whether the patches of its version fit a source tree, which stays as it is
    Check {
        /// Source trees of CPython: folders
        #[arg(value_name = "TREE", required = true)]
        trees: Vec<PathBuf>,
    },
}

/// Runs the command.
///
/// # Errors
/// When a tree is none of CPython, of a series without patches, or one that a patch does not fit: all are looked at first.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    match &arguments.command {
        Command::List => list(),
        Command::Check { trees } => {
            let mut failed = 0;
            for tree in trees {
                if let Err(error) = check(tree) {
                    failed += 1;
                    terminal::warning(&error.to_string());
                }
            }
            if failed == 0 {
                return Ok(());
            }
            Err(CommandError::new(
                Exit::Failed,
                format!(
                    "{failed} of {} trees cannot be given markers: see above",
                    trees.len()
                ),
            ))
        }
    }
}

fn list() -> Result<(), CommandError> {
    for series in patching::supported() {
        // Those of a free-threaded build are all that there are.
        for patch in patching::bundled(&series.to_string(), true) {
            terminal::result(&format!("{:<5} {}", series.to_string(), patch.name))?;
        }
    }
    Ok(())
}

fn check(tree: &Path) -> Result<(), CommandError> {
    let failed = |error: &dyn std::error::Error| {
        CommandError::new(Exit::Failed, format!("{}: {error}", tree.display()))
    };
    let version = sources::version_of_tree(tree).map_err(|error| failed(&error))?;
    let series = version.series;
    let patches = patching::bundled(&series.to_string(), true);
    if patches.is_empty() {
        return Err(CommandError::new(
            Exit::Failed,
            format!(
                "{}: there are no patches for CPython {version}; `gilbuild patch list` says for which there are",
                tree.display()
            ),
        ));
    }
    patching::check(tree, &patches).map_err(|error| match error {
        PatchError::DoesNotFit {
            patch, rejected, ..
        } => {
            let hunks: Vec<_> = rejected.iter().map(ToString::to_string).collect();
            misfit(tree, version, &patch, &hunks.join(", "))
        }
        PatchError::Unusable { patch, reason, .. } => misfit(tree, version, &patch, &reason),
        other => failed(&other),
    })?;
    Ok(terminal::result(&format!(
        "{}: CPython {version}: all patches fit",
        tree.display()
    ))?)
}

fn misfit(tree: &Path, version: Version, patch: &str, reason: &str) -> CommandError {
    CommandError::new(
        Exit::Failed,
        format!(
            "{}: {patch} does not fit CPython {version}: {reason}; is it a distribution's tree, with patches of its own?",
            tree.display()
        ),
    )
}
