//! Perfetto's trace format, written while the trace is read: a track for each thread's holds, one beside it for its waits, one for each
//! GIL that says who holds it, and an arrow from each longer wait to the thread that held the GIL.
//!
//! Slices are called `hold GIL` and `wait for GIL`, with the categories `hold` and `wait`; on a GIL's track they bear the holder's name, with
//! the category `gil`. Times are those of the trace.

mod messages;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use messages::{
    EventType, ProcessDescriptor, ThreadDescriptor, Trace, TracePacket, TrackDescriptor, TrackEvent,
};
use prost::Message;

use crate::format::plain;
use crate::interval::{Interval, IntervalSink, State};
use crate::summary::Session;

/// A wait from here on gets an arrow.
const ARROW_NS: u64 = 1_000_000;

/// All packets are of one writer.
const SEQUENCE: u32 = 1;

/// Writes a Perfetto trace while intervals come.
pub struct PerfettoSink<W> {
    output: W,
    failed: Option<io::Error>,
    session: u64,
    /// The name that each lane was described with.
    lanes: HashMap<u32, Option<String>>,
    gils: HashMap<(u32, u64), u64>,
    processes: HashSet<u32>,
    hold_tracks: HashMap<u32, u64>,
    arrows: u64,
}

impl<W: Write> PerfettoSink<W> {
    /// Begins a trace.
    pub fn new(output: W) -> Self {
        Self {
            output,
            failed: None,
            session: 0,
            lanes: HashMap::new(),
            gils: HashMap::new(),
            processes: HashSet::new(),
            hold_tracks: HashMap::new(),
            arrows: 0,
        }
    }

    /// Ends the trace; what it was written to.
    ///
    /// # Errors
    /// When anything of it could not be written.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.output.flush()?;
        Ok(self.output)
    }

    fn packet(&mut self, packet: TracePacket) {
        if self.failed.is_some() {
            return;
        }
        // A trace is its packets one after the other, each written as the only one of a trace.
        let bytes = Trace {
            packet: vec![packet],
        }
        .encode_to_vec();
        self.failed = self.output.write_all(&bytes).err();
    }

    fn describe(&mut self, descriptor: TrackDescriptor) {
        self.packet(TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_descriptor: Some(descriptor),
            ..TracePacket::default()
        });
    }

    fn event(&mut self, time_ns: u64, kind: EventType, event: TrackEvent) {
        self.packet(TracePacket {
            timestamp: Some(time_ns),
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_event: Some(TrackEvent {
                r#type: Some(kind.into()),
                ..event
            }),
            ..TracePacket::default()
        });
    }

    fn slice(&mut self, start_ns: u64, end_ns: u64, event: TrackEvent) {
        let track_uuid = event.track_uuid;
        self.event(start_ns, EventType::SliceBegin, event);
        let end = TrackEvent {
            track_uuid,
            ..TrackEvent::default()
        };
        self.event(end_ns, EventType::SliceEnd, end);
    }

    /// A number for a track: sessions and kinds of tracks never share one.
    fn uuid(&self, kind: Track, number: u64) -> u64 {
        (self.session + 1) << 40 | (kind as u64) << 36 | number
    }

    fn introduce(&mut self, interval: &Interval<'_>) {
        let lane = u64::from(interval.lane);
        let known = self.lanes.get(&interval.lane);
        if known.is_some_and(|name| name.as_deref() == interval.name) {
            return;
        }
        let name = interval.name.map(str::to_owned);
        let first = self.lanes.insert(interval.lane, name).is_none();
        if first && self.processes.insert(interval.pid) {
            let uuid = self.uuid(Track::Process, u64::from(interval.pid));
            self.describe(TrackDescriptor {
                uuid: Some(uuid),
                process: Some(ProcessDescriptor {
                    pid: Some(id(interval.pid)),
                }),
                ..TrackDescriptor::default()
            });
        }
        let hold_track = self.uuid(Track::Holds, lane);
        self.hold_tracks.insert(interval.tid, hold_track);
        self.describe(TrackDescriptor {
            uuid: Some(hold_track),
            thread: Some(ThreadDescriptor {
                pid: Some(id(interval.pid)),
                tid: Some(id(interval.tid)),
                thread_name: interval.name.map(plain),
            }),
            ..TrackDescriptor::default()
        });
        if first {
            let wait_track = self.uuid(Track::Waits, lane);
            self.describe(TrackDescriptor {
                uuid: Some(wait_track),
                name: Some("waits for the GIL".to_owned()),
                parent_uuid: Some(hold_track),
                ..TrackDescriptor::default()
            });
        }
    }

    fn gil_track(&mut self, pid: u32, address: u64) -> u64 {
        if let Some(&track) = self.gils.get(&(pid, address)) {
            return track;
        }
        let track = self.uuid(Track::Gil, self.gils.len() as u64);
        self.gils.insert((pid, address), track);
        let process = self.uuid(Track::Process, u64::from(pid));
        self.describe(TrackDescriptor {
            uuid: Some(track),
            name: Some(format!("GIL {address:x}")),
            parent_uuid: Some(process),
            ..TrackDescriptor::default()
        });
        track
    }

    /// An arrow from a wait to the thread that held the GIL; its number.
    fn arrow(&mut self, interval: &Interval<'_>) -> Option<u64> {
        if interval.end_ns - interval.start_ns < ARROW_NS {
            return None;
        }
        let track = self.hold_tracks.get(&interval.holder_tid?).copied()?;
        self.arrows += 1;
        let arrow = self.arrows;
        let event = TrackEvent {
            track_uuid: Some(track),
            name: Some("waited for".to_owned()),
            categories: vec!["blame".to_owned()],
            terminating_flow_ids: vec![arrow],
            ..TrackEvent::default()
        };
        self.event(interval.start_ns + 1, EventType::Instant, event);
        Some(arrow)
    }
}

