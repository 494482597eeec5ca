//! Reads the text trace (`FORMAT.md`), line by line, without an allocation per event.

mod fields;

use std::io::{self, Read};

use fields::Fields;
use thiserror::Error;

use crate::event::{DropInfo, Event, Kind, LaneSpread, LaneTotal, SpanInfo, ThreadInfo};
use crate::header::{Header, HeaderError, MAGIC};
use crate::stall::Stall;
use crate::trace::EventSink;

/// Times from here on are not plausible (36 years of uptime); a line that has one is skipped.
pub(crate) const TIME_LIMIT_NS: u64 = 1 << 60;

/// A line longer than this is skipped: no recorder writes one.
pub(crate) const LINE_LIMIT: usize = 64 * 1024;

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// The header is looked for in this many lines: tracers like to greet first.
const GREETING_LINES: u64 = 64;

/// Why a text trace cannot be read.
#[derive(Debug, Error)]
pub enum TextError {
    /// The file is something else.
    #[error(
        "this is no GIL trace: no line `# gil-trace 1 …` at its beginning (it begins with {begins:?}); give a file written by `gilbuild record`"
    )]
    Foreign {
        /// The first bytes, shortened.
        begins: String,
    },
    /// There is nothing in it.
    #[error(
        "the trace is empty: the recorder ended before it wrote its header; record again and watch its messages"
    )]
    Empty,
    /// The header line cannot be used.
    #[error("line {line}: {error}")]
    Header {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        error: HeaderError,
    },
    /// The file cannot be read on.
    #[error("cannot read on: {0}")]
    Read(#[from] io::Error),
}

/// What was on the way that is no event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Lines that are no event of this format.
    pub lines: u64,
    /// The number of the first of them, from 1; 0 if there is none.
    pub first_line: u64,
    /// The last line has no newline: the file was cut off in it.
    pub truncated: bool,
}

impl Skipped {
    /// Counts one, by its number.
    pub(crate) fn skip(&mut self, line: u64) {
        self.lines += 1;
        if self.first_line == 0 {
            self.first_line = line;
        }
    }
}

/// A reader of text traces. Several traces may follow one another in one file: [`TextReader::next_event`] ends at the
/// second header, [`TextReader::next_trace`] goes on behind it.
pub struct TextReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// The unread part of `buffer`.
    start: usize,
    end: usize,
    at_end: bool,
    line: u64,
    last_time_ns: u64,
    header: Header,
    next_header: Option<Header>,
    skipped: Skipped,
}

impl<R: Read> TextReader<R> {
    /// Reads up to the header.
    ///
    /// # Errors
    /// When the source cannot be read, is empty, is no text trace or has a header that cannot be used.
    pub fn new(source: R) -> Result<Self, TextError> {
        let mut reader = Self {
            source,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            at_end: false,
            line: 0,
            last_time_ns: 0,
            header: Header::default(),
            next_header: None,
            skipped: Skipped::default(),
        };
        reader.header = reader.find_header()?;
        Ok(reader)
    }

    /// The header of the trace that is being read.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was skipped in the trace that is being read, so far.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Goes on to the next trace of the same file; false when there is none.
    pub fn next_trace(&mut self) -> bool {
        let Some(header) = self.next_header.take() else {
            return false;
        };
        self.header = header;
        self.skipped = Skipped::default();
        self.last_time_ns = 0;
        true
    }

    /// The next event, in the order of the file.
    ///
    /// # Errors
    /// When the source cannot be read, or a further header cannot be used.
    pub fn next_event(&mut self) -> Result<Option<Event>, TextError> {
        let mut next = None;
        self.step(&mut |event| next = Some(event))?;
        Ok(next)
    }

    /// Hands on the next event; false when the trace has no more.
    #[inline]
    pub(crate) fn step(&mut self, sink: &mut impl EventSink) -> Result<bool, TextError> {
        if self.next_header.is_some() {
            return Ok(false);
        }
        while let Some((from, to)) = self.next_line()? {
            let line = trim_return(&self.buffer[from..to]);
            if let Some(time_ns) = parse_event(line, self.last_time_ns, sink) {
                self.last_time_ns = time_ns;
                return Ok(true);
            }
            if line.first() == Some(&b'#') {
                if is_header(line) {
                    self.next_header = Some(self.parse_header(from, to)?);
                    return Ok(false);
                }
            } else if !line.is_empty() && !is_known_chatter(line) {
                self.skip_line();
            }
        }
        Ok(false)
    }

    fn skip_line(&mut self) {
        self.skipped.skip(self.line);
    }

