//! From any form of a trace to the Arrow stream, event by event.

use std::io::{Read, Write};

use crate::analyse::AnalyseError;
use crate::arrow::ArrowWriter;
use crate::event::Event;
use crate::trace::{Open, Trace, open};

/// Writes a trace, whatever its form, as Arrow streams, one for each trace in it.
///
/// # Errors
/// When the source cannot be read, is no trace, or the output cannot be written.
pub fn write_as_arrow<W: Write>(source: impl Read, output: W) -> Result<W, AnalyseError> {
    match open(source)? {
        Open::Text(trace) => copy(trace, output),
        Open::Arrow(trace) => copy(trace, output),
    }
}

fn copy<W: Write>(mut trace: impl Trace, mut output: W) -> Result<W, AnalyseError> {
    loop {
        let mut writer = ArrowWriter::new(trace.header(), output).map_err(AnalyseError::Write)?;
        let mut failed = None;
        trace.events(&mut |event: Event| {
            if failed.is_none() {
                failed = writer.event(&event).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(AnalyseError::Write(error));
        }
        output = writer.finish().map_err(AnalyseError::Write)?;
        if !trace.next_trace() {
            return Ok(output);
        }
    }
}
