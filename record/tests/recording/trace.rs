//! A trace, read by the report's own reader and added up per thread.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use gil_report::{ArrowReader, DropInfo, Event, Kind, State, TextReader};

/// What a trace says one thread did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) pid: u32,
    pub(crate) native_id: u32,
    pub(crate) names: Vec<String>,
    pub(crate) ident: u64,
    pub(crate) gils: Vec<u64>,
    pub(crate) claims: u64,
    pub(crate) acquired: u64,
    pub(crate) drops: u64,
    pub(crate) forced: u64,
    pub(crate) requests: u64,
    pub(crate) waits: u64,
    pub(crate) hold_ns: u64,
    pub(crate) wait_ns: u64,
    /// Count, sum and how many were forced, as the totals say.
    pub(crate) total_holds: (u64, u64, u64),
    pub(crate) total_waits: (u64, u64, u64),
    pub(crate) spread: u64,
}

/// A whole trace.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) pid: u32,
    pub(crate) events: Vec<Event>,
    pub(crate) end: Option<String>,
}

impl Trace {
    pub(crate) fn read(path: &Path) -> Self {
        let mut first = [0];
        fs_err::File::open(path)
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        if first == [0xff] {
            return Self::read_arrow(path);
        }
        let mut reader = TextReader::new(fs_err::File::open(path).unwrap()).unwrap();
        let pid = reader.header().pid;
        let mut events = Vec::new();
        let mut end = None;
        while let Some(event) = reader.next_event().unwrap() {
            if let Kind::End { reason } = &event.kind {
                end = Some(reason.to_string());
            }
            events.push(event);
        }
        assert_eq!(
            reader.skipped().lines,
            0,
            "every line is one of the format's"
        );
        Self { pid, events, end }
    }

    fn read_arrow(path: &Path) -> Self {
        let mut reader = ArrowReader::new(fs_err::File::open(path).unwrap()).unwrap();
        let mut events = Vec::new();
        while reader.next_batch(|event| events.push(event)).unwrap() {}
        assert_eq!(reader.skipped().lines, 0, "every row is an event");
        let end = events.iter().find_map(|event| match &event.kind {
            Kind::End { reason } => Some(reason.to_string()),
            _ => None,
        });
        let pid = reader.header().pid;
        Self { pid, events, end }
    }

    pub(crate) fn by_thread(&self) -> BTreeMap<u32, Sums> {
        let mut threads: BTreeMap<u32, Sums> = BTreeMap::new();
        let of_threads = |event: &&Event| {
            !matches!(
                event.kind,
                Kind::Process { .. }
                    | Kind::Gil { .. }
                    | Kind::Frames { .. }
                    | Kind::Module { .. }
                    | Kind::Location { .. }
                    | Kind::At { .. }
                    | Kind::SpanBegin(_)
                    | Kind::SpanEnd { .. }
                    | Kind::SpanSwitch { .. }
                    | Kind::Mode { .. }
            )
        };
        for event in self.events.iter().filter(of_threads) {
            let sums = threads.entry(event.tid).or_default();
            match &event.kind {
                Kind::Claim { gil } => {
                    sums.claims += 1;
                    sums.at(*gil);
                }
                Kind::Acquired { gil, .. } => {
                    sums.acquired += 1;
                    sums.at(*gil);
                }
                Kind::Drop(DropInfo {
                    gil,
                    forced,
                    hold_ns,
                    wait_ns,
                }) => {
                    sums.drops += 1;
                    sums.waits += u64::from(*wait_ns != 0);
                    sums.wait_ns += wait_ns;
                    sums.forced += u64::from(*forced);
                    sums.hold_ns += hold_ns;
                    sums.at(*gil);
                }
                Kind::Request { gil, .. } => {
                    sums.requests += 1;
                    sums.at(*gil);
                }
                Kind::Total(total) => {
                    let sum = match total.state {
                        State::Hold => &mut sums.total_holds,
                        State::Wait => &mut sums.total_waits,
                    };
                    *sum = (total.count, total.sum_ns, total.forced);
                }
                Kind::Spread(spread) => {
                    sums.spread += spread.buckets.iter().map(|(_, count)| count).sum::<u64>();
                }
                Kind::Thread(thread) => {
                    sums.names.push(thread.name.clone());
                    sums.ident = thread.ident;
                    sums.pid = thread.pid;
                    sums.native_id = thread.native_id;
                }
                Kind::Lost { count, .. } => panic!("{count} events were lost"),
                Kind::Process { .. }
                | Kind::Gil { .. }
                | Kind::Frames { .. }
                | Kind::Module { .. }
                | Kind::Location { .. }
                | Kind::At { .. }
                | Kind::SpanBegin(_)
                | Kind::SpanEnd { .. }
                | Kind::SpanSwitch { .. }
                | Kind::Mode { .. }
                | Kind::Stack { .. }
                | Kind::Stall(_)
                | Kind::End { .. } => {}
            }
        }
        threads
    }
}

impl Sums {
    fn at(&mut self, gil: u64) {
        if !self.gils.contains(&gil) {
            self.gils.push(gil);
        }
    }
}
