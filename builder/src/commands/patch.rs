//! `gilbuild patch`: the bundled patches, and whether they fit a source tree.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use gil_containers::time::rfc3339;

use crate::build::patching::{self, Patch, PatchError};
use crate::build::refresh;
use crate::error::{CommandError, Exit};
use crate::output::Output;
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
    /// Write the patches of its version anew, with the line numbers that a source tree has
    ///
    /// A patch that fits at other lines than it says is written with the right ones. One that does not fit is left to you.
    Refresh {
        /// A source tree of CPython: a folder, which stays as it is
        tree: PathBuf,
        /// The folder to write them into: patches/3.13 in a checkout of gilbuild
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// When a tree is none of CPython, of a series without patches, or one that a patch does not fit: all are looked at first.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    match &arguments.command {
        Command::List => list(),
        Command::Refresh { tree, output } => refresh(tree, output),
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

/// The version of a tree, and the patches for it.
fn patches_for(tree: &Path) -> Result<(Version, Vec<Patch>), CommandError> {
    let version = sources::version_of_tree(tree).map_err(|error| failed(tree, &error))?;
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
    Ok((version, patches))
}

fn failed(tree: &Path, error: &dyn std::error::Error) -> CommandError {
    CommandError::new(Exit::Failed, format!("{}: {error}", tree.display()))
}

fn check(tree: &Path) -> Result<(), CommandError> {
    let (version, patches) = patches_for(tree)?;
    patching::check(tree, &patches).map_err(|error| refused(tree, version, error))?;
    Ok(terminal::result(&format!(
        "{}: CPython {version}: all patches fit",
        tree.display()
    ))?)
}

fn refresh(tree: &Path, folder: &Path) -> Result<(), CommandError> {
    use std::io::Write as _;
    let (version, patches) = patches_for(tree)?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let refreshed = refresh::refresh(tree, &patches, &rfc3339(now)[..10])
        .map_err(|error| refused(tree, version, error))?;
    fs_err::create_dir_all(folder)?;
    for (before, patch) in patches.iter().zip(refreshed) {
        let path = folder.join(&patch.name);
        let mut output = Output::new(Some(&path))?;
        output.write_all(patch.text.as_bytes())?;
        output.finish()?;
        let what = if patch.text == before.text {
            "as it was"
        } else {
            "refreshed"
        };
        terminal::result(&format!("{}: {what}", path.display()))?;
    }
    Ok(())
}

/// A patch does not fit, or cannot be tried.
fn refused(tree: &Path, version: Version, error: PatchError) -> CommandError {
    match error {
        PatchError::DoesNotFit {
            patch, rejected, ..
        } => {
            let hunks: Vec<_> = rejected.iter().map(ToString::to_string).collect();
            misfit(tree, version, &patch, &hunks.join(", "))
        }
        PatchError::Unusable { patch, reason, .. } => misfit(tree, version, &patch, &reason),
        other => failed(tree, &other),
    }
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
