//! Every hold and wait as a row of a table, for notebooks: Arrow IPC stream, Parquet, CSV. Written while the trace is read.
//!
//! Columns: `session` (0 for the first recording of the input), `state` (`hold` or `wait`), `pid`, `tid`, `name`, `gil` (address), `start_ns`,
//! `end_ns`, `duration_ns`, `forced`, `open`, `holder_tid` (for a wait: who held the GIL for most of it).

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use thiserror::Error;

use crate::analyse::AnalyseError;
use crate::format::plain;
use crate::interval::{Interval, IntervalSink};
use crate::summary::Session;

/// Rows of a batch.
const BATCH: usize = 64 * 1024;

/// Why a table could not be written.
#[derive(Debug, Error)]
pub enum TableError {
    /// The output cannot be written.
    #[error("cannot write the table: {0}")]
    Write(#[from] io::Error),
    /// Arrow refused.
    #[error("cannot write the table as Arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// Parquet refused.
    #[error("cannot write the table as Parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// What was to become a table cannot be read.
    #[error(transparent)]
    Read(Box<AnalyseError>),
    /// There is a table for each.
    #[error(
        "the file holds several traces, and a table takes one: write them as Arrow, which keeps them apart"
    )]
    SeveralTraces,
}

/// The form of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Arrow IPC stream.
    Arrow,
    /// Parquet, compressed with Snappy.
    Parquet,
    /// Comma-separated values with a line of titles (RFC 4180, but with plain newlines); control characters in names are escaped.
    Csv,
}

/// Writes a table while intervals come.
pub struct TableSink<W: Write + Send> {
    columns: Columns,
    writer: Writer<W>,
    session: u32,
    /// The first error; what comes after it is lost anyway.
    failed: Option<TableError>,
}

enum Writer<W: Write + Send> {
    Arrow(Box<StreamWriter<W>>),
    Parquet(Box<ArrowWriter<W>>),
    Csv(W),
}

impl<W: Write + Send> TableSink<W> {
    /// Begins a table.
    ///
    /// # Errors
    /// When its beginning cannot be written.
    pub fn new(format: TableFormat, mut output: W) -> Result<Self, TableError> {
        let schema = schema();
        let writer = match format {
            TableFormat::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(output, &schema)?)),
            TableFormat::Parquet => {
                let properties = Some(parquet_properties());
                let writer = ArrowWriter::try_new(output, Arc::new(schema), properties)?;
                Writer::Parquet(Box::new(writer))
            }
            TableFormat::Csv => {
                let titles: Vec<_> = schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                writeln!(output, "{}", titles.join(","))?;
                Writer::Csv(output)
            }
        };
        Ok(Self {
            columns: Columns::default(),
            writer,
            session: 0,
            failed: None,
        })
    }

    /// Ends the table; what it was written to.
    ///
    /// # Errors
    /// When anything of it could not be written.
    pub fn finish(mut self) -> Result<W, TableError> {
        self.write_batch();
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.writer {
            Writer::Arrow(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner()?)
            }
            Writer::Parquet(writer) => Ok(writer.into_inner()?),
            Writer::Csv(mut output) => {
                output.flush()?;
                Ok(output)
            }
        }
    }

    fn write_batch(&mut self) {
        if self.columns.rows == 0 || self.failed.is_some() {
            return;
        }
        let written = self
            .columns
            .batch()
            .map_err(TableError::from)
            .and_then(|batch| {
                match &mut self.writer {
                    Writer::Arrow(writer) => Ok(writer.write(&batch)?),
                    Writer::Parquet(writer) => Ok(writer.write(&batch)?),
                    // Never filled: see `interval`.
                    Writer::Csv(_) => Ok(()),
                }
            });
        self.failed = written.err();
    }
}

