//! Takes events out of the ring buffer, in a thread of its own, and writes them into the trace.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gil_report::{DropInfo, Kind, SpanInfo, Stall};
use libbpf_rs::{MapHandle, RingBufferBuilder};

use crate::events::EventFile;
use crate::interval;
use crate::native::layout::Event;
use crate::native::names::{Names, Seen, one_line};
use crate::native::open::{self, Open, OpenCycle};
use crate::native::stacks::Stacks;
use crate::native::tables::CounterTable;
use crate::native::totals::Everything;
use crate::stop::StopReason;
use crate::trace::escape;
use crate::tracer::Counts;
use crate::window::Window;

/// Events wait no longer than this; when there are many, the program wakes us earlier.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Of more GILs than this the trace does not tell what they are set to.
const MOST_GILS: usize = 65_536;
/// What the trace says when the program found the buffer full.
const RING_FULL: &str = "the ring buffer was full";
/// What it says of missing stacks.
const STACKS_NOT_TAKEN: &str = "stacks of long holds could not be taken";
const STACKS_BEYOND: &str = "stacks of long holds are beyond the number that is told apart";

/// A thread that reads events.
pub(super) struct Reader {
    stop: Arc<AtomicBool>,
    notes: Sender<String>,
    thread: JoinHandle<io::Result<(Lines, CounterTable)>>,
}

impl Reader {
    /// Starts to read. `file` has its header already.
    pub(super) fn start(
        ring: MapHandle,
        counters: CounterTable,
        file: EventFile,
        window: Arc<Window>,
        counts: Arc<Counts>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (notes, received) = mpsc::channel();
        let lines = Lines {
            file,
            notes: received,
            gils: HashMap::new(),
            window,
            counts,
            latest_ns: 0,
            line: Vec::new(),
            failure: None,
            stacks: Stacks::default(),
            settled: HashSet::new(),
            names: Names::default(),
        };
        let thread = thread::spawn(move || {
            let lines = read(&ring, &counters, lines, &stopped)?;
            Ok((lines, counters))
        });
        Self {
            stop,
            notes,
            thread,
        }
    }

    /// Puts a line into the trace that is no event.
    pub(super) fn note(&self, line: String) {
        // A reader that has ended says so itself.
        let _ = self.notes.send(line);
    }

    /// Whether it can write no more.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Reads what is left, now that nothing more comes, and completes the trace.
    /// `open` is what threads were in the middle of when it ended.
    /// `totals` are for a trace in which not every cycle is an event.
    pub(super) fn finish(
        self,
        reason: StopReason,
        open: &[OpenCycle],
        totals: Option<&Everything>,
    ) -> io::Result<PathBuf> {
        self.stop.store(true, Ordering::Release);
        let (mut lines, counters) = self
            .thread
            .join()
            .map_err(|_| io::Error::other("the reader of events has failed"))??;
        lines.open(open)?;
        lines.name_stacks(counters.read().stacks)?;
        let end_ns = lines.window.end_ns().unwrap_or(lines.latest_ns);
        if let Some(totals) = totals {
            lines.counts.hits.store(totals.hits(), Ordering::Relaxed);
            for line in totals.lines(end_ns) {
                lines.file.line(line.as_bytes())?;
            }
        }
        lines.file.end(end_ns, reason)
    }
}

fn read(
    ring: &MapHandle,
    counters: &CounterTable,
    lines: Lines,
    stop: &AtomicBool,
) -> io::Result<Lines> {
    let lines = RefCell::new(lines);
    {
        let mut builder = RingBufferBuilder::new();
        builder
            .add(ring, |bytes| lines.borrow_mut().take(bytes))
            .map_err(io::Error::other)?;
        let buffer = builder.build().map_err(io::Error::other)?;
        let mut lost = 0;
        loop {
            // Before the buffer is emptied, so that nothing can come in between.
            let is_last = stop.load(Ordering::Acquire);
            if !is_last {
                // An interrupted wait is as good as one that is over.
                let _ = buffer.poll(LONGEST_WAIT);
            }
            let _ = buffer.consume_raw();
            let mut lines = lines.borrow_mut();
            lines.lost(counters.read().ring_full, &mut lost);
            lines.idle()?;
            if is_last {
                break;
            }
        }
    }
    Ok(lines.into_inner())
}

