//! The events of a trace as a table, for notebooks: the columns of a trace in Arrow's form (`FORMAT.md`), whatever form it has.

use std::io::{Read, Write};
use std::sync::Arc;

use parquet::arrow::ArrowWriter as ParquetWriter;

use crate::analyse::AnalyseError;
use crate::arrow::{BATCH, Row, Rows, columns, schema_of};
use crate::convert::write_as_arrow;
use crate::event::Event;
use crate::render::table::{TableError, TableFormat, parquet_properties, quoted};
use crate::trace::{Open, Trace, open};

/// Writes the events of a trace. Arrow keeps several traces apart, as streams that follow one another; other forms take one.
///
/// # Errors
/// When the trace cannot be read, there are several for a form that takes one, or the table cannot be written.
pub fn events<W: Write + Send>(
    source: impl Read,
    format: TableFormat,
    output: W,
) -> Result<W, TableError> {
    match format {
        TableFormat::Arrow => Ok(write_as_arrow(source, output)?),
        TableFormat::Parquet => match open(source)? {
            Open::Text(trace) => parquet(trace, output),
            Open::Arrow(trace) => parquet(trace, output),
        },
        TableFormat::Csv => match open(source)? {
            Open::Text(trace) => csv(trace, output),
            Open::Arrow(trace) => csv(trace, output),
        },
    }
}

fn parquet<W: Write + Send>(mut trace: impl Trace, output: W) -> Result<W, TableError> {
    let schema = Arc::new(schema_of(trace.header()));
    let mut writer =
        ParquetWriter::try_new(output, Arc::clone(&schema), Some(parquet_properties()))?;
    let mut rows = Rows::default();
    let mut write = |rows: &mut Rows| -> Result<(), TableError> {
        let batch = std::mem::take(rows).into_batch(&schema)?;
        Ok(writer.write(&batch)?)
    };
    each(&mut trace, |event| {
        rows.add(event);
        if rows.len() < BATCH {
            return Ok(());
        }
        write(&mut rows)
    })?;
    write(&mut rows)?;
    Ok(writer.into_inner()?)
}

fn csv<W: Write>(mut trace: impl Trace, mut output: W) -> Result<W, TableError> {
    let titles = columns().map(|column| column.name().clone());
    writeln!(output, "{}", titles.join(","))?;
    each(&mut trace, |event| {
        let row = Row::of(event);
        let text = row.text.map_or_else(String::new, quoted);
        let numbers: Vec<String> = row.numbers.iter().map(u64::to_string).collect();
        Ok(writeln!(
            output,
            "{},{},{},{},{},{},{},{text},{}",
            event.time_ns,
            row.word.name(),
            event.tid,
            row.gil,
            row.forced,
            row.hold_ns,
            row.wait_ns,
            numbers.join(" ")
        )?)
    })?;
    output.flush()?;
    Ok(output)
}

/// Hands on the events of the one trace that there is.
fn each(
    trace: &mut impl Trace,
    mut take: impl FnMut(&Event) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let mut failed = None;
    trace.events(&mut |event: Event| {
        if failed.is_none() {
            failed = take(&event).err();
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None if trace.next_trace() => Err(TableError::SeveralTraces),
        None => Ok(()),
    }
}

impl From<AnalyseError> for TableError {
    fn from(error: AnalyseError) -> Self {
        match error {
            AnalyseError::Write(error) => Self::Write(error),
            error => Self::Read(Box::new(error)),
        }
    }
}
