//! Building the cells of a matrix on this machine, some at once. What fails stops no other; what is done is not done again.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::cell::Cell;
use super::file::{HOST, MatrixFile};
use crate::sources::Sha256;
use crate::terminal;

/// What `gilbuild` says before the reason for which it failed.
const ERROR: &str = "error: ";

/// How cells are to be built.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Where images, records and logs go.
    pub folder: PathBuf,
    /// How many cells are built at once.
    pub jobs: usize,
    /// Whether images are sent to their tags.
    pub push: bool,
    /// How many compilers this machine can run.
    pub processors: usize,
}

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The cell.
    pub cell: String,
    /// What came of it.
    pub result: Outcome,
    /// How long that took, in whole seconds.
    pub seconds: u64,
    /// What `gilbuild` printed, a line each: a prefix, or an image with its digest; where it failed, why.
    pub said: Vec<String>,
}

/// What came of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was built now.
    Built,
    /// An earlier run has built the same.
    Ready,
    /// It could not be built.
    Failed,
}

/// What a run leaves beside an image, for the next one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The digest of everything that decides what comes out.
    inputs: String,
    /// What `gilbuild` printed.
    said: Vec<String>,
}

/// Builds the cells and says how each ended, in their order.
///
/// # Errors
/// When the folder cannot be written to.
pub fn run(file: &MatrixFile, cells: &[Cell], options: &RunOptions) -> io::Result<Vec<Ended>> {
    fs_err::create_dir_all(&options.folder)?;
    let program = std::env::current_exe()?;
    let build = |cell: &Cell| {
        Build {
            file,
            cell,
            options,
        }
        .run(&program)
    };
    let waiting = Mutex::new(cells.iter().enumerate());
    let ended = Mutex::new(Vec::new());
    let jobs = options.jobs.clamp(1, cells.len().max(1));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((index, cell)) = next(&waiting) {
                    let end = build(cell);
                    locked(&ended, |ended| ended.push((index, end)));
                }
            });
        }
    });
    let mut ended = ended
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    ended.sort_by_key(|(index, _)| *index);
    ended.into_iter().map(|(_, end)| end).collect()
}

fn next<'a>(waiting: &Mutex<impl Iterator<Item = (usize, &'a Cell)>>) -> Option<(usize, &'a Cell)> {
    locked(waiting, Iterator::next)
}

/// What a thread that panicked has left is whole: nothing is done with it but adding and taking.
fn locked<T, R>(mutex: &Mutex<T>, action: impl FnOnce(&mut T) -> R) -> R {
    action(
        &mut mutex
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    )
}

/// A cell on its way.
struct Build<'a> {
    file: &'a MatrixFile,
    cell: &'a Cell,
    options: &'a RunOptions,
}

impl Build<'_> {
    fn run(&self, program: &Path) -> io::Result<Ended> {
        let name = &self.cell.name;
        let compilers = (self.options.processors / self.options.jobs).max(1);
        let archive = self.place("tar");
        let words = self
            .file
            .command(self.cell, &archive, compilers, self.options.push);
        let inputs = self.inputs(&words)?;
        if let Some(record) = self.earlier(&inputs) {
            terminal::step(
                "Ready",
                &format!("{name}: an earlier run has built the same"),
            );
            return Ok(self.ended(Outcome::Ready, Duration::ZERO, record.said));
        }
        let log = self.place("log");
        terminal::step("Building", &format!("{name}; its log is {}", log.display()));
        let start = Instant::now();
        let log = fs_err::File::create(log)?;
        let mut result = gilbuild(program, &words, &log)?;
        if let (HOST, Ok([prefix])) = (self.cell.distribution.as_str(), result.as_deref()) {
            let mut words: Vec<OsString> = ["package", prefix, "--output"].map(Into::into).into();
            words.push(self.options.folder.join(name).into());
            let packaged = gilbuild(program, &words, &log)?;
            result = packaged.map(|archive| [vec![prefix.clone()], archive].concat());
        }
        let took = start.elapsed();
        match result {
            Ok(said) => {
                self.remember(&Record {
                    inputs,
                    said: said.clone(),
                })?;
                terminal::step("Built", &format!("{name} in {}", minutes(took.as_secs())));
                Ok(self.ended(Outcome::Built, took, said))
            }
            Err(status) => {
                let why = reason(&fs_err::read_to_string(log.path())?, &status.to_string());
                terminal::step("Failed", &format!("{name}: {}", why.join(" ")));
                Ok(self.ended(Outcome::Failed, took, why))
            }
        }
    }

    fn place(&self, suffix: &str) -> PathBuf {
        self.options
            .folder
            .join(format!("{}.{suffix}", self.cell.name))
    }

    /// The digest of the command, of the patches that it names, and of the program that runs it.
    fn inputs(&self, words: &[OsString]) -> io::Result<String> {
        let mut text = format!("gilbuild {}\n", env!("CARGO_PKG_VERSION"));
        // How many compilers run decides nothing.
        for word in words.iter().map(|word| word.to_string_lossy()) {
            if !word.starts_with("--jobs=") {
                text += &word;
                text.push('\n');
            }
        }
        for patch in &self.file.patches {
            text += &Sha256::of_file(patch)?.to_string();
            text.push('\n');
        }
        Ok(Sha256::of_reader(text.as_bytes())?.to_string())
    }

    /// What an earlier run has left of the same, if it is still there.
    fn earlier(&self, inputs: &str) -> Option<Record> {
        let bytes = fs_err::read(self.place("json")).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let is_there = if self.cell.distribution == HOST {
            record.said.iter().all(|path| Path::new(path).exists())
        } else {
            self.place("tar").is_file()
        };
        (record.inputs == inputs && is_there).then_some(record)
    }

    fn remember(&self, record: &Record) -> io::Result<()> {
        let file = NamedTempFile::new_in(&self.options.folder)?;
        serde_json::to_writer(&file, record)?;
        file.persist(self.place("json"))?;
        Ok(())
    }

    fn ended(&self, result: Outcome, took: Duration, said: Vec<String>) -> Ended {
        Ended {
            cell: self.cell.name.clone(),
            result,
            seconds: took.as_secs(),
            said,
        }
    }
}

/// Runs this program once more and returns the lines that it printed, or how it failed. What it says goes into the log.
fn gilbuild(
    program: &Path,
    words: &[OsString],
    log: &fs_err::File,
) -> io::Result<Result<Vec<String>, ExitStatus>> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::from(log.file().try_clone()?))
        .output()?;
    if !output.status.success() {
        return Ok(Err(output.status));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(Ok(said.lines().map(str::to_owned).collect()))
}

/// Why a build failed: its last words, a line each.
fn reason(log: &str, status: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    let Some(last) = lines.iter().rposition(|line| line.starts_with(ERROR)) else {
        return vec![format!("gilbuild ended with {status}")];
    };
    let said = lines[last..].iter();
    said.map(|line| line.trim_start_matches(ERROR).to_owned())
        .collect()
}

/// A time as people say it.
#[must_use]
pub fn minutes(seconds: u64) -> String {
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_error() {
        let log =
            "   Source x\nerror: first\n  Fetching\nerror: no place has it:\n  cache: nothing\n";
        assert_eq!(
            reason(log, "exit status: 1"),
            ["no place has it:", "cache: nothing"]
        );
        assert_eq!(reason("", "signal: 9"), ["gilbuild ended with signal: 9"]);
    }
}
