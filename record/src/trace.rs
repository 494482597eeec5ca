//! A trace file while it grows: in place and only whole lines, or whole batches of events, so that a recorder that is killed leaves a trace
//! that can be read up to there. Its formats are described in report/FORMAT.md.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;

use crate::error::RecordError;
use crate::options::Form;

/// So many bytes are collected before they are written, while more lines are waiting.
const BATCH: usize = 64 * 1024;

/// What the header of a trace says, besides the time it starts.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// The process; 0 when there may be several.
    pub(crate) pid: u32,
    pub(crate) python: Option<String>,
    pub(crate) command: Option<String>,
    /// What several processes have in common: `container:ID`, `cgroup:PATH`, `all`.
    pub(crate) target: Option<String>,
    /// Only cycles that last so long are events.
    pub(crate) over: Option<Duration>,
}

impl Header {
    /// The first line, with its newline. `start_ns` is on `CLOCK_MONOTONIC`.
    pub(crate) fn line(&self, start: &str, start_ns: u64) -> String {
        let mut line = format!("# gil-trace 1 clock=monotonic pid={} python=", self.pid);
        line.push_str(&escape(self.python.as_deref().unwrap_or("-")));
        // Writing to a String cannot fail.
        let _ = write!(line, " start={start} start_ns={start_ns}");
        let _ = match self.over {
            None => write!(line, " mode=events"),
            Some(over) => write!(line, " mode=slow over_ns={}", over.as_nanos()),
        };
        for (key, value) in [("target", &self.target), ("command", &self.command)] {
            if let Some(value) = value {
                let _ = write!(line, " {key}={}", escape(value));
            }
        }
        line.push('\n');
        line
    }
}

/// A value holds no space and no line end: both, and `%`, are written as `%` and two hexadecimal digits.
pub(crate) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '%' | ' ' | '\0'..='\x1f' | '\x7f' => {
                let _ = write!(escaped, "%{:02x}", u32::from(character));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// A trace file being written.
#[derive(Debug)]
pub(crate) struct TraceFile {
    path: PathBuf,
    file: fs::File,
    pending: Vec<u8>,
    /// The file was made here and nothing is in it yet.
    is_empty: bool,
}

impl TraceFile {
    /// Makes the file. One that exists is only overwritten with `force`; what is no file (a pipe, a device) is written to.
    ///
    /// # Errors
    ///
    /// [`RecordError::Exists`], [`RecordError::Write`].
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self, RecordError> {
        let is_special = fs::metadata(path).is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_char_device() || kind.is_socket()
        });
        let mut options = fs::OpenOptions::new();
        options.write(true);
        if force && !is_special {
            options.create(true).truncate(true);
        } else if !is_special {
            options.create_new(true);
        }
        let file = options.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists {
                path: path.to_owned(),
            },
            _ => RecordError::Write { source },
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            pending: Vec::new(),
            is_empty: !is_special,
        })
    }

    /// Adds one line, which ends with a newline.
    pub(crate) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(line);
        if self.pending.len() >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes what was collected.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.is_empty = false;
            self.file.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Writes the rest; where it was written to.
    pub(crate) fn close(mut self) -> io::Result<PathBuf> {
        self.flush()?;
        Ok(std::mem::take(&mut self.path))
    }
}

impl io::Write for TraceFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Drop for TraceFile {
    /// A recording that failed before its first line leaves no file behind.
    fn drop(&mut self) {
        if self.is_empty && !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The name of a trace when the user gave none: in the current folder, by what is recorded and time.
pub(crate) fn default_path(subject: &str, form: Form) -> PathBuf {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let now = now.replace(['-', ':'], "");
    PathBuf::from(format!("gil-{subject}-{now}.{}", form.extension()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_keeps_to_one_line_whatever_the_command_is() {
        let header = Header {
            pid: 7,
            python: None,
            target: None,
            command: Some("python -c a\nb 100%".to_owned()),
            over: None,
        };
        assert_eq!(
            header.line("2026-11-20T23:30:00.250+0000", 81),
            "# gil-trace 1 clock=monotonic pid=7 python=- start=2026-11-20T23:30:00.250+0000 start_ns=81 mode=events \
             command=python%20-c%20a%0ab%20100%25\n"
        );
    }

    #[test]
    fn a_file_that_exists_is_kept_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.trace");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            TraceFile::create(&path, false),
            Err(RecordError::Exists { .. })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let mut file = TraceFile::create(&path, true).unwrap();
        file.line(b"# gil-trace 1\n").unwrap();
        file.close().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "# gil-trace 1\n");
    }

    #[test]
    fn a_recording_that_never_began_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.trace");
        drop(TraceFile::create(&path, false).unwrap());
        assert!(!path.exists());
    }
}
