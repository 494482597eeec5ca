//! The native tracer, attached: from the moment when every marker is live until the output is complete.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::error::RecordError;
use crate::native::calibrate;
use crate::native::group::Group;
use crate::native::open::OpenCycle;
use crate::native::reader::Reader;
use crate::native::totals::{self, Everything};
use crate::native::{attach_error, nanoseconds, stalls, summary};
use crate::options::Mode;
use crate::record::Cost;
use crate::stop::StopReason;
use crate::tracer::{Counts, Finished, Output, Session, Task};
use crate::window::Window;

/// What the trace says of processes of which nothing is known.
const NOT_FOLLOWED: &str = "a process could not be followed: what it did is missing";

/// What the trace says when stalls of free-threaded processes found no room.
const NO_ROOM: &str = "the buffer was full when a world was stopped or a mutex waited for";

/// Likewise, of what processes tell of themselves.
const NO_ROOM_FOR_SPANS: &str =
    "the buffer was full when a thread was named or a span began or ended";

/// The program, attached, and what becomes of what it sees.
pub(super) struct Running {
    group: Group,
    counts: Arc<Counts>,
    window: Arc<Window>,
    /// Reads events, if there are any.
    reader: Option<Reader>,
    task: Task,
    /// What a hit costs as it is now, once that was asked for.
    hit_ns: Option<u64>,
    /// What it cost before it went on with less.
    before: Cost,
}

impl Running {
    /// Begins, now that everything is attached.
    pub(super) fn start(group: Group, output: Output, task: Task) -> Result<Self, RecordError> {
        let counts = Arc::new(Counts::default());
        let window = Arc::new(Window::closed());
        let start_ns = clock::monotonic_ns();
        window.begin(start_ns);
        let reader = match output {
            Output::Summary => None,
            Output::Events { mut file, header } => {
                let tables = &group.tables;
                let maps = tables
                    .events()
                    .and_then(|ring| Ok((ring, tables.counters()?)));
                let (ring, counters) = maps.map_err(|error| attach_error(header.pid, &error))?;
                let line = header.line(&clock::wall_clock(Duration::ZERO), start_ns);
                file.begin(&line)
                    .map_err(|source| RecordError::Write { source })?;
                let reader = Reader::start(
                    ring,
                    counters,
                    file,
                    Arc::clone(&window),
                    Arc::clone(&counts),
                );
                Some(reader)
            }
        };
        let mut running = Self {
            group,
            counts,
            window,
            reader,
            task,
            hit_ns: None,
            before: Cost { hits: 0, hit_ns: 0 },
        };
        running.pass_notes();
        Ok(running)
    }

    /// What is known of processes goes into the trace.
    fn pass_notes(&mut self) {
        let notes = self.group.take_notes();
        if let Some(reader) = &self.reader {
            for note in notes {
                reader.note(note);
            }
        }
    }

    /// The holds and waits that are going on now.
    fn open(&self, now_ns: u64) -> Vec<OpenCycle> {
        totals::lanes(&self.group.tables)
            .map(|lanes| self.group.open(&lanes, now_ns))
            .unwrap_or_default()
    }

    /// What so many hits have cost; of those before it went on with less, what they cost then.
    fn cost_of(&mut self, hits: u64) -> Option<Cost> {
        if self.hit_ns.is_none() {
            let nop = self.group.nop()?;
            self.hit_ns = calibrate::hit_ns(nop, &self.group.work);
        }
        let since = hits.saturating_sub(self.before.hits);
        let before_ns = self.before.hits.saturating_mul(self.before.hit_ns);
        let all_ns = since.saturating_mul(self.hit_ns?).saturating_add(before_ns);
        let hit_ns = all_ns.checked_div(hits).or(self.hit_ns)?;
        Some(Cost { hits, hit_ns })
    }

    fn totals(&self) -> Result<Everything, RecordError> {
        totals::read(&self.group.tables).map_err(|error| RecordError::Totals {
            message: error.to_string(),
        })
    }

