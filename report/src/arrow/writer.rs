//! Writes a trace as an Arrow IPC stream while it grows: in whole record batches, so that a recorder that is killed leaves a stream that
//! can be read up to the last of them.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};

use crate::arrow::rows::{BATCH, Rows};
use crate::arrow::schema::schema_of;
use crate::event::Event;
use crate::header::Header;

/// Writes a trace as an Arrow IPC stream.
///
/// ```
/// use gil_report::{ArrowWriter, Event, Header, Kind};
/// let header = Header { pid: 10, start_ns: Some(0), ..Header::default() };
/// let mut writer = ArrowWriter::new(&header, Vec::new())?;
/// writer.event(&Event { time_ns: 5, tid: 11, kind: Kind::Claim { gil: 0x7f00 } })?;
/// let stream = writer.finish()?;
/// let report = gil_report::analyse(stream.as_slice(), &gil_report::Options::default())?;
/// assert_eq!(report.summary.sessions[0].events, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ArrowWriter<W: Write> {
    stream: StreamWriter<W>,
    schema: SchemaRef,
    rows: Rows,
}

impl<W: Write> ArrowWriter<W> {
    /// Begins a stream: writes the header.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(header: &Header, output: W) -> io::Result<Self> {
        let schema = Arc::new(schema_of(header));
        Ok(Self {
            stream: StreamWriter::try_new(output, &schema).map_err(as_io)?,
            schema,
            rows: Rows::default(),
        })
    }

    /// Adds one event; writes a batch when there are enough of them.
    ///
    /// # Errors
    /// When the batch cannot be written.
    #[inline]
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.rows.add(event);
        if self.rows.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was added so far, so that it is in the output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.rows.len() > 0 {
            let batch = std::mem::take(&mut self.rows);
            let batch = batch.into_batch(&self.schema).map_err(as_io)?;
            self.stream.write(&batch).map_err(as_io)?;
        }
        self.stream.flush().map_err(as_io)
    }

    /// Ends the stream; what it was written to.
    ///
    /// # Errors
    /// When the rest of it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.stream.into_inner().map_err(as_io)
    }

    /// What it is written to.
    pub fn output(&mut self) -> &mut W {
        self.stream.get_mut()
    }
}

fn as_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error),
    }
}
