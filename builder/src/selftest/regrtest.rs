//! Runs CPython's test runner, and takes its results.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::junit::{self, JunitError, Outcome};

/// A file of tests that hangs is ended after so many seconds.
const TIMEOUT_S: &str = "1200";

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot run {}: {error}", python.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It ended without results.
    #[error("{} gave no results of its tests ({reason}); its last words: {words}", python.display())]
    NoResults {
        /// The interpreter.
        python: PathBuf,
        /// What is wrong with them.
        reason: String,
        /// The end of what it said.
        words: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What became of the tests on one interpreter.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// Every single test by its full name.
    pub tests: BTreeMap<String, Outcome>,
    /// Files of tests that the runner sums up under a heading other than "OK": `test_ssl` → `failed`.
    pub files: BTreeMap<String, String>,
}

/// Runs files of tests (all of them if none is named) on the interpreter of a prefix. Which files a name stands for, and whether it
/// exists, is for the runner to say.
///
/// # Errors
/// When it cannot be run, or gives no results.
pub fn run(prefix: &Path, names: &[String], jobs: NonZeroUsize) -> Result<Results, RunError> {
    let python = prefix.join("bin/python3");
    let folder = tempfile::tempdir()?;
    let xml = folder.path().join("results.xml");
    let mut command = Command::new("env");
    // Whoever starts this in the background starts it with SIGINT ignored, for which CPython's tests wait.
    command
        .arg("--default-signal=INT")
        .arg(&python)
        // -w: a test that fails on a busy machine gets a second try, alone.
        .args(["-m", "test", "-w", "--timeout", TIMEOUT_S])
        .arg(format!("-j{jobs}"))
        .arg("--junit-xml")
        .arg(&xml)
        .args(names)
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    for name in ["PYTHONHOME", "PYTHONPATH", "PYTHON_GIL", "VIRTUAL_ENV"] {
        command.env_remove(name);
    }
    let output = command.output().map_err(|error| RunError::Start {
        python: python.clone(),
        error,
    })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let no_results = |reason: String| RunError::NoResults {
        python: python.clone(),
        reason,
        words: last_words(&said),
    };
    let files = summary(&said);
    let tests = fs_err::read_to_string(&xml)
        .map_err(|error| error.to_string())
        .and_then(|text| junit::read(&text).map_err(|error: JunitError| error.to_string()));
    let tests = match tests {
        Ok(tests) => tests,
        // Not one of the tests has begun: what became of the files is all there is.
        Err(_) if !files.is_empty() => BTreeMap::new(),
        Err(reason) => return Err(no_results(reason)),
    };
    Ok(Results { tests, files })
}

/// Reads the lists with which the runner ends: a heading such as `2 tests failed:`, then indented names.
fn summary(said: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut heading: Option<&str> = None;
    for line in said.lines() {
        if let Some(names) = line.strip_prefix("    ")
            && let Some(heading) = heading
        {
            // The last list counts: those that passed at a second try are listed before.
            for name in names.split_whitespace() {
                files.insert(name.to_owned(), heading.to_owned());
            }
            continue;
        }
        heading = heading_of(line).filter(|heading| !heading.starts_with("re-run"));
    }
    files
}

/// `failed` of `2 tests failed:`.
fn heading_of(line: &str) -> Option<&str> {
    let (count, rest) = line.strip_suffix(':')?.split_once(' ')?;
    count.parse::<u32>().ok()?;
    let rest = rest
        .strip_prefix("tests ")
        .or_else(|| rest.strip_prefix("test "))
        .or_else(|| rest.strip_prefix("re-run "))?;
    Some(if rest == "tests" || rest == "test" {
        "re-run"
    } else {
        rest
    })
}

fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_at_the_end_are_read() {
        let said = "0:00:03 load avg: 7.84 [2/3] test_sys passed\n    indented by a test\n\n== Tests result: FAILURE ==\n\n\
                    2 tests failed:\n    test_a test_b\n\n1 test skipped:\n    test_c\n\n1 re-run test:\n    test_b\n\n2 tests OK.\n";
        let files = summary(said);
        assert_eq!(files["test_a"], "failed");
        assert_eq!(files["test_b"], "failed");
        assert_eq!(files["test_c"], "skipped");
        assert_eq!(files.len(), 3);
    }
}