/// Turns events into lines of the trace.
struct Lines {
    file: EventFile,
    notes: Receiver<String>,
    /// What the trace says of the switch intervals of processes' GILs.
    gils: HashMap<(u32, u64), u64>,
    window: Arc<Window>,
    counts: Arc<Counts>,
    latest_ns: u64,
    line: Vec<u8>,
    failure: Option<io::Error>,
    /// What threads were in at the end of long holds.
    stacks: Stacks,
    /// Threads, and their GILs, of which it is known what they were in the middle of at the end.
    settled: HashSet<(u32, u64)>,
    names: Names,
}

impl Lines {
    /// Takes one event. Less than 0 ends the reading.
    fn take(&mut self, bytes: &[u8]) -> i32 {
        let Some((time_ns, tid, event)) = Event::read(bytes) else {
            return 0;
        };
        if let Err(error) = self.event(time_ns, tid, &event) {
            self.failure = Some(error);
            return -1;
        }
        0
    }

    fn event(&mut self, time_ns: u64, tid: u32, event: &Event) -> io::Result<()> {
        if let Event::Thread {
            pid,
            native_id,
            ident,
            gil,
            interval_us,
            name,
        } = event
        {
            // Who a thread is also holds for its events after the beginning.
            let time_ns = time_ns.max(self.window.start_ns());
            let thread = Seen {
                tid,
                native_id: *native_id,
            };
            let name = self.names.see((*pid, *ident), thread, name);
            let line = format!("{time_ns} thread {tid} {pid} {native_id} {ident} {name}\n");
            self.file.line(line.as_bytes())?;
            if *gil == 0 {
                // It has shown itself in a free-threaded interpreter, with none.
                return Ok(());
            }
            return self.gil(time_ns, (*pid, *gil), *interval_us);
        }
        if let Some(told) = self.told(time_ns, tid, event) {
            return told;
        }
        if let Event::Stack {
            pid,
            gil,
            hold_ns,
            addresses,
        } = event
        {
            return if self.window.covers(time_ns) {
                self.stack(time_ns, tid, *pid, (*gil, *hold_ns), addresses)
            } else {
                Ok(())
            };
        }
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        if self.window.covers(time_ns) {
            self.latest_ns = self.latest_ns.max(time_ns);
            self.counts.events.fetch_add(1, Ordering::Relaxed);
            self.write(time_ns, tid, event)
        } else {
            self.straddling(time_ns, tid, event)
        }
    }

    /// What a process tells of itself; `None`: it is something else.
    fn told(&mut self, time_ns: u64, tid: u32, event: &Event) -> Option<io::Result<()>> {
        let kind = match event {
            Event::Name {
                pid,
                ident,
                native_id,
                text,
            } => {
                let time_ns = time_ns.max(self.window.start_ns());
                let Some((thread, name)) = self.names.tell((*pid, *ident), *native_id, text) else {
                    return Some(Ok(()));
                };
                let Seen { tid, native_id } = thread;
                let line = format!("{time_ns} thread {tid} {pid} {native_id} {ident} {name}\n");
                return Some(self.file.line(line.as_bytes()));
            }
            Event::Location {
                pid,
                number,
                line,
                function,
                file,
            } => {
                // What it is also holds for events after the beginning.
                let time_ns = time_ns.max(self.window.start_ns());
                let (function, file) = (escape(function), escape(file));
                let line = format!(
                    "{time_ns} location {pid} {number} line={line} function={function} file={file}\n"
                );
                return Some(self.file.line(line.as_bytes()));
            }
            Event::SpanBegin(info) => Kind::SpanBegin(Box::new(SpanInfo {
                name: one_line(&info.name),
                ..info.clone()
            })),
            &Event::SpanEnd { span } => Kind::SpanEnd { span },
            &Event::SpanSwitch { span } => Kind::SpanSwitch { span },
            _ => return None,
        };
        if !self.window.covers(time_ns) {
            return Some(Ok(()));
        }
        self.latest_ns = self.latest_ns.max(time_ns);
        self.counts.events.fetch_add(1, Ordering::Relaxed);
        Some(self.file.event(&gil_report::Event { time_ns, tid, kind }))
    }

