//! Runs other programs and keeps what they say, for the case that they fail.

use std::io;
use std::process::{Command, ExitStatus, Output, Stdio};

/// Why a program did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not there.
    #[error("the program `{program}` is not installed (Debian: package {package})")]
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It cannot be run.
    #[error("cannot run `{program}`: {error}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It failed.
    #[error("`{program}` failed ({status}):\n{}", indented(said))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        said: String,
    },
}

/// How many lines of what a failed program said are shown.
const SHOWN: usize = 12;

/// Runs a program to its end and returns what it wrote to stdout. `package` is where Debian has it.
///
/// # Errors
/// When it is missing or does not succeed.
pub fn run(command: &mut Command, package: &'static str) -> Result<String, ProcessError> {
    let output = output(command, package)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ProcessError::Failed {
        program: name(command),
        status: output.status,
        said: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    })
}

fn output(command: &mut Command, package: &'static str) -> Result<Output, ProcessError> {
    command.stdin(Stdio::null()).output().map_err(|error| {
        let program = name(command);
        if error.kind() == io::ErrorKind::NotFound {
            ProcessError::Missing { program, package }
        } else {
            ProcessError::Start { program, error }
        }
    })
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn indented(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let reason = |line: &&&str| line.starts_with("E:") || line.to_lowercase().contains("error");
    let mut shown: Vec<&str> = lines.iter().filter(reason).take(SHOWN).copied().collect();
    if shown.is_empty() {
        shown = lines[lines.len().saturating_sub(SHOWN)..].to_vec();
    }
    let shown: Vec<String> = shown.iter().map(|line| format!("    {line}")).collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_the_program_said() {
        let script = "echo fine; echo 'E: no such package' >&2; exit 3";
        let error = run(Command::new("sh").args(["-c", script]), "dash").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("E: no such package") && !text.contains("fine"),
            "{text}"
        );
        let error = run(&mut Command::new("no-such-program"), "the-package").unwrap_err();
        assert!(error.to_string().contains("package the-package"), "{error}");
    }
}
