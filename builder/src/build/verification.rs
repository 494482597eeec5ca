//! From an installed prefix to a verified one: the markers keep their contract, the interpreter runs, its modules are there.

use std::path::{Path, PathBuf};

use gil_probes::check::Outcome;
use gil_probes::elf;

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

/// All faults on one line.
#[must_use]
pub fn faults(outcome: &Outcome) -> String {
    let texts: Vec<String> = outcome.faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
