//! A record batch: its columns as slices of its body, every length checked, and its rows as events.

use std::ops::Range;

use arrow_ipc::RecordBatch;

use crate::arrow::dictionary::Dictionary;
use crate::arrow::schema::Word;
use crate::event::{DropInfo, Event, Kind, LaneSpread, LaneTotal, SpanInfo, ThreadInfo};
use crate::interval::State;
use crate::stall::Stall;
use crate::text::{LINE_LIMIT, TIME_LIMIT_NS};
use crate::trace::EventSink;

/// The buffers of a batch, taken one after the other.
pub(super) struct Buffers<'b> {
    batch: RecordBatch<'b>,
    body: &'b [u8],
    next_node: usize,
    next_buffer: usize,
}

impl<'b> Buffers<'b> {
    pub(super) fn of(batch: &RecordBatch<'b>, body: &'b [u8]) -> Result<Self, &'static str> {
        if batch.compression().is_some() {
            return Err("it is compressed: write it without compression");
        }
        Ok(Self {
            batch: *batch,
            body,
            next_node: 0,
            next_buffer: 0,
        })
    }

    /// The next column's number of rows, and how many of them are null.
    fn node(&mut self) -> Result<(usize, bool), &'static str> {
        let nodes = self.batch.nodes();
        let nodes = nodes.filter(|nodes| self.next_node < nodes.len());
        let node = nodes
            .ok_or("it has fewer columns than its schema")?
            .get(self.next_node);
        self.next_node += 1;
        let rows = usize::try_from(node.length()).map_err(|_| "a column has less than no rows")?;
        Ok((rows, node.null_count() != 0))
    }

    fn buffer(&mut self) -> Result<&'b [u8], &'static str> {
        let buffers = self.batch.buffers();
        let buffers = buffers.filter(|buffers| self.next_buffer < buffers.len());
        let buffer = buffers
            .ok_or("it has fewer buffers than its schema")?
            .get(self.next_buffer);
        self.next_buffer += 1;
        let from = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        from.zip(length)
            .and_then(|(from, length)| self.body.get(from..from.checked_add(length)?))
            .ok_or("a buffer lies outside of its body")
    }

    /// The values of a column without nulls, so many bytes each.
    fn values<const N: usize>(&mut self, rows: usize) -> Result<&'b [[u8; N]], &'static str> {
        let bytes = self.plain(rows)?;
        let (values, _) = bytes.as_chunks();
        values.get(..rows).ok_or(SHORT)
    }

    /// The bytes of a column without nulls.
    fn plain(&mut self, rows: usize) -> Result<&'b [u8], &'static str> {
        let (length, has_nulls) = self.node()?;
        if length != rows {
            return Err("its columns are not equally long");
        }
        if has_nulls {
            return Err("it has nulls where every event has a value");
        }
        self.buffer()?;
        self.buffer()
    }

    /// The offsets of a column of lists or strings. Those of null rows enclose nothing.
    fn offsets(&mut self) -> Result<(usize, &'b [[u8; 4]]), &'static str> {
        let (rows, _) = self.node()?;
        self.buffer()?;
        let (offsets, _) = self.buffer()?.as_chunks();
        // No rows need no offsets.
        let wanted = if rows == 0 { 0 } else { rows.saturating_add(1) };
        let offsets = offsets.get(..wanted).ok_or(SHORT)?;
        Ok((rows, offsets))
    }
}

const SHORT: &str = "a column is shorter than its rows";

/// A column of texts.
#[derive(Clone, Copy)]
pub(super) struct Strings<'b> {
    pub(super) rows: usize,
    offsets: &'b [[u8; 4]],
    data: &'b [u8],
}

impl<'b> Strings<'b> {
    pub(super) fn take(buffers: &mut Buffers<'b>) -> Result<Self, &'static str> {
        let (rows, offsets) = buffers.offsets()?;
        Ok(Self {
            rows,
            offsets,
            data: buffers.buffer()?,
        })
    }

    /// The text of a row, which begins where `used` says or later.
    pub(super) fn get(&self, row: usize, used: &mut usize) -> Option<&'b [u8]> {
        self.data.get(range(self.offsets, row, used)?)
    }
}

/// A column of lists of numbers.
#[derive(Clone, Copy)]
struct Lists<'b> {
    rows: usize,
    offsets: &'b [[u8; 4]],
    numbers: &'b [[u8; 8]],
}