    fn find_header(&mut self) -> Result<Header, TextError> {
        let mut begins = None;
        for _ in 0..GREETING_LINES {
            let Some((from, to)) = self.next_line()? else {
                break;
            };
            let line = trim_return(&self.buffer[from..to]);
            if is_header(line) {
                self.skipped = Skipped::default();
                return self.parse_header(from, to);
            }
            if begins.is_none() && !line.is_empty() {
                begins = Some(line[..line.len().min(40)].to_vec());
            }
        }
        let begins = begins.unwrap_or_else(|| {
            let rest = &self.buffer[self.start..self.end];
            rest[..rest.len().min(40)].to_vec()
        });
        if begins.is_empty() && self.at_end {
            return Err(TextError::Empty);
        }
        Err(TextError::Foreign {
            begins: String::from_utf8_lossy(&begins).into_owned(),
        })
    }

    fn parse_header(&self, from: usize, to: usize) -> Result<Header, TextError> {
        Header::parse(&self.buffer[from..to]).map_err(|error| TextError::Header {
            line: self.line,
            error,
        })
    }

    /// The next complete line, as a range of `buffer`, without its newline.
    fn next_line(&mut self) -> Result<Option<(usize, usize)>, TextError> {
        let mut searched = self.start;
        loop {
            if let Some(offset) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let range = (self.start, searched + offset);
                self.start = searched + offset + 1;
                self.line += 1;
                if range.1 - range.0 > LINE_LIMIT {
                    self.skip_line();
                    searched = self.start;
                    continue;
                }
                return Ok(Some(range));
            }
            if self.at_end {
                if self.end > self.start {
                    self.skipped.truncated = true;
                }
                return Ok(None);
            }
            self.fill()?;
            searched = self.start;
        }
    }

    /// Moves the unread rest to the front and reads more behind it.
    fn fill(&mut self) -> Result<(), TextError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            // A line as long as the buffer: keep its first byte so that it ends up too long, drop the rest.
            self.end = LINE_LIMIT + 1;
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            return Ok(());
        }
    }
}

fn is_header(line: &[u8]) -> bool {
    line.strip_prefix(MAGIC)
        .is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b' '))
}

/// What bpftrace prints among the events that is neither an event nor a loss.
fn is_known_chatter(line: &[u8]) -> bool {
    line.starts_with(b"Attaching ")
}

fn trim_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The rest of a line that begins with such a word and the tid.
fn parse_stall(word: &[u8], fields: &mut Fields<'_>) -> Option<Stall> {
    Some(match word {
        b"stw_begin" => Stall::StwBegin {
            global: fields.flag()?,
        },
        b"stw_stopped" => Stall::StwStopped {
            global: fields.flag()?,
            wait_ns: fields.decimal()?,
        },
        b"stw_end" => Stall::StwEnd {
            global: fields.flag()?,
            stopped_ns: fields.decimal()?,
            wait_ns: fields.decimal()?,
        },
        b"mutex" => Stall::Mutex {
            address: fields.hexadecimal()?,
            wait_ns: fields.decimal()?,
            threading: fields.flag()?,
        },
        _ => return None,
    })
}

impl Event {
    /// Reads a line of a text trace, without its newline; `None` when it is no event.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut event = None;
        parse_event(line, 0, &mut |parsed| event = Some(parsed));
        event
    }
}

impl Event {
    /// The line of a text trace, with its newline, of an event about a place in Python code or a span; `None` of the others, which recorders
    /// have their own ways to write.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let Self { time_ns, tid, kind } = self;
        Some(match kind {
            Kind::At { location } => format!("{time_ns} at {tid} {location}\n"),
            Kind::Location { number, facts } => {
                format!("{time_ns} location {tid} {number} {facts}\n")
            }
            Kind::SpanBegin(info) => {
                let SpanInfo {
                    span,
                    parent,
                    trace,
                    name,
                } = &**info;
                format!("{time_ns} span_begin {tid} {span:x} {parent:x} {trace:032x} {name}\n")
            }
            Kind::SpanEnd { span } => format!("{time_ns} span_end {tid} {span:x}\n"),
            Kind::SpanSwitch { span } => format!("{time_ns} span_switch {tid} {span:x}\n"),
            _ => return None,
        })
    }
}

/// Hands on the event that a line is, and returns its time; `None` when it is none.
#[inline]
fn parse_event(line: &[u8], last_time_ns: u64, sink: &mut impl EventSink) -> Option<u64> {
    let mut fields = Fields(line);
    let Some(time_ns) = fields.decimal() else {
        sink.event(parse_bpftrace_loss(line, last_time_ns)?);
        return Some(last_time_ns);
    };
    if time_ns >= TIME_LIMIT_NS {
        return None;
    }
    // Each kind on its own, put together where it goes: see `EventSink`.
    match fields.word()? {
        b"drop" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let forced = fields.flag()?;
            let (hold_ns, wait_ns) = (fields.decimal()?, fields.decimal()?);
            let drop = DropInfo {
                gil,
                forced,
                hold_ns,
                wait_ns,
            };
            sink.dropped(time_ns, tid, drop);
        }
        b"claim" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let kind = Kind::Claim { gil };
            sink.event(Event { time_ns, tid, kind });
        }
        b"acquired" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let wait_ns = fields.decimal()?;
            let kind = Kind::Acquired { gil, wait_ns };
            sink.event(Event { time_ns, tid, kind });
        }
        word => {
            let (tid, kind) = parse_rare(word, fields)?;
            sink.event(Event { time_ns, tid, kind });
        }
    }
    Some(time_ns)
}

