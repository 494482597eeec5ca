//! What a command can fail with, and the exit status that says so.

use std::process::ExitCode;

/// The exit statuses of `gilbuild`. Success is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was tried and failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// This machine cannot do it: a privilege, a kernel feature or a tool is missing.
    NotThisMachine = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended before it was through.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Whoever read our output has seen enough of it: no failure.
    #[error("the output is no longer read")]
    OutputClosed,
    /// It failed: what to tell the user, and how to exit.
    #[error("{message}")]
    Failure {
        /// One line: what was tried, what went wrong, what to do next.
        message: String,
        /// The exit status.
        exit: Exit,
    },
}

impl CommandError {
    /// A failure with its own message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Failure {
            message: message.into(),
            exit,
        }
    }

    /// A failure of an operation: its error and all its causes in one line.
    #[must_use]
    pub fn because(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // A transparent error already ends with its cause.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self::Failure { message, exit }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::because(Exit::Failed, &error)
        }
    }
}
