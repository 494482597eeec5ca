//! The native tracer, attached: from the moment when every marker is live until the output is complete.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::error::RecordError;
use crate::native::object::Program;
use crate::native::open::{OpenCycle, Places};
use crate::native::reader::Reader;
use crate::native::{attach_error, summary, totals};
use crate::stop::StopReason;
use crate::trace::Header;
use crate::tracer::{Counts, Finished, Output, Plan, Session};
use crate::window::Window;

/// The program, attached, and what becomes of what it sees.
pub(super) struct Running {
    pid: u32,
    program: Program,
    places: Places,
    counts: Arc<Counts>,
    window: Arc<Window>,
    /// Reads events, if there are any.
    reader: Option<Reader>,
}

impl Running {
    /// Begins, now that everything is attached.
    pub(super) fn start(program: Program, places: Places, plan: Plan) -> Result<Self, RecordError> {
        let pid = plan.interpreter.pid;
        let counts = Arc::new(Counts::default());
        let window = Arc::new(Window::closed());
        let start_ns = clock::monotonic_ns();
        window.begin(start_ns);
        let reader = match plan.output {
            Output::Summary => None,
            Output::Events { mut file, command } => {
                let header = Header {
                    pid,
                    python: plan.interpreter.version,
                    command,
                };
                let maps = program
                    .ring()
                    .and_then(|ring| Ok((ring, program.counters()?)));
                let (ring, counters) = maps.map_err(|error| attach_error(pid, &error))?;
                let line = header.line(&clock::wall_clock(Duration::ZERO), start_ns);
                file.line(line.as_bytes())
                    .and_then(|()| file.flush())
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
            program,
            places,
            counts,
            window,
            reader,
        })
    }
}

impl Running {
    /// The holds and waits that are going on now.
    fn open(&self, now_ns: u64) -> Vec<OpenCycle> {
        totals::lanes(&self.program)
            .map(|lanes| self.places.read(self.pid, &lanes, now_ns))
            .unwrap_or_default()
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
        self.program.detach();
        if let Some(reader) = self.reader.take() {
            return reader
                .finish(reason, &open)
                .map(Finished::Trace)
                .map_err(|source| RecordError::Write { source });
        }
        let totals = totals::read(&self.program).map_err(|error| RecordError::Totals {
            message: error.to_string(),
        })?;
        Ok(Finished::Summary(summary::render(
            &totals,
            &open,
            self.window.start_ns(),
            end_ns,
        )))
    }
}
