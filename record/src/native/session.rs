//! The native tracer, attached: from the moment when every marker is live until the output is complete.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::error::RecordError;
use crate::native::calibrate::{self, Nop};
use crate::native::object::{Program, Work};
use crate::native::open::{OpenCycle, Places};
use crate::native::reader::Reader;
use crate::native::totals::{self, Everything};
use crate::native::{attach_error, summary};
use crate::stop::StopReason;
use crate::trace::Header;
use crate::tracer::{Counts, Finished, Output, Plan, Session};
use crate::window::Window;

/// The program, attached to an interpreter.
pub(super) struct Attached {
    pub(super) program: Program,
    pub(super) work: Work,
    pub(super) nop: Nop,
    pub(super) places: Places,
}

/// The program, attached, and what becomes of what it sees.
pub(super) struct Running {
    pid: u32,
    attached: Attached,
    counts: Arc<Counts>,
    window: Arc<Window>,
    /// Reads events, if there are any.
    reader: Option<Reader>,
}

impl Running {
    /// Begins, now that everything is attached.
    pub(super) fn start(attached: Attached, plan: Plan) -> Result<Self, RecordError> {
        let pid = plan.interpreter.pid;
        let counts = Arc::new(Counts::default());
        let window = Arc::new(Window::closed());
        let start_ns = clock::monotonic_ns();
        window.begin(start_ns);
        let reader = match plan.output {
            Output::Summary => None,
            Output::Events {
                mut file,
                command,
                over,
            } => {
                let header = Header {
                    pid,
                    python: plan.interpreter.version,
                    command,
                    over,
                };
                let program = &attached.program;
                let maps = program
                    .ring()
                    .and_then(|ring| Ok((ring, program.counters()?)));
                let (ring, counters) = maps.map_err(|error| attach_error(pid, &error))?;
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
        Ok(Self {
            pid,
            attached,
            counts,
            window,
            reader,
        })
    }
}

impl Running {
    /// The holds and waits that are going on now.
    fn open(&self, now_ns: u64) -> Vec<OpenCycle> {
        totals::lanes(&self.attached.program)
            .map(|lanes| self.attached.places.read(self.pid, &lanes, now_ns))
            .unwrap_or_default()
    }

    fn totals(&self) -> Result<Everything, RecordError> {
        totals::read(&self.attached.program).map_err(|error| RecordError::Totals {
            message: error.to_string(),
        })
    }

    fn summary(&self, open: &[OpenCycle], end_ns: u64) -> Result<Finished, RecordError> {
        let totals = self.totals()?;
        self.counts.hits.store(totals.hits(), Ordering::Relaxed);
        let start_ns = self.window.start_ns();
        let text = summary::render(&totals, open, start_ns, end_ns);
        Ok(Finished::Summary(text))
    }
}

impl Session for Running {
    fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    fn has_ended(&mut self) -> bool {
        self.reader.as_ref().is_some_and(Reader::has_ended)
    }

    fn finish(mut self: Box<Self>, reason: StopReason) -> Result<Finished, RecordError> {
        let end_ns = clock::monotonic_ns();
        self.window.end(end_ns);
        let open = self.open(end_ns);
        self.attached.program.detach();
        let finished = match self.reader.take() {
            Some(reader) if self.attached.work.keep_totals => {
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
        if self.counts.hits.load(Ordering::Relaxed) > 0
            && let Some(hit_ns) = calibrate::hit_ns(self.attached.nop, &self.attached.work)
        {
            self.counts.hit_ns.store(hit_ns, Ordering::Relaxed);
        }
        Ok(finished)
    }
}