impl<'b> Lists<'b> {
    fn take(buffers: &mut Buffers<'b>) -> Result<Self, &'static str> {
        let (rows, offsets) = buffers.offsets()?;
        let (length, has_nulls) = buffers.node()?;
        if has_nulls {
            return Err("a list of numbers has nulls in it");
        }
        buffers.buffer()?;
        let (numbers, _) = buffers.buffer()?.as_chunks();
        Ok(Self {
            rows,
            offsets,
            numbers: numbers.get(..length).ok_or(SHORT)?,
        })
    }

    fn get(&self, row: usize, used: &mut usize) -> Option<&'b [[u8; 8]]> {
        self.numbers.get(range(self.offsets, row, used)?)
    }
}

/// Where the text or list of a row lies, unless it is longer than any or overlaps with one before.
fn range(offsets: &[[u8; 4]], row: usize, used: &mut usize) -> Option<Range<usize>> {
    let offset = |at: usize| usize::try_from(i32::from_le_bytes(*offsets.get(at)?)).ok();
    let (from, to) = (offset(row)?, offset(row + 1)?);
    if from < *used || to < from || to - from > LINE_LIMIT {
        return None;
    }
    *used = to;
    Some(from..to)
}

/// How far the texts and lists of a batch have been used: every byte belongs to one row at most, so that a small file cannot become much.
#[derive(Default)]
struct Used {
    text: usize,
    numbers: usize,
}

/// The events of a record batch.
pub(super) struct Batch<'b> {
    rows: usize,
    time: &'b [[u8; 8]],
    word: &'b [[u8; 1]],
    tid: &'b [[u8; 4]],
    gil: &'b [[u8; 8]],
    /// A bit for each row, the lowest first.
    forced: &'b [u8],
    hold: &'b [[u8; 8]],
    wait: &'b [[u8; 8]],
    text: Strings<'b>,
    numbers: Lists<'b>,
}

impl<'b> Batch<'b> {
    pub(super) fn of(batch: &RecordBatch<'b>, body: &'b [u8]) -> Result<Self, &'static str> {
        let rows = usize::try_from(batch.length()).map_err(|_| "it has less than no rows")?;
        let mut buffers = Buffers::of(batch, body)?;
        // In the order of the schema.
        let batch = Self {
            rows,
            time: buffers.values(rows)?,
            word: buffers.values(rows)?,
            tid: buffers.values(rows)?,
            gil: buffers.values(rows)?,
            forced: buffers.plain(rows)?.get(..rows.div_ceil(8)).ok_or(SHORT)?,
            hold: buffers.values(rows)?,
            wait: buffers.values(rows)?,
            text: Strings::take(&mut buffers)?,
            numbers: Lists::take(&mut buffers)?,
        };
        if batch.text.rows != rows || batch.numbers.rows != rows {
            return Err("its columns are not equally long");
        }
        Ok(batch)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Hands on the event of every row, or the number of a row that is none.
    #[inline]
    pub(super) fn for_each(
        &self,
        words: &Dictionary,
        sink: &mut impl EventSink,
        mut skip: impl FnMut(usize),
    ) {
        // Cut to the same length again, so that the compiler sees that no row lies outside.
        let rows = self.rows;
        let (time, word, tid) = (&self.time[..rows], &self.word[..rows], &self.tid[..rows]);
        let (gil, hold, wait) = (&self.gil[..rows], &self.hold[..rows], &self.wait[..rows]);
        let mut used = Used::default();
        for row in 0..rows {
            let time_ns = u64::from_le_bytes(time[row]);
            let tid = u32::from_le_bytes(tid[row]);
            let gil = u64::from_le_bytes(gil[row]);
            let wait_ns = u64::from_le_bytes(wait[row]);
            let event = |kind| Event { time_ns, tid, kind };
            if time_ns >= TIME_LIMIT_NS {
                skip(row);
                continue;
            }
            // Each kind on its own, put together where it goes: see `EventSink`.
            match words.word(word[row][0]) {
                Some(Word::Drop) => {
                    let drop = DropInfo {
                        gil,
                        forced: self.forced(row),
                        hold_ns: u64::from_le_bytes(hold[row]),
                        wait_ns,
                    };
                    sink.dropped(time_ns, tid, drop);
                }
                Some(Word::Claim) => sink.event(event(Kind::Claim { gil })),
                Some(Word::Acquired) => sink.event(event(Kind::Acquired { gil, wait_ns })),
                Some(word @ (Word::StwBegin | Word::StwStopped | Word::StwEnd | Word::Mutex)) => {
                    match self.stall(row, word) {
                        Some(stall) => sink.event(event(Kind::Stall(stall))),
                        None => skip(row),
                    }
                }
                Some(rare) => {
                    match self.rare(row, rare, (gil, u64::from_le_bytes(hold[row])), &mut used) {
                        Some(kind) => sink.event(event(kind)),
                        None => skip(row),
                    }
                }
                None => skip(row),
            }
        }
    }

