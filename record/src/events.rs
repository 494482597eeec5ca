//! The events of a recording on their way into its trace file, as text or as an Arrow stream.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gil_report::{ArrowWriter, Event, Header};

use crate::error::RecordError;
use crate::options::Form;
use crate::stop::StopReason;
use crate::trace::TraceFile;

/// A batch of an Arrow stream that is not full is written after so long: what a recorder that is killed loses at most. A batch costs 1 KB
/// besides its events.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// A trace file that takes events.
pub(crate) struct EventFile {
    written: Written,
    flushed: Instant,
}

enum Written {
    Text(TraceFile),
    /// An Arrow stream, of which the header is still to come.
    NotBegun(TraceFile),
    Arrow(Box<ArrowWriter<TraceFile>>),
    /// Writing its header failed.
    Failed,
}

impl EventFile {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// As [`TraceFile::create`].
    pub(crate) fn create(path: &Path, force: bool, form: Form) -> Result<Self, RecordError> {
        let file = TraceFile::create(path, force)?;
        Ok(Self {
            written: match form {
                Form::Text => Written::Text(file),
                Form::Arrow => Written::NotBegun(file),
            },
            flushed: Instant::now(),
        })
    }

    /// Writes the header, given as the first line of a text trace.
    pub(crate) fn begin(&mut self, line: &str) -> io::Result<()> {
        self.written = match std::mem::replace(&mut self.written, Written::Failed) {
            Written::NotBegun(file) => {
                let header = Header::parse(line.trim_end().as_bytes()).map_err(io::Error::other)?;
                Written::Arrow(Box::new(ArrowWriter::new(&header, file)?))
            }
            mut begun => {
                if let Written::Text(file) = &mut begun {
                    file.line(line.as_bytes())?;
                }
                begun
            }
        };
        self.write_out()
    }

    /// Adds an event, given as a line of a text trace with its newline. An Arrow stream takes no line that is none.
    pub(crate) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.written {
            Written::Text(file) => file.line(line),
            Written::Arrow(writer) => {
                match Event::parse(line.strip_suffix(b"\n").unwrap_or(line)) {
                    Some(event) => writer.event(&event),
                    None => Ok(()),
                }
            }
            Written::NotBegun(_) | Written::Failed => Ok(()),
        }
    }

    /// Adds an event of those that a trace has few of.
    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        match &mut self.written {
            Written::Text(file) => match event.line() {
                Some(line) => file.line(line.as_bytes()),
                None => Ok(()),
            },
            Written::Arrow(writer) => writer.event(event),
            Written::NotBegun(_) | Written::Failed => Ok(()),
        }
    }

    /// The Arrow stream, if it is one, for events that need not become a line first.
    pub(crate) fn arrow(&mut self) -> Option<&mut ArrowWriter<TraceFile>> {
        match &mut self.written {
            Written::Arrow(writer) => Some(writer),
            _ => None,
        }
    }

    /// Nothing more is waiting: writes what was collected, an Arrow stream not more often than is worth a batch.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let is_stream = matches!(self.written, Written::Arrow(_));
        if is_stream && self.flushed.elapsed() < LONGEST_WAIT {
            return Ok(());
        }
        self.write_out()
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        match &mut self.written {
            Written::Text(file) => file.flush(),
            Written::Arrow(writer) => writer.flush(),
            Written::NotBegun(_) | Written::Failed => Ok(()),
        }
    }

    /// Adds the event that says that the trace is whole, and completes the file.
    pub(crate) fn end(mut self, time_ns: u64, reason: StopReason) -> io::Result<PathBuf> {
        self.line(format!("{time_ns} end {}\n", reason.word()).as_bytes())?;
        match self.written {
            Written::Text(file) | Written::NotBegun(file) => file.close(),
            Written::Arrow(writer) => writer.finish()?.close(),
            Written::Failed => Err(io::Error::other("its header could not be written")),
        }
    }
}

impl std::fmt::Debug for EventFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EventFile")
    }
}

#[cfg(test)]
mod tests {
    use gil_report::Options;

    use super::*;

    const HEADER: &str = "# gil-trace 1 clock=monotonic pid=7 python=3.13.5 start_ns=100\n";
    const LINES: [&str; 3] = [
        "100 thread 8 7 8 5 worker 1\n",
        "900 drop 8 7f00 0 500 0\n",
        "950 lost 2 the ring buffer was full\n",
    ];

    fn write(path: &Path, form: Form) -> EventFile {
        let mut file = EventFile::create(path, false, form).unwrap();
        file.begin(HEADER).unwrap();
        for line in LINES {
            file.line(line.as_bytes()).unwrap();
        }
        file
    }

    fn report(path: &Path) -> serde_json::Value {
        let file = fs_err::File::open(path).unwrap();
        let report = gil_report::analyse(file, &Options::default()).unwrap();
        let mut written = Vec::new();
        gil_report::render::json(&report, &mut written).unwrap();
        serde_json::from_slice(&written).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let [text, arrow] =
            [("x.trace", Form::Text), ("x.arrow", Form::Arrow)].map(|(name, form)| {
                let file = write(&folder.path().join(name), form);
                file.end(1000, StopReason::Duration).unwrap()
            });
        let lines = format!("{HEADER}{}1000 end duration\n", LINES.concat());
        assert_eq!(fs_err::read_to_string(&text).unwrap(), lines);
        assert_eq!(report(&text), report(&arrow));
    }

    #[test]
    fn a_recorder_that_is_killed_leaves_what_it_has_written_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.arrow");
        let mut file = write(&path, Form::Arrow);
        file.write_out().unwrap();
        let session = &report(&path)["sessions"][0];
        assert_eq!(session["losses"]["lost"], 2);
        assert_eq!(session["gils"][0]["threads"][0]["name"], "worker 1");
        assert!(session["ended"].is_null());
    }
}
