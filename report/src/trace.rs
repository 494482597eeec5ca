//! What a trace is to those who take its events, whatever its form.

use std::io::{BufRead, BufReader, Read};

use crate::analyse::AnalyseError;
use crate::arrow::{ArrowReader, ArrowTraceError, FILE_MAGIC, STREAM_MAGIC};
use crate::event::{DropInfo, Event, Kind};
use crate::header::Header;
use crate::text::{Skipped, TextReader};

/// Takes events while they are read.
///
/// A closure is one. What has to be fast is a type of its own, that can demand to become part of the loop that reads: an event that goes through a call
/// is put together in memory, and taken from there before it has arrived.
pub(crate) trait EventSink {
    /// Takes one.
    fn event(&mut self, event: Event);

    /// Takes a drop. It is an event as well, and cheaper like this.
    #[expect(clippy::inline_always, reason = "as the trait says")]
    #[inline(always)]
    fn dropped(&mut self, time_ns: u64, tid: u32, drop: DropInfo) {
        let kind = Kind::Drop(drop);
        self.event(Event { time_ns, tid, kind });
    }
}

impl<F: FnMut(Event)> EventSink for F {
    #[inline]
    fn event(&mut self, event: Event) {
        self(event);
    }
}

/// A trace in one of its forms, or several in one file.
pub(crate) trait Trace {
    /// The header of the trace that is being read.
    fn header(&self) -> &Header;

    /// Hands on all events of this trace.
    fn events(&mut self, sink: &mut impl EventSink) -> Result<Skipped, AnalyseError>;

    /// Goes on to the next trace; false when there is none.
    fn next_trace(&mut self) -> bool;
}

impl<R: Read> Trace for TextReader<R> {
    fn header(&self) -> &Header {
        self.header()
    }

    fn events(&mut self, sink: &mut impl EventSink) -> Result<Skipped, AnalyseError> {
        while self.step(sink)? {}
        Ok(self.skipped())
    }

    fn next_trace(&mut self) -> bool {
        self.next_trace()
    }
}

impl<R: Read> Trace for ArrowReader<R> {
    fn header(&self) -> &Header {
        self.header()
    }

    fn events(&mut self, sink: &mut impl EventSink) -> Result<Skipped, AnalyseError> {
        while self.read_batch(sink)? {}
        Ok(self.skipped())
    }

    fn next_trace(&mut self) -> bool {
        self.next_trace()
    }
}

/// A trace of which the header was read.
pub(crate) enum Open<R> {
    Text(TextReader<BufReader<R>>),
    Arrow(ArrowReader<BufReader<R>>),
}

/// Opens a trace, whatever form it has.
pub(crate) fn open<R: Read>(source: R) -> Result<Open<R>, AnalyseError> {
    open_buffered(BufReader::new(source))
}

/// Opens a trace of which a part may have been looked at.
pub(crate) fn open_buffered<R: Read>(mut source: BufReader<R>) -> Result<Open<R>, AnalyseError> {
    let begins = source.fill_buf()?;
    if begins.starts_with(FILE_MAGIC) {
        return Err(ArrowTraceError::File.into());
    }
    if begins.first() == Some(&STREAM_MAGIC[0]) {
        Ok(Open::Arrow(ArrowReader::new(source)?))
    } else {
        Ok(Open::Text(TextReader::new(source)?))
    }
}