/// An event that a trace has few of.
#[cold]
fn parse_rare(word: &[u8], mut fields: Fields<'_>) -> Option<(u32, Kind)> {
    Some(match word {
        b"request" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let holder = fields.decimal()?;
            (tid, Kind::Request { gil, holder })
        }
        word @ (b"stw_begin" | b"stw_stopped" | b"stw_end" | b"mutex") => {
            let tid = fields.id()?;
            (tid, Kind::Stall(parse_stall(word, &mut fields)?))
        }
        b"total" => {
            let tid = fields.id()?;
            let total = LaneTotal {
                gil: fields.hexadecimal()?,
                state: fields.state()?,
                count: fields.decimal()?,
                sum_ns: fields.decimal()?,
                max_ns: fields.decimal()?,
                forced: fields.decimal()?,
            };
            (tid, Kind::Total(Box::new(total)))
        }
        b"spread" => {
            let tid = fields.id()?;
            let spread = LaneSpread {
                gil: fields.hexadecimal()?,
                state: fields.state()?,
                buckets: fields.buckets()?,
            };
            (tid, Kind::Spread(Box::new(spread)))
        }
        b"thread" => {
            let tid = fields.id()?;
            let info = ThreadInfo {
                pid: fields.id()?,
                native_id: fields.id()?,
                ident: fields.decimal()?,
                name: fields.rest(),
            };
            (tid, Kind::Thread(Box::new(info)))
        }
        b"process" => {
            let pid = fields.id()?;
            let facts = fields.rest().into_boxed_str();
            (pid, Kind::Process { facts })
        }
        b"gil" => {
            let pid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let facts = fields.rest().into_boxed_str();
            (pid, Kind::Gil { gil, facts })
        }
        b"lost" => {
            let count = fields.decimal()?;
            let cause = fields.rest().into_boxed_str();
            (0, Kind::Lost { count, cause })
        }
        b"end" => {
            let reason = fields.rest().into_boxed_str();
            (0, Kind::End { reason })
        }
        b"at" => {
            let tid = fields.id()?;
            let location = fields.decimal()?;
            (tid, Kind::At { location })
        }
        b"location" => {
            let pid = fields.id()?;
            let number = fields.decimal()?;
            let facts = fields.rest().into_boxed_str();
            (pid, Kind::Location { number, facts })
        }
        word @ (b"span_begin" | b"span_end" | b"span_switch") => {
            let tid = fields.id()?;
            let span = fields.hexadecimal()?;
            let kind = match word {
                b"span_begin" => Kind::SpanBegin(Box::new(SpanInfo {
                    span,
                    parent: fields.hexadecimal()?,
                    trace: fields.trace()?,
                    name: fields.rest(),
                })),
                b"span_end" => Kind::SpanEnd { span },
                _ => Kind::SpanSwitch { span },
            };
            (tid, kind)
        }
        word => return parse_recorders(word, fields),
    })
}

/// What only the native recorder writes.
fn parse_recorders(word: &[u8], mut fields: Fields<'_>) -> Option<(u32, Kind)> {
    Some(match word {
        b"stack" => {
            let tid = fields.id()?;
            let kind = Kind::Stack {
                gil: fields.hexadecimal()?,
                number: fields.id()?,
                hold_ns: fields.decimal()?,
            };
            (tid, kind)
        }
        b"frames" => {
            let pid = fields.id()?;
            let number = fields.id()?;
            let frames = fields.rest().into_boxed_str();
            (pid, Kind::Frames { number, frames })
        }
        b"module" => {
            let pid = fields.id()?;
            let number = fields.id()?;
            let facts = fields.rest().into_boxed_str();
            (pid, Kind::Module { number, facts })
        }
        b"mode" => match fields.word()? {
            b"slow" => {
                let over_ns = fields.decimal()?;
                (0, Kind::Mode { over_ns })
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// `Lost N events`, as bpftrace prints it when its buffer was full.
fn parse_bpftrace_loss(line: &[u8], last_time_ns: u64) -> Option<Event> {
    let mut fields = Fields(line.strip_prefix(b"Lost ")?);
    let count = fields.decimal()?;
    (fields.0 == b"events").then(|| Event {
        time_ns: last_time_ns,
        tid: 0,
        kind: Kind::Lost {
            count,
            cause: "the tracer's buffer was full".into(),
        },
    })
}
