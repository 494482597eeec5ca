//! Cuts an Arrow IPC stream into its messages, in memory that is bounded whatever a message claims to be.

use std::io::{self, ErrorKind, Read};

use crate::arrow::reader::ArrowTraceError;
use crate::arrow::schema::STREAM_MAGIC;

/// A message's description is no longer: the schema's holds a command line, those of batches are about 1 KB.
const DESCRIPTION_LIMIT: usize = 8 << 20;

/// A batch is no larger: some millions of events.
const BODY_LIMIT: usize = 192 << 20;

/// So much more room is made at once for what a message claims to hold.
const STEP: usize = 1 << 20;

/// What comes next in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A message, now in [`Messages::description`] and, after [`Messages::read_body`], [`Messages::body`].
    Message,
    /// The mark that the stream is complete.
    EndOfStream,
    /// There is no more.
    EndOfSource,
    /// There is no more, in the middle of a message.
    Cut,
}

/// The messages of a stream.
pub(super) struct Messages<R> {
    source: R,
    description: Room,
    body: Room,
    /// How many messages began so far.
    pub(super) number: u64,
}

impl<R: Read> Messages<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            description: Room::default(),
            body: Room::default(),
            number: 0,
        }
    }

    pub(super) fn description(&self) -> &[u8] {
        self.description.bytes()
    }

    pub(super) fn body(&self) -> &[u8] {
        self.body.bytes()
    }

    /// Reads the description of the next message.
    pub(super) fn next(&mut self) -> Result<Next, ArrowTraceError> {
        let mut word = [0; 4];
        match read_fully(&mut self.source, &mut word)? {
            0 => return Ok(Next::EndOfSource),
            1..4 => return Ok(Next::Cut),
            _ => {}
        }
        self.number += 1;
        if word != STREAM_MAGIC {
            return Err(self.malformed("it does not begin like one"));
        }
        if read_fully(&mut self.source, &mut word)? < word.len() {
            return Ok(Next::Cut);
        }
        let length = usize::try_from(u32::from_le_bytes(word)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(Next::EndOfStream);
        }
        if length > DESCRIPTION_LIMIT {
            return Err(self.malformed("its description is said to be larger than any is"));
        }
        let is_whole = self.description.read(&mut self.source, length)?;
        Ok(if is_whole { Next::Message } else { Next::Cut })
    }

    /// Reads the body of the message; false when the source ends in it.
    pub(super) fn read_body(&mut self, length: i64) -> Result<bool, ArrowTraceError> {
        let Ok(length) = usize::try_from(length) else {
            return Err(self.malformed("the length of its body is negative"));
        };
        if length > BODY_LIMIT {
            return Err(self.malformed(
                "its body is larger than 192 MiB (from pyarrow, write_table takes a max_chunksize)",
            ));
        }
        Ok(self.body.read(&mut self.source, length)?)
    }

    pub(super) fn malformed(&self, reason: &'static str) -> ArrowTraceError {
        ArrowTraceError::Malformed {
            number: self.number,
            reason,
        }
    }
}

/// Bytes, in room that is used again.
#[derive(Default)]
struct Room {
    room: Vec<u8>,
    length: usize,
}

impl Room {
    fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// Takes so many bytes; false when the source ends before. There is never much more room than bytes that came.
    fn read(&mut self, source: &mut impl Read, length: usize) -> io::Result<bool> {
        self.length = 0;
        while self.length < length {
            if self.room.len() == self.length {
                let more = self.length.max(STEP);
                self.room.resize(length.min(self.length + more), 0);
            }
            let end = self.room.len().min(length);
            let count = read_fully(source, &mut self.room[self.length..end])?;
            self.length += count;
            if self.length < end {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Fills the buffer as far as there is something.
fn read_fully(source: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match source.read(buffer) {
            Ok(0) => break,
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}