    /// What a GIL is set to, when that is new.
    fn gil(&mut self, time_ns: u64, gil: (u32, u64), interval_us: u64) -> io::Result<()> {
        let is_new = self.gils.len() < MOST_GILS || self.gils.contains_key(&gil);
        if !is_new || self.gils.insert(gil, interval_us) == Some(interval_us) {
            return Ok(());
        }
        let interval = interval::nanoseconds(interval_us)
            .map_or_else(|| "-".to_owned(), |interval| interval.to_string());
        let (pid, gil) = gil;
        let line = format!("{time_ns} gil {pid} {gil:x} switch_interval_ns={interval}\n");
        self.file.line(line.as_bytes())
    }

    /// The stack of the drop before.
    fn stack(
        &mut self,
        time_ns: u64,
        tid: u32,
        pid: u32,
        (gil, hold_ns): (u64, u64),
        addresses: &[u64],
    ) -> io::Result<()> {
        let Some((number, lines)) = self.stacks.take(time_ns, pid, addresses.to_vec()) else {
            return Ok(());
        };
        for line in lines {
            self.file.line(line.as_bytes())?;
        }
        let line = format!("{time_ns} stack {tid} {gil:x} {number} {hold_ns}\n");
        self.file.line(line.as_bytes())
    }

    /// What the functions of the stacks are called, and how many stacks are missing: those that could not be `taken`, and those beyond
    /// the number that is told apart.
    fn name_stacks(&mut self, not_taken: u64) -> io::Result<()> {
        let end_ns = self.window.end_ns().unwrap_or(self.latest_ns);
        let (lines, beyond) = self.stacks.finish(end_ns);
        for line in lines {
            self.file.line(line.as_bytes())?;
        }
        for (missing, why) in [(not_taken, STACKS_NOT_TAKEN), (beyond, STACKS_BEYOND)] {
            if missing > 0 {
                let line = format!("{end_ns} lost {missing} {why}\n");
                self.counts.lost.fetch_add(missing, Ordering::Relaxed);
                self.file.line(line.as_bytes())?;
            }
        }
        Ok(())
    }

    /// A cycle that was going on when the trace ended, and was finished while the markers were being detached: its beginning
    /// belongs to the trace.
    fn straddling(&mut self, time_ns: u64, tid: u32, event: &Event) -> io::Result<()> {
        let Event::Drop {
            gil,
            hold_ns: hold_ns @ 1..,
            wait_ns,
            ..
        } = *event
        else {
            return Ok(());
        };
        let (start_ns, Some(end_ns)) = (self.window.start_ns(), self.window.end_ns()) else {
            return Ok(());
        };
        if time_ns < start_ns || !self.settled.insert((tid, gil)) {
            return Ok(());
        }
        match open::open_at(end_ns, time_ns.saturating_sub(hold_ns), 0, wait_ns) {
            Some(open) => self.open_cycle(tid, gil, open),
            None => Ok(()),
        }
    }

    /// What threads were in the middle of when the trace ended, as far as it has not been seen to end.
    fn open(&mut self, cycles: &[OpenCycle]) -> io::Result<()> {
        for &OpenCycle { tid, gil, open } in cycles {
            if self.settled.insert((tid, gil)) {
                self.open_cycle(tid, gil, open)?;
            }
        }
        Ok(())
    }

    fn open_cycle(&mut self, tid: u32, gil: u64, open: Open) -> io::Result<()> {
        self.counts.events.fetch_add(1, Ordering::Relaxed);
        let line = match open {
            Open::Hold {
                acquired_ns,
                wait_ns,
            } => format!("{acquired_ns} acquired {tid} {gil:x} {wait_ns}\n"),
            Open::Wait { since_ns } => format!("{since_ns} claim {tid} {gil:x}\n"),
        };
        self.file.line(line.as_bytes())
    }