    fn summary(&self, open: &[OpenCycle], end_ns: u64) -> Result<Finished, RecordError> {
        let totals = self.totals()?;
        self.counts.hits.store(totals.hits(), Ordering::Relaxed);
        let start_ns = self.window.start_ns();
        let stalls = self.group.stalls();
        let mut text = summary::render(&totals, open, (start_ns, end_ns), !stalls.is_empty());
        text += &stalls::summary(&stalls, end_ns - start_ns);
        let not_followed = self.group.not_followed();
        if not_followed > 0 {
            let _ = writeln!(text, "LOST: {not_followed} times {NOT_FOLLOWED}.");
        }
        Ok(Finished::Summary(text))
    }
}

impl Session for Running {
    fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    fn wait(&mut self, timeout: Duration) {
        self.group.wait(timeout);
        self.pass_notes();
    }

    fn cost(&mut self) -> Option<Cost> {
        let hits = if self.group.work.keep_totals {
            let lanes = totals::lanes(&self.group.tables).ok()?;
            lanes
                .iter()
                .map(|(_, lane)| lane.hits + lane.requests)
                .sum()
        } else {
            self.counts.hits.load(Ordering::Relaxed)
        };
        self.cost_of(hits)
    }

    fn use_less(&mut self) -> bool {
        let (Some(over), Mode::Events) = (self.task.adaptive, self.task.mode) else {
            return false;
        };
        let Some(cost) = self.cost() else {
            return false;
        };
        let over_ns = nanoseconds(over);
        let now_ns = clock::monotonic_ns();
        if self.group.tables.set_events_from(over_ns).is_err() {
            return false;
        }
        if let Some(reader) = &self.reader {
            reader.note(format!("{now_ns} mode slow {over_ns}\n"));
        }
        self.task.mode = Mode::Slow(over);
        self.group.work.events_from_ns = Some(over_ns);
        (self.before, self.hit_ns) = (cost, None);
        true
    }

    fn processes(&mut self) -> Option<usize> {
        Some(if self.group.has_ended() {
            0
        } else {
            self.group.count().max(1)
        })
    }

    fn has_ended(&mut self) -> bool {
        self.reader.as_ref().is_some_and(Reader::has_ended)
    }

    fn finish(mut self: Box<Self>, reason: StopReason) -> Result<Finished, RecordError> {
        let end_ns = clock::monotonic_ns();
        self.window.end(end_ns);
        let open = self.open(end_ns);
        self.group.detach();
        // Processes that were added last are in the trace, too.
        self.group.catch_up();
        self.pass_notes();
        let lost: u64 = self.group.stalls().iter().map(|stalls| stalls.lost()).sum();
        if lost > 0
            && let Some(reader) = &self.reader
        {
            self.counts.lost.fetch_add(lost, Ordering::Relaxed);
            reader.note(format!("{end_ns} lost {lost} {NO_ROOM}\n"));
        }
        let lost = self.group.lost_tellings();
        if lost > 0
            && let Some(reader) = &self.reader
        {
            self.counts.lost.fetch_add(lost, Ordering::Relaxed);
            reader.note(format!("{end_ns} lost {lost} {NO_ROOM_FOR_SPANS}\n"));
        }
        let not_followed = self.group.not_followed();
        if not_followed > 0 {
            self.counts.lost.fetch_add(not_followed, Ordering::Relaxed);
            if let Some(reader) = &self.reader {
                reader.note(format!("{end_ns} lost {not_followed} {NOT_FOLLOWED}\n"));
            }
        }
        let finished = match self.reader.take() {
            Some(reader) if self.task.mode != Mode::Events => {
                let totals = self.totals()?;
                reader
                    .finish(reason, &open, Some(&totals))
                    .map(Finished::Trace)
                    .map_err(|source| RecordError::Write { source })?
            }
            Some(reader) => reader
                .finish(reason, &open, None)
                .map(Finished::Trace)
                .map_err(|source| RecordError::Write { source })?,
            None => self.summary(&open, end_ns)?,
        };
        let hits = self.counts.hits.load(Ordering::Relaxed);
        // Measured anew: the process does not disturb it any more.
        self.hit_ns = None;
        if hits > 0
            && let Some(cost) = self.cost_of(hits)
        {
            self.counts.hit_ns.store(cost.hit_ns, Ordering::Relaxed);
        }
        Ok(finished)
    }
}
