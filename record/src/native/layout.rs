//! The structures that the eBPF program and we share, byte by byte: those of gil.bpf.c.

use gil_report::{SpanInfo, Stall};

use crate::native::place::{self, Place};
use crate::native::stalls;

/// Arguments in the table of each marker.
const ARGUMENTS: usize = 10;
/// `sizeof(struct lane_key)`.
pub(super) const LANE_KEY_BYTES: u32 = 24;
/// `sizeof(struct asked_key)`.
pub(super) const ASKED_KEY_BYTES: u32 = 24;
/// `sizeof(struct asked_thread)`.
pub(super) const ASKED_THREAD_BYTES: u32 = 16;
/// `sizeof(struct lane)`.
pub(super) const LANE_BYTES: u32 = 128;
/// `sizeof(struct near_lane)`.
pub(super) const NEAR_LANE_BYTES: u32 = LANE_KEY_BYTES + LANE_BYTES;
/// As in gil.bpf.c.
pub(super) const NEAR_LANES: u32 = 4096;
/// As in gil.bpf.c.
pub(super) const NEAR_LOCATIONS: u32 = 16_384;
/// `sizeof(struct near_bucket)`.
pub(super) const NEAR_BUCKET_BYTES: u32 = 16;
/// As in gil.bpf.c.
pub(super) const NEAR_BUCKETS: u32 = 65_536;
/// `sizeof(struct counters)`.
pub(super) const COUNTERS_BYTES: u32 = 48;
/// `sizeof(struct control)`.
pub(super) const CONTROL_BYTES: u32 = 8;
/// `sizeof(struct location_key)`.
pub(super) const LOCATION_KEY_BYTES: u32 = 16;
/// `sizeof(struct name_key)`.
pub(super) const NAME_KEY_BYTES: u32 = 16;
/// `sizeof(struct name)`.
pub(super) const NAME_BYTES: u32 = 264;

/// Bytes of a text that a marker tells, with the NUL at its end.
const TEXT_BYTES: usize = 256;
/// Bytes of the id of a trace, likewise.
const TRACE_BYTES: usize = 40;

/// Addresses in `struct stack_event`.
const STACK_FRAMES: u32 = 127;

/// `struct settings`, without the places.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the program's settings"
)]
pub(super) struct Settings {
    pub(super) events_from_ns: u64,
    pub(super) wake_at_bytes: u64,
    pub(super) keep_totals: bool,
    pub(super) stacks_from_ns: Option<u64>,
    pub(super) functions: bool,
    pub(super) is_adaptive: bool,
    pub(super) only_listed: bool,
    pub(super) interval_at: Option<u64>,
    pub(super) file: u64,
}

impl Settings {
    /// As the program has it. A marker without places is not attached to.
    pub(super) fn bytes<'a>(&self, markers: impl Iterator<Item = Option<&'a [Place]>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for places in markers {
            for number in 0..ARGUMENTS {
                match places.and_then(|places| places.get(number)) {
                    Some(place) => bytes.extend(place.bytes()),
                    None => bytes.extend([0; place::BYTES]),
                }
            }
        }
        bytes.extend(self.events_from_ns.to_ne_bytes());
        bytes.extend(self.wake_at_bytes.to_ne_bytes());
        bytes.extend(u64::from(self.keep_totals).to_ne_bytes());
        bytes.extend(self.stacks_from_ns.unwrap_or(u64::MAX).to_ne_bytes());
        bytes.extend(u64::from(self.functions).to_ne_bytes());
        bytes.extend(u64::from(self.is_adaptive).to_ne_bytes());
        bytes.extend(u64::from(self.only_listed).to_ne_bytes());
        bytes.extend(self.interval_at.unwrap_or(u64::MAX).to_ne_bytes());
        bytes.extend(self.file.to_ne_bytes());
        bytes
    }
}

