//! The full log of a build, and the lines of it that matter when a step fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use fs_err::File;

/// How many of a failed step's lines are shown.
const SHOWN: usize = 12;
/// How many lines before the end are searched for the reason.
const KEPT: usize = 400;

/// Why a logged command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It could not be started.
    #[error("cannot run `{program}` for the step {step}: {error}")]
    Start {
        /// The step.
        step: &'static str,
        /// The program.
        program: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It failed.
    #[error("the step {step} failed ({status}):\n{}\nthe whole log is {}", indented(lines), log.display())]
    Failed {
        /// The step.
        step: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The lines of its output that say why.
        lines: Vec<String>,
        /// The file with all lines.
        log: PathBuf,
    },
    /// The log could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A log file that commands write to.
pub struct Log {
    file: File,
}

impl Log {
    /// Begins a new log.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        Ok(Self {
            file: File::create(path)?,
        })
    }

    /// Runs a command, writes all that it says into the log, and shows each line to `watch`.
    ///
    /// # Errors
    /// When it cannot be started, or does not succeed.
    pub fn run(
        &mut self,
        step: &'static str,
        command: &mut Command,
        mut watch: impl FnMut(&str),
    ) -> Result<(), LogError> {
        writeln!(self.file, "## {step}: {command:?}")?;
        let (reader, writer) = std::io::pipe()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .map_err(|error| LogError::Start {
                step,
                program: command.get_program().to_string_lossy().into_owned(),
                error,
            })?;
        // The command still holds our ends of the pipe: without letting go of them, it would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut recent = VecDeque::with_capacity(KEPT);
        for line in BufReader::new(reader).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            writeln!(self.file, "{line}")?;
            watch(&line);
            if recent.len() == KEPT {
                recent.pop_front();
            }
            recent.push_back(line);
        }
        let status = child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(LogError::Failed {
            step,
            status,
            lines: lines_that_matter(&recent),
            log: self.file.path().to_owned(),
        })
    }
}

/// The lines that name an error, or the last ones where none does.
fn lines_that_matter(recent: &VecDeque<String>) -> Vec<String> {
    const SIGNS: [&str; 7] = [
        "error:",
        "Error:",
        "ERROR",
        "*** ",
        "undefined reference",
        "No such file",
        "No space left",
    ];
    let mut lines: Vec<String> = recent
        .iter()
        .filter(|line| SIGNS.iter().any(|sign| line.contains(sign)))
        .take(SHOWN)
        .cloned()
        .collect();
    if lines.is_empty() {
        lines = recent.iter().rev().take(SHOWN).rev().cloned().collect();
    }
    lines
}

fn indented(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn everything_is_logged_and_watched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/build.log");
        let mut log = Log::create(&path).unwrap();
        let mut seen = Vec::new();
        log.run("make", &mut shell("echo out; echo err >&2"), |line| {
            seen.push(line.to_owned());
        })
        .unwrap();
        assert_eq!(seen, ["out", "err"]);
        assert!(
            fs_err::read_to_string(path)
                .unwrap()
                .ends_with("out\nerr\n")
        );
    }

    #[test]
    fn a_failure_shows_the_lines_that_matter() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::create(&folder.path().join("log")).unwrap();
        let script = "echo start; echo 'a.c:1:2: error: no'; echo more; exit 2";
        let error = log.run("make", &mut shell(script), |_| {}).unwrap_err();
        let LogError::Failed { lines, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(lines, &["a.c:1:2: error: no"]);
    }

    #[test]
    fn a_program_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::create(&folder.path().join("log")).unwrap();
        let error = log
            .run("make", &mut Command::new("/nonexistent"), |_| {})
            .unwrap_err();
        assert!(matches!(error, LogError::Start { .. }));
    }
}
