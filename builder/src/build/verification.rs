//! From an installed prefix to a verified one: the markers keep their contract, the interpreter runs, its modules are there.

use std::path::{Path, PathBuf};

use gil_probes::catalogue::CONTRACT_VERSION;
use gil_probes::check::{Outcome, check};
use gil_probes::elf::{self, Image};

use super::options::Markers;
use super::workshop::Workshop;

/// Modules of the standard library that are only built where a library is installed, and the Debian package of each.
const OPTIONAL_MODULES: [(&str, &str); 9] = [
    ("bz2", "libbz2-dev"),
    ("ctypes", "libffi-dev"),
    ("curses", "libncurses-dev"),
    ("dbm.gnu", "libgdbm-dev"),
    ("lzma", "liblzma-dev"),
    ("readline", "libreadline-dev"),
    ("sqlite3", "libsqlite3-dev"),
    ("ssl", "libssl-dev"),
    ("zlib", "zlib1g-dev"),
];

/// Why a prefix is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no interpreter in it.
    #[error("there is no Python in {}: neither lib/libpython3.*.so nor bin/python3", .0.display())]
    NoPython(PathBuf),
    /// Its file cannot be read.
    #[error(transparent)]
    Read(#[from] elf::ReadError),
    /// The markers break the contract.
    #[error("the markers of {} break the contract: {faults}", path.display())]
    Faults {
        /// The ELF file.
        path: PathBuf,
        /// What is wrong with it.
        faults: String,
    },
    /// It was built without markers and has some.
    #[error("{} has GIL markers although it was built with --markers none", .0.display())]
    Unexpected(PathBuf),
    /// The interpreter does not run.
    #[error("the interpreter {} does not run: {reason}", path.display())]
    DoesNotRun {
        /// The interpreter.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// A folder could not be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Finds the file of a prefix that holds the interpreter's code: libpython where it is shared, else the program.
///
/// # Errors
/// When there is neither, or the folder cannot be read.
pub fn interpreter_file(prefix: &Path) -> Result<PathBuf, VerifyError> {
    let lib = prefix.join("lib");
    let mut candidates = Vec::new();
    if lib.is_dir() {
        for entry in fs_err::read_dir(&lib)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // libpython3.so only refers to the one with the minor version.
            if name.starts_with("libpython3.") && name.contains(".so") && name != "libpython3.so" {
                candidates.push(path);
            }
        }
    }
    candidates.push(prefix.join("bin/python3"));
    candidates
        .into_iter()
        .find_map(|path| fs_err::canonicalize(path).ok())
        .ok_or_else(|| VerifyError::NoPython(prefix.to_owned()))
}

/// Checks a prefix that was just made.
///
/// # Errors
/// When its markers break the contract, are there against the wish, or the interpreter does not run.
pub fn verify(
    workshop: &Workshop,
    prefix: &Path,
    markers: Markers,
) -> Result<Vec<MissingModule>, VerifyError> {
    check_markers(&interpreter_file(prefix)?, markers)?;
    missing_modules(workshop, &prefix.join("bin/python3"))
}

/// Holds the file with the interpreter's code against what was to be built.
///
/// # Errors
/// When its markers break the contract, or are there against the wish.
pub fn check_markers(file: &Path, markers: Markers) -> Result<(), VerifyError> {
    let outcome = check(&elf::read(file)?);
    let path = file.to_owned();
    if markers == Markers::None {
        if !outcome.found.is_empty() {
            return Err(VerifyError::Unexpected(path));
        }
    } else if !outcome.faults.is_empty() {
        return Err(VerifyError::Faults {
            faults: faults(&outcome),
            path,
        });
    }
    Ok(())
}

/// All faults on one line.
#[must_use]
pub fn faults(outcome: &Outcome) -> String {
    let texts: Vec<String> = outcome.faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The markers of an interpreter as JSON: what a tracer has to know about them. `file` is what the interpreter's file is to
/// be called.
#[must_use]
pub fn manifest(file: &Path, image: &Image, outcome: &Outcome) -> serde_json::Value {
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
    serde_json::json!({
        "file": file,
        "build_id": image.build_id,
        "contract": CONTRACT_VERSION,
        "markers": markers,
        "faults": faults,
    })
}

/// A module that could not be built because a library was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingModule {
    /// The module.
    pub name: &'static str,
    /// The Debian package that it needs.
    pub package: &'static str,
}

fn missing_modules(workshop: &Workshop, python: &Path) -> Result<Vec<MissingModule>, VerifyError> {
    const PROGRAM: &str = "
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        print(name)
";
    let names = OPTIONAL_MODULES.map(|(name, _)| name);
    let program = workshop.path(python).to_string_lossy().into_owned();
    let output = workshop
        .command(&program, Path::new("/"))
        .args(["-I", "-c", PROGRAM])
        .args(names)
        .output()?;
    if !output.status.success() {
        return Err(VerifyError::DoesNotRun {
            path: python.to_owned(),
            reason: String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .map_or_else(|| output.status.to_string(), str::to_owned),
        });
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(OPTIONAL_MODULES
        .into_iter()
        .filter(|(name, _)| printed.lines().any(|line| line == *name))
        .map(|(name, package)| MissingModule { name, package })
        .collect())
}