    fn forced(&self, row: usize) -> bool {
        self.forced[row / 8] >> (row % 8) & 1 == 1
    }

    #[cold]
    fn stall(&self, row: usize, word: Word) -> Option<Stall> {
        let gil = u64::from_le_bytes(self.gil[row]);
        let wait_ns = u64::from_le_bytes(self.wait[row]);
        let global = gil != 0;
        Some(match word {
            Word::StwBegin => Stall::StwBegin { global },
            Word::StwStopped => Stall::StwStopped { global, wait_ns },
            Word::StwEnd => Stall::StwEnd {
                global,
                stopped_ns: u64::from_le_bytes(self.hold[row]),
                wait_ns,
            },
            Word::Mutex => Stall::Mutex {
                address: gil,
                wait_ns,
                threading: self.forced(row),
            },
            _ => return None,
        })
    }

    /// An event that has more than the columns of every event.
    #[cold]
    fn rare(
        &self,
        row: usize,
        word: Word,
        (gil, hold_ns): (u64, u64),
        used: &mut Used,
    ) -> Option<Kind> {
        let text = self.text.get(row, &mut used.text)?;
        let numbers = self.numbers.get(row, &mut used.numbers)?;
        let state = || State::of(text);
        let text = || String::from_utf8_lossy(text).into_owned();
        let number = |at: usize| numbers.get(at).copied().map(u64::from_le_bytes);
        let id = |at: usize| u32::try_from(number(at)?).ok();
        Some(match word {
            Word::Request => Kind::Request {
                gil,
                holder: number(0)?,
            },
            Word::Thread => Kind::Thread(Box::new(ThreadInfo {
                pid: id(0)?,
                native_id: id(1)?,
                ident: number(2)?,
                name: text(),
            })),
            Word::Total => Kind::Total(Box::new(LaneTotal {
                gil,
                state: state()?,
                count: number(0)?,
                sum_ns: number(1)?,
                max_ns: number(2)?,
                forced: number(3)?,
            })),
            Word::Spread => {
                let (pairs, rest) = numbers.as_chunks::<2>();
                if !rest.is_empty() {
                    return None;
                }
                let pairs = pairs.iter();
                Kind::Spread(Box::new(LaneSpread {
                    gil,
                    state: state()?,
                    buckets: pairs
                        .map(|&[value, count]| {
                            (u64::from_le_bytes(value), u64::from_le_bytes(count))
                        })
                        .collect(),
                }))
            }
            Word::Lost => Kind::Lost {
                count: number(0)?,
                cause: text().into_boxed_str(),
            },
            Word::Process => Kind::Process {
                facts: text().into_boxed_str(),
            },
            Word::Gil => Kind::Gil {
                gil,
                facts: text().into_boxed_str(),
            },
            Word::Stack => Kind::Stack {
                gil,
                number: id(0)?,
                hold_ns,
            },
            Word::Frames => Kind::Frames {
                number: id(0)?,
                frames: text().into_boxed_str(),
            },
            Word::Module => Kind::Module {
                number: id(0)?,
                facts: text().into_boxed_str(),
            },
            Word::Location => Kind::Location {
                number: number(0)?,
                facts: text().into_boxed_str(),
            },
            Word::At => Kind::At {
                location: number(0)?,
            },
            Word::SpanBegin => Kind::SpanBegin(Box::new(SpanInfo {
                span: number(0)?,
                parent: number(1)?,
                trace: u128::from(number(2)?) << 64 | u128::from(number(3)?),
                name: text(),
            })),
            Word::SpanEnd => Kind::SpanEnd { span: number(0)? },
            Word::SpanSwitch => Kind::SpanSwitch { span: number(0)? },
            Word::Mode if text() == "slow" => Kind::Mode {
                over_ns: number(0)?,
            },
            Word::End => Kind::End {
                reason: text().into_boxed_str(),
            },
            Word::Mode
            | Word::Drop
            | Word::Claim
            | Word::Acquired
            | Word::StwBegin
            | Word::StwStopped
            | Word::StwEnd
            | Word::Mutex => return None,
        })
    }
}
