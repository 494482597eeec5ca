//! `gilbuild verify`: holds the markers of a prefix, a file or a process against the contract.

use std::path::{Path, PathBuf};

use clap::Args;
use gil_containers::base::Base;
use gil_containers::registry::Transport;
use gil_probes::check::{Outcome, check};
use gil_probes::elf::{self, Image};

use super::record;
use crate::build::firing::{self, FireError, stalls, told};
use crate::build::verification;
use crate::error::{CommandError, Exit};
use crate::image::inspect::{Inspected, inspect};
use crate::terminal;

/// Check that the markers of an interpreter keep the contract
///
/// Prints each marker with its address and arguments, and fails when one is missing, copied or unreadable.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A prefix, an ELF file (python or libpython), the id of a running process, or an image, which is not run
    /// (oci:DIR[:TAG], oci-archive:FILE[:TAG], or NAME:TAG in a registry)
    #[arg(value_name = "PREFIX|ELF|PID|IMAGE")]
    target: String,
    /// Also run a small program on it with a tracer attached, and demand that each marker fires (a prefix; needs root)
    #[arg(long)]
    fire: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "fire")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the target cannot be read or its markers break the contract.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let located = locate(&arguments.target)?;
    let path = &located.shown;
    let image =
        elf::read(&located.file).map_err(|error| CommandError::because(Exit::Failed, &error))?;
    let outcome = check(&image);
    if arguments.json {
        let text = serde_json::to_string_pretty(&verification::manifest(path, &image, &outcome))
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        terminal::result(&text)?;
    } else {
        print(path, &image, &outcome)?;
    }
    if !outcome.faults.is_empty() {
        return Err(CommandError::new(
            Exit::Failed,
            format!(
                "{}: {}; `gilbuild build 3.13` builds an interpreter whose markers keep the contract",
                path.display(),
                verification::faults(&outcome)
            ),
        ));
    }
    if arguments.fire {
        let fired = fire(Path::new(&arguments.target), image.free_threaded)?;
        terminal::result(&format!("\nfired: {fired}"))?;
    }
    Ok(())
}

/// Fires the markers of a prefix or a program.
fn fire(target: &Path, free_threaded: bool) -> Result<String, CommandError> {
    let python = if target.is_dir() {
        target.join("bin/python3")
    } else {
        target.to_owned()
    };
    if !python.is_file() || is_library(&python) {
        return Err(CommandError::new(
            Exit::Usage,
            format!(
                "--fire starts a program: name a prefix or its bin/python3, not {}",
                target.display()
            ),
        ));
    }
    let failure = |error| match error {
        FireError::Record(error) => record::failure(&error),
        error => CommandError::because(Exit::Failed, &error),
    };
    // One without a GIL is made to have it.
    let with_gil: &[&str] = if free_threaded { &["-X", "gil=1"] } else { &[] };
    let fired = firing::fire(&python, with_gil).map_err(failure)?;
    // bpftrace alone, which has sufficed so far, reads no places; where the native tracer cannot run, it is said.
    let told = match told::fire(&python, with_gil) {
        Ok(told) => told.to_string(),
        Err(FireError::Record(error)) => format!("names and functions were not looked at: {error}"),
        Err(error) => return Err(failure(error)),
    };
    if !free_threaded {
        return Ok(format!("{fired}, {told}"));
    }
    let stalls = stalls::fire(&python).map_err(failure)?;
    Ok(format!("{fired}, {told}, {stalls}"))
}

fn is_library(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().contains(".so"))
}

/// The file that holds the interpreter's code.
struct Located {
    file: PathBuf,
    /// What to call it: an image's files are only unpacked for a while.
    shown: PathBuf,
    _image: Option<Inspected>,
}

impl From<PathBuf> for Located {
    fn from(file: PathBuf) -> Self {
        Self {
            shown: file.clone(),
            file,
            _image: None,
        }
    }
}

fn locate(target: &str) -> Result<Located, CommandError> {
    let path = Path::new(target);
    if path.is_dir() {
        return verification::interpreter_file(path)
            .map(Located::from)
            .map_err(|error| CommandError::because(Exit::Failed, &error));
    }
    if path.exists() {
        return Ok(path.to_owned().into());
    }
    if let Ok(pid) = target.parse() {
        return gil_record::interpreter_of(pid)
            .map(|interpreter| interpreter.reachable.into())
            .map_err(|error| record::failure(&error));
    }
    match target.parse() {
        Ok(image @ (Base::Oci(..) | Base::OciArchive(..) | Base::Registry(_))) => in_image(&image),
        _ => Err(CommandError::new(
            Exit::Failed,
            format!("{target} is no prefix, no file, no process id and no image: name one of them"),
        )),
    }
}

fn in_image(image: &Base) -> Result<Located, CommandError> {
    let inspected = inspect(image, Transport::Encrypted)
        .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    Ok(Located {
        file: inspected.interpreter.clone(),
        shown: inspected.inside.clone(),
        _image: Some(inspected),
    })
}

fn print(path: &Path, image: &Image, outcome: &Outcome) -> std::io::Result<()> {
    terminal::result(&format!("{}", path.display()))?;
    if let Some(build_id) = &image.build_id {
        terminal::result(&format!("build id  {build_id}"))?;
    }
    for found in &outcome.found {
        terminal::result("")?;
        terminal::result(&format!(
            "{}:{}  at {:#x}  semaphore {:#x}  {}",
            found.note.provider,
            found.note.name,
            found.note.address,
            found.note.semaphore,
            found
                .nop
                .map_or_else(|| "no nop".to_owned(), |nop| nop.to_string()),
        ))?;
        let names = found
            .marker
            .arguments
            .iter()
            .copied()
            .chain(std::iter::repeat("?"));
        let width = found.marker.arguments.iter().map(|name| name.len()).max();
        let width = width.unwrap_or(0).max(8);
        for (index, (operand, name)) in found.note.operands().zip(names).enumerate() {
            let text =
                operand.map_or_else(|| "no operand".to_owned(), |operand| operand.to_string());
            terminal::result(&format!("  {index} {name:<width$} {text}"))?;
        }
    }
    Ok(())
}
