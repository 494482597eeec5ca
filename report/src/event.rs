//! What a trace says happened, whatever form it was written in.

use crate::interval::State;
use crate::stall::Stall;

/// One event of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds on the trace's clock.
    pub time_ns: u64,
    /// The thread it is about, or for [`Kind::Process`], [`Kind::Gil`], [`Kind::Frames`] and [`Kind::Module`] the process, as the host numbers it; 0 where the event is about no thread.
    pub tid: u32,
    /// What happened.
    pub kind: Kind,
}

/// What happened. `gil` is the address of the GIL's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The thread starts asking for the GIL.
    Claim {
        /// The GIL's address.
        gil: u64,
    },
    /// The thread has the GIL.
    Acquired {
        /// The GIL's address.
        gil: u64,
        /// How long it waited; 0 if the GIL was free.
        wait_ns: u64,
    },
    /// The thread gives the GIL up: nearly all events are this.
    Drop(DropInfo),
    /// The thread timed out waiting and asks the holder to drop.
    Request {
        /// The GIL's address.
        gil: u64,
        /// `threading.get_ident()` of the holder; 0 = not known.
        holder: u64,
    },
    /// What made the thread, or the others, wait in a free-threaded process.
    Stall(Stall),
    /// What the thread did with a GIL during the whole recording, where not every cycle is an event.
    Total(Box<LaneTotal>),
    /// How long the holds or waits of a total were.
    Spread(Box<LaneSpread>),
    /// The thread exists under this name from now on.
    Thread(Box<ThreadInfo>),
    /// The process with the number [`Event::tid`] is as these `key=value` pairs say.
    Process {
        /// The pairs, as written.
        facts: Box<str>,
    },
    /// A GIL of the process with the number [`Event::tid`] is as these `key=value` pairs say.
    Gil {
        /// The GIL's address.
        gil: u64,
        /// The pairs, as written.
        facts: Box<str>,
    },
    /// The stack on which the thread gave the GIL up, of the drop at the same moment; or, while a hold went on, the stack then.
    Stack {
        /// The GIL's address.
        gil: u64,
        /// The number of the stack; [`Kind::Frames`] says what it is.
        number: u32,
        /// The hold that ends here; 0 while it goes on.
        hold_ns: u64,
    },
    /// The frames of a stack in the process with the number [`Event::tid`].
    Frames {
        /// The stack's number in this trace.
        number: u32,
        /// The frames, as written.
        frames: Box<str>,
    },
    /// A file with code, which the process with the number [`Event::tid`] has mapped.
    Module {
        /// The file's number in this trace.
        number: u32,
        /// `key=value` pairs, as written.
        facts: Box<str>,
    },
    /// A place in Python code, in the process with the number [`Event::tid`].
    Location {
        /// Its number in that process.
        number: u64,
        /// `key=value` pairs, as written.
        facts: Box<str>,
    },
    /// The drop of the same thread that comes next is at this place in Python code, and so is the wait that follows it.
    At {
        /// The number of the place; [`Kind::Location`] says what it is.
        location: u64,
    },
    /// A span begins in the thread, which works for it from now on.
    SpanBegin(Box<SpanInfo>),
    /// A span has ended.
    SpanEnd {
        /// Its id.
        span: u64,
    },
    /// The thread works for that span from now on.
    SpanSwitch {
        /// Its id; 0 = for none.
        span: u64,
    },
    /// From now on only cycles with a hold or wait that lasts so long are events; all of them are in the totals.
    Mode {
        /// The shortest.
        over_ns: u64,
    },
    /// So many events were lost up to here.
    Lost {
        /// How many.
        count: u64,
        /// Why, in the recorder's words.
        cause: Box<str>,
    },
    /// Tracing ended here, in order.
    End {
        /// Why, in the recorder's words (`duration`, `exit`, `signal`, …).
        reason: Box<str>,
    },
}

/// What a drop says of the cycle that ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropInfo {
    /// The GIL's address.
    pub gil: u64,
    /// Another thread timed out on the switch interval and asked for it.
    pub forced: bool,
    /// The hold that ends here; 0 = not known.
    pub hold_ns: u64,
    /// The wait before that hold; 0 = none, or not known.
    pub wait_ns: u64,
}

/// All holds of one thread on one GIL, or all its waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneTotal {
    /// The GIL's address.
    pub gil: u64,
    /// Which of the two.
    pub state: State,
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// How many of the holds ended because another thread asked; 0 for waits.
    pub forced: u64,
}

/// How many holds or waits of a total were how long; a total may have several of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSpread {
    /// The GIL's address.
    pub gil: u64,
    /// Holds or waits.
    pub state: State,
    /// A duration in nanoseconds, less than 1 % too long, and how many were of it.
    pub buckets: Vec<(u64, u64)>,
}

/// A span: what a program does for one request, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanInfo {
    /// Its id; it differs from those of all other spans of the process.
    pub span: u64,
    /// The id of the span that it is a part of; 0 = of none.
    pub parent: u64,
    /// The id of the trace that it belongs to.
    pub trace: u128,
    /// Its name, as recorded: it may hold any character.
    pub name: String,
}

/// Who a thread is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadInfo {
    /// The process it belongs to, as the host numbers it.
    pub pid: u32,
    /// `threading.get_native_id()`: the thread's id in its own pid namespace.
    pub native_id: u32,
    /// `threading.get_ident()`; 0 = not known.
    pub ident: u64,
    /// Its name, as recorded: it may hold any character.
    pub name: String,
}