/// `struct counters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Events for which the ring buffer had no room.
    pub(super) ring_full: u64,
    /// Cycles of threads for which the table of threads had no room.
    pub(super) lanes_full: u64,
    /// Durations that are in the totals, but for which the histograms had no room.
    pub(super) buckets_full: u64,
    /// Stacks that could not be taken.
    pub(super) stacks: u64,
    /// Hits of threads that are in no lane.
    pub(super) hits: u64,
}

impl Counters {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut words = Words(bytes);
        Self {
            ring_full: words.u64(),
            lanes_full: words.u64(),
            buckets_full: words.u64(),
            stacks: words.u64(),
            hits: words.u64(),
        }
    }
}

/// `struct lane_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneKey {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) gil: u64,
}

impl LaneKey {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut words = Words(bytes);
        let thread = words.u64();
        words.u64();
        Self {
            pid: high(thread),
            tid: low(thread),
            gil: words.u64(),
        }
    }
}

/// `struct asked_key`: a process, the GIL and the ident of a thread.
pub(super) fn asked_key(bytes: &[u8]) -> (u32, u64, u64) {
    let mut words = Words(bytes);
    (low(words.u64()), words.u64(), words.u64())
}

/// `struct totals`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) count: u64,
    pub(super) sum_ns: u64,
    pub(super) max_ns: u64,
}

/// `struct lane`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) name: String,
    /// The file whose markers count for it.
    pub(super) file: u64,
    pub(super) ident: u64,
    pub(super) native_id: u64,
    pub(super) number: u64,
    pub(super) hits: u64,
    pub(super) forced: u64,
    pub(super) requests: u64,
    /// The switch interval of the GIL; 0 = not known.
    pub(super) interval_us: u64,
    pub(super) hold: Totals,
    pub(super) wait: Totals,
}

impl Lane {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut words = Words(bytes);
        let mut lane = Self {
            name: words.name(),
            file: words.u64(),
            ident: words.u64(),
            native_id: words.u64(),
            number: words.u64(),
            hits: words.u64(),
            forced: words.u64(),
            requests: words.u64(),
            interval_us: words.u64(),
            ..Self::default()
        };
        for totals in [&mut lane.hold, &mut lane.wait] {
            totals.count = words.u64();
            totals.sum_ns = words.u64();
            totals.max_ns = words.u64();
        }
        lane
    }
}

/// The key and the count of an entry in the table of buckets.
pub(super) fn bucket(key: &[u8], count: &[u8]) -> Option<(u64, u64)> {
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
    Some((word(key)?, word(count)?))
}

/// `struct near_bucket`; `None` where there is no bucket.
pub(super) fn near_bucket(bytes: &[u8]) -> Option<(u64, u64)> {
    let (key, count) = bytes.split_at_checked(8)?;
    bucket(key, count).filter(|(key, _)| *key != 0)
}

/// `struct near_lane`; `None` where there is no lane.
pub(super) fn near_lane(bytes: &[u8]) -> Option<(LaneKey, Lane)> {
    let (key, lane) = bytes.split_at_checked(LANE_KEY_BYTES as usize)?;
    let key = LaneKey::read(key);
    // The GIL is written last: before that it has counted nothing.
    (key.gil != 0).then(|| (key, Lane::read(lane)))
}

/// The process, identity and native id of a thread, and what it is called, of an entry in the table of names.
pub(super) fn name(key: &[u8], value: &[u8]) -> ((u32, u64), u64, String) {
    let (mut key, mut value) = (Words(key), Words(value));
    let whose = (low(key.u64()), key.u64());
    (whose, value.u64(), value.text(TEXT_BYTES))
}

