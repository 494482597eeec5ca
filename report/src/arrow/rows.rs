//! Events as rows, and rows as columns, on their way into a table.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, ListBuilder, StringBuilder, UInt64Builder};
use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int8Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, SchemaRef};

use crate::arrow::schema::Word;
use crate::event::{Event, Kind};
use crate::stall::Stall;

/// Rows of a batch: what is read at once stays in a processor's cache.
pub(crate) const BATCH: usize = 16 * 1024;

/// What a row has besides its time and thread; what an event does not have is 0, false, `None` or empty.
#[derive(Default)]
pub(crate) struct Row<'e> {
    pub(crate) word: Word,
    pub(crate) gil: u64,
    pub(crate) forced: bool,
    pub(crate) hold_ns: u64,
    pub(crate) wait_ns: u64,
    pub(crate) text: Option<&'e str>,
    pub(crate) numbers: Vec<u64>,
}

impl<'e> Row<'e> {
    fn new(word: Word) -> Self {
        Self {
            word,
            ..Self::default()
        }
    }

    /// What says whether all interpreters' threads stopped stands where others have the GIL.
    fn of_stall(stall: Stall) -> Self {
        match stall {
            Stall::StwBegin { global } => Self {
                gil: global.into(),
                ..Self::new(Word::StwBegin)
            },
            Stall::StwStopped { global, wait_ns } => Self {
                gil: global.into(),
                wait_ns,
                ..Self::new(Word::StwStopped)
            },
            Stall::StwEnd {
                global,
                stopped_ns,
                wait_ns,
            } => Self {
                gil: global.into(),
                hold_ns: stopped_ns,
                wait_ns,
                ..Self::new(Word::StwEnd)
            },
            Stall::Mutex {
                address,
                wait_ns,
                threading,
            } => Self {
                gil: address,
                forced: threading,
                wait_ns,
                ..Self::new(Word::Mutex)
            },
        }
    }

    /// The row of an event about what the thread works on.
    fn of_code(kind: &'e Kind) -> Self {
        match kind {
            Kind::Location { number, facts } => Self {
                text: Some(facts),
                numbers: vec![*number],
                ..Self::new(Word::Location)
            },
            &Kind::At { location } => Self {
                numbers: vec![location],
                ..Self::new(Word::At)
            },
            Kind::SpanBegin(info) => Self {
                text: Some(&info.name),
                numbers: vec![info.span, info.parent, high(info.trace), low(info.trace)],
                ..Self::new(Word::SpanBegin)
            },
            &Kind::SpanEnd { span } => Self {
                numbers: vec![span],
                ..Self::new(Word::SpanEnd)
            },
            &Kind::SpanSwitch { span } => Self {
                numbers: vec![span],
                ..Self::new(Word::SpanSwitch)
            },
            _ => Self::default(),
        }
    }

    /// The row of an event.
    #[inline]
    pub(crate) fn of(event: &'e Event) -> Self {
        match &event.kind {
            Kind::Drop(drop) => Self {
                gil: drop.gil,
                forced: drop.forced,
                hold_ns: drop.hold_ns,
                wait_ns: drop.wait_ns,
                ..Self::new(Word::Drop)
            },
            &Kind::Claim { gil } => Self {
                gil,
                ..Self::new(Word::Claim)
            },
            &Kind::Acquired { gil, wait_ns } => Self {
                gil,
                wait_ns,
                ..Self::new(Word::Acquired)
            },
            &Kind::Request { gil, holder } => Self {
                gil,
                numbers: vec![holder],
                ..Self::new(Word::Request)
            },
            &Kind::Stall(stall) => Self::of_stall(stall),
            Kind::Thread(info) => Self {
                text: Some(&info.name),
                numbers: vec![info.pid.into(), info.native_id.into(), info.ident],
                ..Self::new(Word::Thread)
            },
            Kind::Total(total) => Self {
                gil: total.gil,
                text: Some(total.state.word()),
                numbers: vec![total.count, total.sum_ns, total.max_ns, total.forced],
                ..Self::new(Word::Total)
            },
            Kind::Spread(spread) => Self {
                gil: spread.gil,
                text: Some(spread.state.word()),
                numbers: spread
                    .buckets
                    .iter()
                    .flat_map(|&(value, count)| [value, count])
                    .collect(),
                ..Self::new(Word::Spread)
            },
            Kind::Process { facts } => Self {
                text: Some(facts),
                ..Self::new(Word::Process)
            },
            Kind::Gil { gil, facts } => Self {
                gil: *gil,
                text: Some(facts),
                ..Self::new(Word::Gil)
            },
            &Kind::Stack {
                gil,
                number,
                hold_ns,
            } => Self {
                gil,
                hold_ns,
                numbers: vec![number.into()],
                ..Self::new(Word::Stack)
            },
            Kind::Frames { number, frames } => Self {
                text: Some(frames),
                numbers: vec![(*number).into()],
                ..Self::new(Word::Frames)
            },
            Kind::Module { number, facts } => Self {
                text: Some(facts),
                numbers: vec![(*number).into()],
                ..Self::new(Word::Module)
            },
            kind @ (Kind::Location { .. }
            | Kind::At { .. }
            | Kind::SpanBegin(_)
            | Kind::SpanEnd { .. }
            | Kind::SpanSwitch { .. }) => Self::of_code(kind),
            Kind::Mode { over_ns } => Self {
                text: Some("slow"),
                numbers: vec![*over_ns],
                ..Self::new(Word::Mode)
            },
            Kind::Lost { count, cause } => Self {
                text: Some(cause),
                numbers: vec![*count],
                ..Self::new(Word::Lost)
            },
            Kind::End { reason } => Self {
                text: Some(reason),
                ..Self::new(Word::End)
            },
        }
    }
}

fn high(trace: u128) -> u64 {
    (trace >> 64) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half of 128 bits"
)]
fn low(trace: u128) -> u64 {
    trace as u64
}

/// Rows that are not written yet, by column.
#[derive(Default)]
pub(crate) struct Rows {
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

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.time.len()
    }

    #[inline]
    pub(crate) fn add(&mut self, event: &Event) {
        let row = Row::of(event);
        self.time.push(event.time_ns);
        self.word.push(row.word as i8);
        self.tid.push(event.tid);
        self.gil.push(row.gil);
        self.forced.append_value(row.forced);
        self.hold.push(row.hold_ns);
        self.wait.push(row.wait_ns);
        self.text.append_option(row.text);
        self.numbers.values().append_slice(&row.numbers);
        self.numbers.append(!row.numbers.is_empty());
    }

    /// A batch of the schema of traces.
    pub(crate) fn into_batch(mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let words: StringArray = Word::ALL
            .map(|word| Some(word.name()))
            .into_iter()
            .collect();
        let word = Int8Array::from(self.word);
        let word = DictionaryArray::<Int8Type>::try_new(word, Arc::new(words))?;
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