impl<W: Write + Send> IntervalSink for TableSink<W> {
    fn interval(&mut self, interval: &Interval<'_>) {
        if let Writer::Csv(output) = &mut self.writer {
            if self.failed.is_none() {
                let written = write_csv(output, self.session, interval);
                self.failed = written.err().map(TableError::from);
            }
            return;
        }
        self.columns.add(self.session, interval);
        if self.columns.rows == BATCH {
            self.write_batch();
        }
    }

    fn session_ended(&mut self, _session: &Session) {
        self.session += 1;
    }
}

pub(super) fn parquet_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build()
}

fn schema() -> Schema {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    Schema::new(vec![
        field("session", DataType::UInt32),
        field("state", DataType::Utf8),
        field("pid", DataType::UInt32),
        field("tid", DataType::UInt32),
        Field::new("name", DataType::Utf8, true),
        field("gil", DataType::UInt64),
        field("start_ns", DataType::UInt64),
        field("end_ns", DataType::UInt64),
        field("duration_ns", DataType::UInt64),
        field("forced", DataType::Boolean),
        field("open", DataType::Boolean),
        Field::new("holder_tid", DataType::UInt32, true),
    ])
}

/// Rows that are not written yet, in the order of the schema.
#[derive(Default)]
struct Columns {
    rows: usize,
    session: UInt32Builder,
    state: StringBuilder,
    pid: UInt32Builder,
    tid: UInt32Builder,
    name: StringBuilder,
    gil: UInt64Builder,
    start: UInt64Builder,
    end: UInt64Builder,
    duration: UInt64Builder,
    forced: BooleanBuilder,
    open: BooleanBuilder,
    holder: UInt32Builder,
}

impl Columns {
    fn add(&mut self, session: u32, interval: &Interval<'_>) {
        self.rows += 1;
        self.session.append_value(session);
        self.state.append_value(interval.state.word());
        self.pid.append_value(interval.pid);
        self.tid.append_value(interval.tid);
        self.name.append_option(interval.name);
        self.gil.append_value(interval.gil);
        self.start.append_value(interval.start_ns);
        self.end.append_value(interval.end_ns);
        self.duration
            .append_value(interval.end_ns - interval.start_ns);
        self.forced.append_value(interval.forced);
        self.open.append_value(interval.open);
        self.holder.append_option(interval.holder_tid);
    }

    fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.session.finish()),
            Arc::new(self.state.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.tid.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.gil.finish()),
            Arc::new(self.start.finish()),
            Arc::new(self.end.finish()),
            Arc::new(self.duration.finish()),
            Arc::new(self.forced.finish()),
            Arc::new(self.open.finish()),
            Arc::new(self.holder.finish()),
        ];
        RecordBatch::try_new(Arc::new(schema()), columns)
    }
}

fn write_csv(output: &mut impl Write, session: u32, interval: &Interval<'_>) -> io::Result<()> {
    let Interval {
        pid,
        tid,
        gil,
        start_ns,
        end_ns,
        forced,
        open,
        ..
    } = interval;
    let state = interval.state.word();
    let name = interval.name.map_or_else(String::new, quoted);
    let duration_ns = end_ns - start_ns;
    write!(
        output,
        "{session},{state},{pid},{tid},{name},{gil},{start_ns},{end_ns},{duration_ns},{forced},{open},"
    )?;
    match interval.holder_tid {
        Some(holder) => writeln!(output, "{holder}"),
        None => writeln!(output),
    }
}

/// A text of the traced program, that may hold anything: a table as text may end up on a terminal.
pub(super) fn quoted(text: &str) -> String {
    let text = plain(text);
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_cell_and_off_the_terminal() {
        for (name, cell) in [
            ("worker-1", "worker-1"),
            ("a, \"b\"", "\"a, \"\"b\"\"\""),
            ("a\nb\r", "a\\u{a}b\\u{d}"),
            ("\u{1b}[31m\u{202e}", "\\u{1b}[31m\\u{202e}"),
        ] {
            assert_eq!(quoted(name), cell);
        }
    }
}
