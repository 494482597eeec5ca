//! Reads the text trace (`FORMAT.md`), line by line, without an allocation per event.

use std::io::{self, Read};

use thiserror::Error;

use crate::event::{Event, Kind, LaneSpread, LaneTotal, ThreadInfo};
use crate::header::{Header, HeaderError, MAGIC};
use crate::interval::State;
use crate::stall::Stall;

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
        if self.next_header.is_some() {
            return Ok(None);
        }
        while let Some((from, to)) = self.next_line()? {
            let line = trim_return(&self.buffer[from..to]);
            if line.first() == Some(&b'#') {
                if is_header(line) {
                    self.next_header = Some(self.parse_header(from, to)?);
                    return Ok(None);
                }
                continue;
            }
            if let Some(event) = parse_event(line, self.last_time_ns) {
                self.last_time_ns = event.time_ns;
                return Ok(Some(event));
            }
            if !line.is_empty() && !is_known_chatter(line) {
                self.skip_line();
            }
        }
        Ok(None)
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

/// Cuts a line into its fields.
struct Fields<'l>(&'l [u8]);

impl<'l> Fields<'l> {
    fn word(&mut self) -> Option<&'l [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self
            .0
            .iter()
            .position(|&byte| byte == b' ')
            .unwrap_or(self.0.len());
        let word = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(word)
    }

    fn decimal(&mut self) -> Option<u64> {
        let mut value: u64 = 0;
        let mut length = 0;
        for &byte in self.0 {
            if byte == b' ' {
                break;
            }
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            length += 1;
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        }
        if length == 0 {
            return None;
        }
        if length > 19 {
            // May have wrapped: the slow way knows.
            value = str::from_utf8(&self.0[..length]).ok()?.parse().ok()?;
        }
        self.0 = self.0.get(length + 1..).unwrap_or_default();
        Some(value)
    }

    fn id(&mut self) -> Option<u32> {
        self.decimal().and_then(|value| u32::try_from(value).ok())
    }

    fn hexadecimal(&mut self) -> Option<u64> {
        let word = self.word()?;
        let digits = word.strip_prefix(b"0x").unwrap_or(word);
        if digits.is_empty() || digits.len() > 16 {
            return None;
        }
        let mut value = 0;
        for &byte in digits {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => return None,
            };
            value = value << 4 | u64::from(digit);
        }
        Some(value)
    }

    /// What follows such a word and the tid.
    fn stall(&mut self, word: &[u8]) -> Option<Stall> {
        Some(match word {
            b"stw_begin" => Stall::StwBegin {
                global: self.flag()?,
            },
            b"stw_stopped" => Stall::StwStopped {
                global: self.flag()?,
                wait_ns: self.decimal()?,
            },
            b"stw_end" => Stall::StwEnd {
                global: self.flag()?,
                stopped_ns: self.decimal()?,
                wait_ns: self.decimal()?,
            },
            b"mutex" => Stall::Mutex {
                address: self.hexadecimal()?,
                wait_ns: self.decimal()?,
                threading: self.flag()?,
            },
            _ => return None,
        })
    }

    /// `1` or `0`.
    fn flag(&mut self) -> Option<bool> {
        match self.word()? {
            b"0" => Some(false),
            b"1" => Some(true),
            _ => None,
        }
    }

    fn state(&mut self) -> Option<State> {
        State::of(self.word()?)
    }

    /// `DURATION:COUNT` up to the end of the line.
    fn buckets(&mut self) -> Option<Vec<(u64, u64)>> {
        let mut buckets = Vec::new();
        while let Some(word) = self.word() {
            let (duration, count) = str::from_utf8(word).ok()?.split_once(':')?;
            buckets.push((duration.parse().ok()?, count.parse().ok()?));
        }
        Some(buckets)
    }

    fn rest(self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }
}

impl Event {
    /// Reads a line of a text trace, without its newline; `None` when it is no event.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        parse_event(line, 0)
    }
}

fn parse_event(line: &[u8], last_time_ns: u64) -> Option<Event> {
    let mut fields = Fields(line);
    let Some(time_ns) = fields.decimal() else {
        return parse_bpftrace_loss(line, last_time_ns);
    };
    if time_ns >= TIME_LIMIT_NS {
        return None;
    }
    let (tid, kind) = match fields.word()? {
        b"drop" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let forced = fields.flag()?;
            let (hold_ns, wait_ns) = (fields.decimal()?, fields.decimal()?);
            let kind = Kind::Drop {
                gil,
                forced,
                hold_ns,
                wait_ns,
            };
            (tid, kind)
        }
        b"claim" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            (tid, Kind::Claim { gil })
        }
        b"acquired" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let wait_ns = fields.decimal()?;
            (tid, Kind::Acquired { gil, wait_ns })
        }
        b"request" => {
            let tid = fields.id()?;
            let gil = fields.hexadecimal()?;
            let holder = fields.decimal()?;
            (tid, Kind::Request { gil, holder })
        }
        word @ (b"stw_begin" | b"stw_stopped" | b"stw_end" | b"mutex") => {
            let tid = fields.id()?;
            (tid, Kind::Stall(fields.stall(word)?))
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
        _ => return None,
    };
    Some(Event { time_ns, tid, kind })
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