/// `struct event`, `struct located_event`, `struct thread_event`, `struct stack_event`, or one of those of tell.bpf.c.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Drop {
        forced: bool,
        gil: u64,
        hold_ns: u64,
        wait_ns: u64,
        /// The number of the place in Python code; 0 = not known.
        location: u64,
    },
    Request {
        gil: u64,
        holder: u64,
    },
    /// Of the program for free-threaded interpreters.
    Stall(Stall),
    Thread {
        pid: u32,
        native_id: u32,
        ident: u64,
        gil: u64,
        interval_us: u64,
        name: String,
    },
    /// What a thread is called, told by whichever thread.
    Name {
        pid: u32,
        ident: u64,
        native_id: u64,
        text: String,
    },
    /// What a place in Python code is.
    Location {
        pid: u32,
        number: u64,
        line: u64,
        function: String,
        file: String,
    },
    SpanBegin(SpanInfo),
    SpanEnd {
        span: u64,
    },
    SpanSwitch {
        span: u64,
    },
    /// Of the drop at the same moment, or of a hold that goes on: then `hold_ns` is 0.
    Stack {
        pid: u32,
        gil: u64,
        hold_ns: u64,
        /// Innermost first.
        addresses: Vec<u64>,
    },
}

impl Event {
    /// Reads an event: its time, its thread and what happened. `None` for what the program does not send.
    pub(super) fn read(bytes: &[u8]) -> Option<(u64, u32, Self)> {
        let mut words = Words(bytes);
        let time_ns = words.u64();
        let (tid, kind) = words.pair();
        let event = match kind {
            0 | 1 => Self::Drop {
                forced: kind == 1,
                gil: words.u64(),
                hold_ns: words.u64(),
                wait_ns: words.u64(),
                location: words.u64(),
            },
            2 => Self::Request {
                gil: words.u64(),
                holder: words.u64(),
            },
            3 => {
                let (pid, native_id) = words.pair();
                Self::Thread {
                    pid,
                    native_id,
                    ident: words.u64(),
                    gil: words.u64(),
                    interval_us: words.u64(),
                    name: words.name(),
                }
            }
            4 => {
                let (gil, hold_ns) = (words.u64(), words.u64());
                let (pid, count) = words.pair();
                Self::Stack {
                    pid,
                    gil,
                    hold_ns,
                    addresses: (0..count.min(STACK_FRAMES)).map(|_| words.u64()).collect(),
                }
            }
            32 => Self::Name {
                pid: low(words.u64()),
                ident: words.u64(),
                native_id: words.u64(),
                text: words.text(TEXT_BYTES),
            },
            33 => Self::Location {
                pid: low(words.u64()),
                number: words.u64(),
                line: words.u64(),
                function: words.text(TEXT_BYTES),
                file: words.text(TEXT_BYTES),
            },
            34 => Self::SpanBegin(SpanInfo {
                span: words.u64(),
                parent: words.u64(),
                trace: u128::from_str_radix(&words.text(TRACE_BYTES), 16).unwrap_or(0),
                name: words.text(TEXT_BYTES),
            }),
            35 => Self::SpanEnd { span: words.u64() },
            36 => Self::SpanSwitch { span: words.u64() },
            kind => {
                let (what, first, second) = (words.u64(), words.u64(), words.u64());
                Self::Stall(stalls::event(kind, what, first, second)?)
            }
        };
        Some((time_ns, tid, event))
    }
}

/// Takes one word after another. What is missing reads as 0.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn u64(&mut self) -> u64 {
        let Some((word, rest)) = self.0.split_first_chunk() else {
            self.0 = &[];
            return 0;
        };
        self.0 = rest;
        u64::from_ne_bytes(*word)
    }

    /// Two `u32`, one after the other. Markers exist for little-endian machines only.
    fn pair(&mut self) -> (u32, u32) {
        let word = self.u64();
        (low(word), high(word))
    }

    /// A `comm`: up to 15 bytes and a 0.
    fn name(&mut self) -> String {
        self.text(16)
    }

    /// A text that ends at a 0, or after so many bytes.
    fn text(&mut self, bytes: usize) -> String {
        let (bytes, rest) = self.0.split_at(self.0.len().min(bytes));
        self.0 = rest;
        let length = bytes
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is asked for"
)]
fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    low(word >> 32)
}
