//! Holds and waits, one by one, as they are found in a trace.

use crate::requests::Request;
use crate::summary::Session;

/// What a thread did with a GIL for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It had it.
    Hold,
    /// It stood in line for it.
    Wait,
}

impl State {
    /// `hold` or `wait`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Wait => "wait",
        }
    }

    /// Which one that word is.
    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        match word {
            b"hold" => Some(Self::Hold),
            b"wait" => Some(Self::Wait),
            _ => None,
        }
    }
}

/// One hold or wait of one thread. On one GIL, holds never overlap.
#[derive(Debug, Clone, Copy)]
pub struct Interval<'t> {
    /// Hold or wait.
    pub state: State,
    /// Numbers thread and GIL together, from 0 in order of appearance within a session.
    pub lane: u32,
    /// The process, as the host numbers it.
    pub pid: u32,
    /// The thread, as the host numbers it.
    pub tid: u32,
    /// The thread's name so far.
    pub name: Option<&'t str>,
    /// The GIL's address.
    pub gil: u64,
    /// When it began, on the trace's clock.
    pub start_ns: u64,
    /// When it ended, on the trace's clock.
    pub end_ns: u64,
    /// A hold that ended because another thread asked for it.
    pub forced: bool,
    /// It had not ended when tracing did.
    pub open: bool,
    /// For a wait: the thread that held the GIL for most of it.
    pub holder_tid: Option<u32>,
}

/// Takes intervals while a trace is read. They come ordered by the drop that ended their cycle: for one GIL, holds are in
/// order, and the wait before a hold comes just before it.
pub trait IntervalSink {
    /// Takes one.
    fn interval(&mut self, interval: &Interval<'_>);

    /// Whether it is worth finding out what an interval is about.
    fn wants_intervals(&self) -> bool {
        true
    }

    /// Takes a request, when all of it is known.
    fn request(&mut self, _request: &Request) {}

    /// A session ended; the next one's lanes are numbered anew.
    fn session_ended(&mut self, _session: &Session) {}
}

/// Takes them and does nothing.
impl IntervalSink for () {
    #[inline]
    fn interval(&mut self, _interval: &Interval<'_>) {}

    fn wants_intervals(&self) -> bool {
        false
    }
}
