//! Reads a trace from an Arrow IPC stream, batch by batch.

use std::io::{self, Read};

use arrow_ipc::{MessageHeader, root_as_message};
use thiserror::Error;

use crate::arrow::batch::Batch;
use crate::arrow::dictionary::Dictionary;
use crate::arrow::message::{Messages, Next};
use crate::arrow::schema;
use crate::event::Event;
use crate::header::{Header, HeaderError};
use crate::text::Skipped;
use crate::trace::EventSink;

/// Why a trace cannot be read as Arrow.
#[derive(Debug, Error)]
pub enum ArrowTraceError {
    /// The stream holds something else.
    #[error(
        "this Arrow stream is no GIL trace: its metadata has no `gil-trace`; give a file written by `gilbuild record`"
    )]
    Foreign,
    /// It begins like a stream, and then does not go on like one.
    #[error(
        "this is no GIL trace: it begins like an Arrow stream, and {0}; give a file written by `gilbuild record`"
    )]
    NoStream(&'static str),
    /// There is nothing in it.
    #[error(
        "the trace is cut off before its header is complete: the recorder ended at once; record again and watch its messages"
    )]
    CutOff,
    /// It is the other format of Arrow.
    #[error(
        "this is an Arrow file, and traces are Arrow streams: write it again with pyarrow's `ipc.new_stream`, metadata included"
    )]
    File,
    /// Its columns are others.
    #[error(
        "column {number} of this Arrow stream is not `{name}` of type {kind}: its metadata says that it is a GIL trace, and it is not; record again"
    )]
    Column {
        /// Its place, from 1.
        number: usize,
        /// What it should be called.
        name: String,
        /// Its type.
        kind: String,
    },
    /// It is a kind of stream that is not read.
    #[error("this Arrow stream cannot be read: {0}; write it again in the usual form")]
    Unusual(&'static str),
    /// Its metadata cannot be used.
    #[error("the metadata of this Arrow stream: {0}")]
    Header(#[from] HeaderError),
    /// What comes is no message of a stream, or contradicts itself.
    #[error(
        "message {number} of this Arrow stream is damaged: {reason}; what comes before it can be read if the file is cut off there"
    )]
    Malformed {
        /// Which, from 1: the schema is the first.
        number: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The file cannot be read on.
    #[error("cannot read on: {0}")]
    Read(#[from] io::Error),
}

/// A reader of traces as Arrow streams. Several streams may follow one another in one file.
pub struct ArrowReader<R> {
    messages: Messages<R>,
    header: Header,
    dictionary: Dictionary,
    dictionary_id: i64,
    next_header: Option<(Header, i64)>,
    at_end: bool,
    rows: u64,
    skipped: Skipped,
}

impl<R: Read> ArrowReader<R> {
    /// Reads up to the header.
    ///
    /// # Errors
    /// When the source cannot be read, is no Arrow stream or not one of a trace.
    pub fn new(source: R) -> Result<Self, ArrowTraceError> {
        let mut messages = Messages::new(source);
        let (header, dictionary_id) = first(&mut messages).map_err(|error| match error {
            ArrowTraceError::Malformed { reason, .. } => ArrowTraceError::NoStream(reason),
            error => error,
        })?;
        Ok(Self {
            messages,
            header,
            dictionary: Dictionary::default(),
            dictionary_id,
            next_header: None,
            at_end: false,
            rows: 0,
            skipped: Skipped::default(),
        })
    }

    /// The header of the trace that is being read.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was skipped in the trace that is being read, so far; rows count as lines.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Goes on to the next trace of the same file; false when there is none.
    pub fn next_trace(&mut self) -> bool {
        let Some((header, dictionary_id)) = self.next_header.take() else {
            return false;
        };
        self.header = header;
        self.dictionary = Dictionary::default();
        self.dictionary_id = dictionary_id;
        self.at_end = false;
        self.rows = 0;
        self.skipped = Skipped::default();
        true
    }

    /// Hands on the events of the next batch, in the order of the file; false when the trace has no more.
    ///
    /// # Errors
    /// When the source cannot be read, or a message is damaged.
    pub fn next_batch(&mut self, mut take: impl FnMut(Event)) -> Result<bool, ArrowTraceError> {
        self.read_batch(&mut take)
    }

    pub(crate) fn read_batch(
        &mut self,
        sink: &mut impl EventSink,
    ) -> Result<bool, ArrowTraceError> {
        if self.at_end {
            return Ok(false);
        }
        match self.messages.next()? {
            Next::Message => {}
            next @ (Next::EndOfSource | Next::Cut) => {
                self.skipped.truncated = next == Next::Cut;
                self.at_end = true;
                return Ok(false);
            }
            Next::EndOfStream => {
                self.at_end = true;
                self.next_header = match self.messages.next()? {
                    Next::Message => Some(read_schema(&mut self.messages)?),
                    Next::EndOfStream | Next::EndOfSource => None,
                    Next::Cut => {
                        self.skipped.truncated = true;
                        None
                    }
                };
                return Ok(false);
            }
        }
        let length = message(&self.messages)?.bodyLength();
        if !self.messages.read_body(length)? {
            self.skipped.truncated = true;
            self.at_end = true;
            return Ok(false);
        }
        let message = message(&self.messages)?;
        let body = self.messages.body();
        let damaged = |reason| self.messages.malformed(reason);
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch();
                let batch = batch.ok_or_else(|| damaged("it has no header"))?;
                let batch = Batch::of(&batch, body).map_err(damaged)?;
                let skipped = &mut self.skipped;
                let before = self.rows;
                let skip = |row| skipped.skip(before + row as u64 + 1);
                batch.for_each(&self.dictionary, sink, skip);
                self.rows += batch.rows() as u64;
            }
            MessageHeader::DictionaryBatch => {
                let batch = message.header_as_dictionary_batch();
                let batch = batch.ok_or_else(|| damaged("it has no header"))?;
                // Columns behind ours may have dictionaries of their own.
                if batch.id() == self.dictionary_id {
                    let taken = self.dictionary.take(&batch, body);
                    taken.map_err(|reason| self.messages.malformed(reason))?;
                }
            }
            _ => return Err(damaged("a stream has one schema, and then batches")),
        }
        Ok(true)
    }
}

fn first<R: Read>(messages: &mut Messages<R>) -> Result<(Header, i64), ArrowTraceError> {
    match messages.next()? {
        Next::Message => read_schema(messages),
        Next::EndOfStream | Next::EndOfSource | Next::Cut => Err(ArrowTraceError::CutOff),
    }
}

fn message<R: Read>(messages: &Messages<R>) -> Result<arrow_ipc::Message<'_>, ArrowTraceError> {
    root_as_message(messages.description())
        .map_err(|_| messages.malformed("its description contradicts itself"))
}

fn read_schema<R: Read>(messages: &mut Messages<R>) -> Result<(Header, i64), ArrowTraceError> {
    let schema = message(messages)?
        .header_as_schema()
        .ok_or_else(|| messages.malformed("it is no schema, which comes first"))?;
    schema::check(&schema)
}