/// The kinds of tracks.
#[derive(Debug, Clone, Copy)]
enum Track {
    Process = 1,
    Holds = 2,
    Waits = 3,
    Gil = 4,
}

impl<W: Write> IntervalSink for PerfettoSink<W> {
    fn interval(&mut self, interval: &Interval<'_>) {
        self.introduce(interval);
        let lane = u64::from(interval.lane);
        let (start_ns, end_ns) = (interval.start_ns, interval.end_ns);
        match interval.state {
            State::Hold => {
                let hold = TrackEvent {
                    track_uuid: Some(self.uuid(Track::Holds, lane)),
                    name: Some("hold GIL".to_owned()),
                    categories: vec!["hold".to_owned()],
                    ..TrackEvent::default()
                };
                self.slice(start_ns, end_ns, hold);
                let holder = interval
                    .name
                    .map_or_else(|| format!("tid {}", interval.tid), plain);
                let on_gil = TrackEvent {
                    track_uuid: Some(self.gil_track(interval.pid, interval.gil)),
                    name: Some(holder),
                    categories: vec!["gil".to_owned()],
                    ..TrackEvent::default()
                };
                self.slice(start_ns, end_ns, on_gil);
            }
            State::Wait => {
                let wait = TrackEvent {
                    track_uuid: Some(self.uuid(Track::Waits, lane)),
                    name: Some("wait for GIL".to_owned()),
                    categories: vec!["wait".to_owned()],
                    flow_ids: self.arrow(interval).into_iter().collect(),
                    ..TrackEvent::default()
                };
                self.slice(start_ns, end_ns, wait);
            }
        }
    }

    fn session_ended(&mut self, _session: &Session) {
        self.session += 1;
        self.lanes.clear();
        self.gils.clear();
        self.processes.clear();
        self.hold_tracks.clear();
    }
}

/// Process and thread ids as Perfetto numbers them.
fn id(id: u32) -> i32 {
    i32::try_from(id).unwrap_or(i32::MAX)
}
