//! From a trace, or a saved summary, to a [`Summary`] and a [`Report`].

use std::io::{self, BufRead, BufReader, Read};

use thiserror::Error;

use crate::arrow::ArrowTraceError;
use crate::event::{DropInfo, Event};
use crate::interval::IntervalSink;
use crate::reorder::{DEFAULT_WINDOW, Reorder};
use crate::report::Report;
use crate::saved::{self, SavedError};
use crate::session::SessionState;
use crate::summary::{Session, Summary};
use crate::text::TextError;
use crate::thresholds::Thresholds;
use crate::trace::{self, EventSink, Open, Trace};

/// What can be set about an analysis.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many events may stand between an event and its place in time: memory against disorder.
    pub reorder_window: usize,
    /// What the verdict is measured by.
    pub thresholds: Thresholds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reorder_window: DEFAULT_WINDOW,
            thresholds: Thresholds::default(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AnalyseError {
    /// It cannot be read as a text trace.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It cannot be read as an Arrow stream.
    #[error(transparent)]
    Arrow(#[from] ArrowTraceError),
    /// It cannot be read as a saved summary.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// It cannot be read at all.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// What becomes of it cannot be written.
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// Reads a trace or a saved summary and reports on it.
///
/// ```
/// let trace = "\
/// ## gil-trace 1 clock=monotonic pid=10 start_ns=0
/// 1000000 drop 11 7f00 0 900000 0
/// 3000000 end duration
/// ";
/// # let trace = &trace.replace("##", "#");
/// let report = gil_report::analyse(trace.as_bytes(), &gil_report::Options::default())?;
/// assert!(report.verdict.line.contains("not the GIL"));
/// # Ok::<(), gil_report::AnalyseError>(())
/// ```
///
/// # Errors
/// When the source cannot be read or is neither.
pub fn analyse(source: impl Read, options: &Options) -> Result<Report, AnalyseError> {
    let summary = summarise(source, options, &mut ())?;
    Ok(Report::new(summary, &options.thresholds))
}

/// Reads a trace or a saved summary; hands every hold and wait of a trace to `sink`. A saved summary has none.
///
/// # Errors
/// When the source cannot be read or is neither.
pub fn summarise(
    source: impl Read,
    options: &Options,
    sink: &mut impl IntervalSink,
) -> Result<Summary, AnalyseError> {
    let mut source = BufReader::new(source);
    if source.fill_buf()?.first() == Some(&b'{') {
        return Ok(saved::read(source)?);
    }
    match trace::open_buffered(source)? {
        Open::Text(trace) => summarise_trace(trace, options, sink),
        Open::Arrow(trace) => summarise_trace(trace, options, sink),
    }
}

fn summarise_trace(
    mut trace: impl Trace,
    options: &Options,
    sink: &mut impl IntervalSink,
) -> Result<Summary, AnalyseError> {
    let mut summary = Summary::default();
    loop {
        let session = session(&mut trace, options, sink)?;
        sink.session_ended(&session);
        summary.merge(Summary {
            sessions: vec![session],
        });
        if !trace.next_trace() {
            return Ok(summary);
        }
    }
}

fn session(
    trace: &mut impl Trace,
    options: &Options,
    sink: &mut impl IntervalSink,
) -> Result<Session, AnalyseError> {
    let mut in_order = InOrder {
        reorder: Reorder::new(options.reorder_window),
        take: Take {
            session: SessionState::new(trace.header().clone()),
            sink,
        },
    };
    let skipped = trace.events(&mut in_order)?;
    let InOrder {
        mut reorder,
        mut take,
    } = in_order;
    reorder.finish(&mut take);
    let Take { mut session, sink } = take;
    let losses = session.losses_mut();
    losses.late = reorder.late();
    losses.skipped_lines = skipped.lines;
    losses.first_skipped_line = skipped.first_line;
    losses.truncated = u64::from(skipped.truncated);
    Ok(session.finish(sink))
}

/// Puts events in order before it hands them on.
struct InOrder<S> {
    reorder: Reorder,
    take: S,
}

impl<S: EventSink> EventSink for InOrder<S> {
    #[expect(clippy::inline_always, reason = "see EventSink")]
    #[inline(always)]
    fn event(&mut self, event: Event) {
        self.reorder.push(event, &mut self.take);
    }

    #[expect(clippy::inline_always, reason = "see EventSink")]
    #[inline(always)]
    fn dropped(&mut self, time_ns: u64, tid: u32, drop: DropInfo) {
        self.reorder.push_drop(time_ns, tid, drop, &mut self.take);
    }
}

/// The end of an event's way.
struct Take<'s, S> {
    session: SessionState,
    sink: &'s mut S,
}

impl<S: IntervalSink> EventSink for Take<'_, S> {
    fn event(&mut self, event: Event) {
        self.session.event(event, self.sink);
    }

    fn dropped(&mut self, time_ns: u64, tid: u32, drop: DropInfo) {
        self.session.dropped(time_ns, tid, drop, self.sink);
    }
}
