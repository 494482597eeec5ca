//! `gilbuild verify`: holds the markers of a prefix, a file or a process against the contract.

use std::path::{Path, PathBuf};

use clap::Args;
use gil_probes::catalogue::CONTRACT_VERSION;
use gil_probes::check::{Outcome, check};
use gil_probes::elf::{self, Image};

use crate::build::verification;
use crate::error::{CommandError, Exit};
use crate::terminal;

/// Check that the markers of an interpreter keep the contract
///
/// Prints each marker with its address and arguments, and fails when one is missing, copied or unreadable.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A prefix, an ELF file (python or libpython), or the id of a running process
    #[arg(value_name = "PREFIX|ELF|PID")]
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the target cannot be read or its markers break the contract.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let path = locate(&arguments.target)?;
    let image = elf::read(&path).map_err(|error| CommandError::because(Exit::Failed, &error))?;
    let outcome = check(&image);
    if arguments.json {
        let text = json(&path, &image, &outcome)
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        terminal::result(&text)?;
    } else {
        print(&path, &image, &outcome)?;
    }
    if outcome.faults.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::Failed,
        format!(
            "{}: {}; build an interpreter with markers by `gilbuild build 3.13`",
            path.display(),
            verification::faults(&outcome)
        ),
    ))
}

/// The file that holds the interpreter's code.
fn locate(target: &str) -> Result<PathBuf, CommandError> {
    let path = Path::new(target);
    if path.is_dir() {
        return verification::interpreter_file(path)
            .map_err(|error| CommandError::because(Exit::Failed, &error));
    }
    if path.exists() {
        return Ok(path.to_owned());
    }
    Err(CommandError::new(
        Exit::Failed,
        format!("{target} is no prefix, no file and no process: name one of them"),
    ))
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
        for (index, (operand, name)) in found.note.operands().zip(names).enumerate() {
            let text =
                operand.map_or_else(|| "no operand".to_owned(), |operand| operand.to_string());
            terminal::result(&format!("  {index} {name:<8} {text}"))?;
        }
    }
    Ok(())
}

fn json(path: &Path, image: &Image, outcome: &Outcome) -> Result<String, serde_json::Error> {
    let markers: Vec<_> = outcome
        .found
        .iter()
        .map(|found| {
            serde_json::json!({
                "provider": found.note.provider,
                "name": found.note.name,
                "address": found.note.address,
                "file_offset": image.file_offset(found.note.address),
                "semaphore": found.note.semaphore,
                "nop": found.nop.map(|nop| nop.to_string()),
                "arguments": found.note.operands().map(|operand| operand.map(|operand| operand.to_string())).collect::<Vec<_>>(),
            })
        })
        .collect();
    let faults: Vec<String> = outcome.faults.iter().map(ToString::to_string).collect();
    serde_json::to_string_pretty(&serde_json::json!({
        "file": path,
        "build_id": image.build_id,
        "contract": CONTRACT_VERSION,
        "markers": markers,
        "faults": faults,
    }))
}
