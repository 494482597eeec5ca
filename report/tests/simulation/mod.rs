//! A GIL in a few lines: threads that sleep and work in turn, the switch interval, forced and voluntary drops. Writes the
//! text trace that the markers would have given, with the truth known.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, Write};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
pub(crate) const START: u64 = 5_000 * SECOND;
const SWITCH_INTERVAL: u64 = 5 * MS;
/// From a drop until the next thread has the GIL.
const HAND_OVER: u64 = 3_000;
const GIL: &str = "7f8a5c0012a8";
const PID: usize = 4711;

/// What a thread does, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    pub(crate) name: String,
    /// Without the GIL.
    pub(crate) sleep_ns: u64,
    /// With the GIL.
    pub(crate) work_ns: u64,
    /// Does not give the GIL up when asked.
    pub(crate) stubborn: bool,
}

impl Behaviour {
    pub(crate) fn new(name: &str, sleep_ns: u64, work_ns: u64) -> Self {
        Self {
            name: name.to_owned(),
            sleep_ns,
            work_ns,
            stubborn: false,
        }
    }

    pub(crate) fn stubborn(self) -> Self {
        Self {
            stubborn: true,
            ..self
        }
    }
}

/// Which markers are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Markers {
    All,
    DropOnly,
}

/// Sums of what happened, by thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) holds: u64,
    pub(crate) hold_ns: u64,
    pub(crate) waits: u64,
    pub(crate) wait_ns: u64,
}

struct Running {
    thread: usize,
    since: u64,
    wait_ns: u64,
}

struct Waiting {
    thread: usize,
    since: u64,
}

/// Runs the threads and writes the trace; the truth of every thread.
pub(crate) fn simulate(
    threads: &[Behaviour],
    duration_ns: u64,
    markers: Markers,
    output: &mut impl Write,
) -> io::Result<Vec<Truth>> {
    let tid = |thread: usize| PID + 1 + thread;
    let ident = |thread: usize| 140_213_563_344_576 + thread as u64 * 8_192;
    writeln!(
        output,
        "# gil-trace 1 clock=monotonic pid={PID} python=3.13.5 start=2026-11-20T23:30:00.250+0000 start_ns={START}"
    )?;
    for (thread, behaviour) in threads.iter().enumerate() {
        let tid = tid(thread);
        let (ident, name) = (ident(thread), &behaviour.name);
        writeln!(output, "{START} thread {tid} {PID} {tid} {ident} {name}")?;
    }
    let end = START + duration_ns;
    let mut truth = vec![Truth::default(); threads.len()];
    let mut left: Vec<u64> = threads.iter().map(|thread| thread.work_ns).collect();
    let mut waking: BinaryHeap<Reverse<(u64, usize)>> = (0..threads.len())
        .map(|thread| Reverse((START + 1 + thread as u64 * 10_007, thread)))
        .collect();
    let mut line: VecDeque<Waiting> = VecDeque::new();
    let mut running: Option<Running> = None;
    let all = markers == Markers::All;
    loop {
        let wake = waking.peek().map_or(u64::MAX, |wake| wake.0.0);
        let finish = running
            .as_ref()
            .map_or(u64::MAX, |run| run.since.saturating_add(left[run.thread]));
        let force = match (&running, line.front()) {
            (Some(run), Some(first)) if !threads[run.thread].stubborn => {
                first.since.max(run.since) + SWITCH_INTERVAL
            }
            _ => u64::MAX,
        };
        let now = wake.min(finish).min(force);
        if now >= end {
            break;
        }
        let mut free_at = None;
        if now == wake {
            let Some(Reverse((_, thread))) = waking.pop() else {
                unreachable!("it was peeked");
            };
            if all {
                writeln!(output, "{now} claim {} {GIL}", tid(thread))?;
            }
            line.push_back(Waiting { thread, since: now });
            if running.is_none() {
                free_at = Some(now);
            }
        } else if let Some(run) = running.take() {
            let forced = now == force && now != finish;
            let hold = now - run.since;
            let (id, wait) = (tid(run.thread), run.wait_ns);
            if forced && all {
                let asks = tid(line[0].thread);
                writeln!(output, "{now} request {asks} {GIL} {}", ident(run.thread))?;
            }
            writeln!(
                output,
                "{now} drop {id} {GIL} {} {hold} {wait}",
                u8::from(forced)
            )?;
            let sums = &mut truth[run.thread];
            sums.holds += 1;
            sums.hold_ns += hold;
            sums.waits += u64::from(wait > 0);
            sums.wait_ns += wait;
            if forced {
                left[run.thread] -= hold;
                line.push_back(Waiting {
                    thread: run.thread,
                    since: now,
                });
            } else {
                left[run.thread] = threads[run.thread].work_ns;
                waking.push(Reverse((
                    now + threads[run.thread].sleep_ns + 1,
                    run.thread,
                )));
            }
            free_at = Some(now + HAND_OVER);
        }
        if let (Some(at), Some(next)) = (free_at, line.front()) {
            // A wake-up in the middle of a hand-over changes nothing: it stands behind the first in line.
            let free = at == next.since;
            let wait_ns = if free { 0 } else { at - next.since };
            let thread = next.thread;
            line.pop_front();
            if all && at < end {
                writeln!(output, "{at} acquired {} {GIL} {wait_ns}", tid(thread))?;
            }
            running = Some(Running {
                thread,
                since: at,
                wait_ns,
            });
        }
    }
    writeln!(output, "{end} end duration")?;
    Ok(truth)
}

/// The talk's first scenario: two threads that sleep 0.1 s in a loop.
pub(crate) fn io_threads() -> Vec<Behaviour> {
    vec![
        Behaviour::new("io-1", 100 * MS, 80_000),
        Behaviour::new("io-2", 100 * MS, 90_000),
    ]
}

/// The talk's second scenario: the same and one that never sleeps.
pub(crate) fn with_cpu_thread() -> Vec<Behaviour> {
    let mut threads = io_threads();
    threads.push(Behaviour::new("cpu", 0, u64::MAX >> 8));
    threads
}
