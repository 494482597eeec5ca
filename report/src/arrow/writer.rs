//! Writes a trace as an Arrow IPC stream while it grows: in whole record batches, so that a recorder that is killed leaves a stream that
//! can be read up to the last of them.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder as _, BooleanBuilder, ListBuilder, StringBuilder, UInt64Builder,
};
use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int8Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};

use crate::arrow::schema::{Word, schema_of};
use crate::event::{Event, Kind};
use crate::header::Header;

/// Rows of a batch: what is read at once stays in a processor's cache.
const BATCH: usize = 16 * 1024;

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
    words: Arc<StringArray>,
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
            words: Arc::new(
                Word::ALL
                    .map(|word| Some(word.name()))
                    .into_iter()
                    .collect(),
            ),
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
        if self.rows.time.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was added so far, so that it is in the output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.rows.time.is_empty() {
            let batch = std::mem::take(&mut self.rows);
            let batch = batch.into_batch(&self.schema, &self.words).map_err(as_io)?;
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

/// Rows that are not written yet, by column.
#[derive(Default)]
struct Rows {
    time: Vec<u64>,
    word: Vec<i8>,
    tid: Vec<u32>,
    gil: Vec<u64>,
    forced: BooleanBuilder,
    hold: Vec<u64>,
    wait: Vec<u64>,
    text: StringBuilder,
    numbers: ListBuilder<UInt64Builder>,
}

/// What a row has besides its time and thread; what an event does not have is 0 or null.
#[derive(Default)]
struct Rest<'e> {
    gil: u64,
    forced: bool,
    hold_ns: u64,
    wait_ns: u64,
    text: Option<&'e str>,
}

impl<'e> Rest<'e> {
    fn on(gil: u64) -> Self {
        Self {
            gil,
            ..Self::default()
        }
    }

    fn saying(self, text: &'e str) -> Self {
        Self {
            text: Some(text),
            ..self
        }
    }
}

impl Rows {
    #[inline]
    fn add(&mut self, event: &Event) {
        let (word, rest) = match &event.kind {
            &Kind::Drop {
                gil,
                forced,
                hold_ns,
                wait_ns,
            } => {
                let rest = Rest {
                    gil,
                    forced,
                    hold_ns,
                    wait_ns,
                    text: None,
                };
                (Word::Drop, rest)
            }
            &Kind::Claim { gil } => (Word::Claim, Rest::on(gil)),
            &Kind::Acquired { gil, wait_ns } => {
                let rest = Rest {
                    wait_ns,
                    ..Rest::on(gil)
                };
                (Word::Acquired, rest)
            }
            &Kind::Request { gil, holder } => {
                self.list(&[holder]);
                (Word::Request, Rest::on(gil))
            }
            Kind::Thread(info) => {
                self.list(&[info.pid.into(), info.native_id.into(), info.ident]);
                (Word::Thread, Rest::default().saying(&info.name))
            }
            Kind::Total(total) => {
                self.list(&[total.count, total.sum_ns, total.max_ns, total.forced]);
                let rest = Rest::on(total.gil).saying(total.state.word());
                (Word::Total, rest)
            }
            Kind::Spread(spread) => {
                let pairs = spread.buckets.iter();
                let numbers: Vec<u64> = pairs.flat_map(|&(value, count)| [value, count]).collect();
                self.list(&numbers);
                let rest = Rest::on(spread.gil).saying(spread.state.word());
                (Word::Spread, rest)
            }
            Kind::Lost { count, cause } => {
                self.list(&[*count]);
                (Word::Lost, Rest::default().saying(cause))
            }
            Kind::End { reason } => (Word::End, Rest::default().saying(reason)),
        };
        self.time.push(event.time_ns);
        self.word.push(word as i8);
        self.tid.push(event.tid);
        self.gil.push(rest.gil);
        self.forced.append_value(rest.forced);
        self.hold.push(rest.hold_ns);
        self.wait.push(rest.wait_ns);
        self.text.append_option(rest.text);
        if self.numbers.len() < self.time.len() {
            self.numbers.append_null();
        }
    }

    /// The numbers of a row that has some beyond the columns.
    fn list(&mut self, numbers: &[u64]) {
        self.numbers.values().append_slice(numbers);
        self.numbers.append(true);
    }

    fn into_batch(
        mut self,
        schema: &SchemaRef,
        words: &Arc<StringArray>,
    ) -> Result<RecordBatch, ArrowError> {
        let words: ArrayRef = Arc::clone(words) as ArrayRef;
        let word = DictionaryArray::<Int8Type>::try_new(Int8Array::from(self.word), words)?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(self.time)),
            Arc::new(word),
            Arc::new(UInt32Array::from(self.tid)),
            Arc::new(UInt64Array::from(self.gil)),
            Arc::new(self.forced.finish()),
            Arc::new(UInt64Array::from(self.hold)),
            Arc::new(UInt64Array::from(self.wait)),
            Arc::new(self.text.finish()),
            Arc::new(self.numbers.finish()),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}