    fn write(&mut self, time_ns: u64, tid: u32, event: &Event) -> io::Result<()> {
        if let Event::Drop {
            location: location @ 1..,
            ..
        } = *event
        {
            let kind = Kind::At { location };
            self.file.event(&gil_report::Event { time_ns, tid, kind })?;
        }
        if let Some(stream) = self.file.arrow() {
            return match kind(event) {
                Some(kind) => stream.event(&gil_report::Event { time_ns, tid, kind }),
                None => Ok(()),
            };
        }
        self.line.clear();
        let mut line = Fields(&mut self.line);
        line.number(time_ns);
        match *event {
            Event::Drop {
                forced,
                gil,
                hold_ns,
                wait_ns,
                ..
            } => {
                line.word(b"drop");
                line.number(tid.into());
                line.address(gil);
                line.number(forced.into());
                line.number(hold_ns);
                line.number(wait_ns);
            }
            Event::Request { gil, holder } => {
                line.word(b"request");
                line.number(tid.into());
                line.address(gil);
                line.number(holder);
            }
            Event::Stall(stall) => line.stall(tid, stall),
            _ => {}
        }
        if let Some(last) = self.line.last_mut() {
            *last = b'\n';
        }
        self.file.line(&self.line)
    }

    fn lost(&mut self, now: u64, before: &mut u64) {
        let lost = now - *before;
        if lost == 0 {
            return;
        }
        *before = now;
        self.counts.lost.fetch_add(lost, Ordering::Relaxed);
        self.counts.hits.fetch_add(lost, Ordering::Relaxed);
        let line = format!("{} lost {lost} {RING_FULL}\n", self.latest_ns);
        if let Err(error) = self.file.line(line.as_bytes()) {
            self.failure = Some(error);
        }
    }

    /// Nothing more is waiting: write what was collected.
    fn idle(&mut self) -> io::Result<()> {
        for note in self.notes.try_iter() {
            self.file.line(note.as_bytes())?;
        }
        match self.failure.take() {
            Some(error) => Err(error),
            None => self.file.flush(),
        }
    }
}

/// What a trace says of an event; who a thread is becomes a line.
fn kind(event: &Event) -> Option<Kind> {
    match *event {
        Event::Drop {
            forced,
            gil,
            hold_ns,
            wait_ns,
            ..
        } => Some(Kind::Drop(DropInfo {
            gil,
            forced,
            hold_ns,
            wait_ns,
        })),
        Event::Request { gil, holder } => Some(Kind::Request { gil, holder }),
        Event::Stall(stall) => Some(Kind::Stall(stall)),
        _ => None,
    }
}

/// Fields of a line, each followed by a space. At a million lines a second the standard formatter is too slow.
struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn word(&mut self, word: &[u8]) {
        self.0.extend_from_slice(word);
        self.0.push(b' ');
    }

    fn number(&mut self, number: u64) {
        self.word(itoa::Buffer::new().format(number).as_bytes());
    }

    fn stall(&mut self, tid: u32, stall: Stall) {
        match stall {
            Stall::StwBegin { global } => {
                self.word(b"stw_begin");
                self.number(tid.into());
                self.number(global.into());
            }
            Stall::StwStopped { global, wait_ns } => {
                self.word(b"stw_stopped");
                self.number(tid.into());
                self.number(global.into());
                self.number(wait_ns);
            }
            Stall::StwEnd {
                global,
                stopped_ns,
                wait_ns,
            } => {
                self.word(b"stw_end");
                self.number(tid.into());
                self.number(global.into());
                self.number(stopped_ns);
                self.number(wait_ns);
            }
            Stall::Mutex {
                address,
                wait_ns,
                threading,
            } => {
                self.word(b"mutex");
                self.number(tid.into());
                self.address(address);
                self.number(wait_ns);
                self.number(threading.into());
            }
        }
    }

    /// In hexadecimal.
    fn address(&mut self, address: u64) {
        let digits = (64 - address.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let value = address >> (digit * 4) & 15;
            self.0
                .push(b"0123456789abcdef"[usize::try_from(value).unwrap_or(0)]);
        }
        self.0.push(b' ');
    }
}
