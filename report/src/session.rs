//! One recording while it is read: takes its events in order, finds holds and waits, and ends as a [`Session`].

use rustc_hash::FxHashMap;

use crate::distribution::Distribution;
use crate::event::{DropInfo, Event, Kind, LaneTotal};
use crate::functions::{PlaceId, Places};
use crate::gil::{Figures, GilState, Sample, Span};
use crate::header::Header;
use crate::interval::{Interval, IntervalSink, State};
use crate::machine::{Cycle, HoldStart, Open, Progress, Unpaired};
use crate::process::{self, Process};
use crate::recent::Recent;
use crate::registry::{Introduced, Registry, ThreadIndex};
use crate::requests;
use crate::stack::Stacks;
use crate::stall::Stall;
use crate::stalls::Collector;
use crate::summary::{Losses, Session};

/// Threads with figures of their own; further ones share one line for each GIL.
const THREADS_LIMIT: usize = 10_000;

/// Lanes (thread and GIL) whose state is followed.
const LANES_LIMIT: usize = 1 << 20;

/// GILs told apart.
const GILS_LIMIT: usize = 4096;

/// Processes of which more is known than their number.
const PROCESSES_LIMIT: usize = 65_536;

/// Holds remembered over all GILs, to split waits.
const HISTORY_LIMIT: usize = 1 << 20;

/// Holds that each GIL may remember in any case.
const HISTORY_LEAST: usize = 256;

/// The moment of a marker and the tracer's own time stamp for it differ by less than this: no reason to cut a wait.
const CLOCK_SLACK_NS: u64 = 100_000;

/// A thread and a GIL.
struct Lane {
    place: Place,
    progress: Progress,
}

/// Where the figures of a lane are.
#[derive(Debug, Clone, Copy)]
struct Place {
    lane: u32,
    thread: ThreadIndex,
    gil: u32,
    /// The thread's number on that GIL.
    number: u32,
}

/// The state of a session while its events come, in order of time.
pub(crate) struct SessionState {
    header: Header,
    start_ns: Option<u64>,
    end_ns: u64,
    ended: Option<Box<str>>,
    events: u64,
    losses: Losses,
    registry: Registry,
    lanes: Vec<Lane>,
    /// The lanes of the thread that a tid stands for now, by GIL address.
    by_tid: FxHashMap<u32, Vec<(u64, u32)>>,
    /// The lanes that were looked up last.
    recent: Recent,
    gils: Vec<GilState>,
    by_address: FxHashMap<(u32, u64), u32>,
    /// Lines of figures over all GILs.
    figures: usize,
    remembered: usize,
    stalls: Collector,
    processes: FxHashMap<u32, Process>,
    /// By process and GIL address.
    switch_intervals_ns: FxHashMap<(u32, u64), u64>,
    sees_acquisitions: bool,
    sees_totals: bool,
    stacks: Stacks,
    requests: requests::Collector,
    places: Places,
    /// Where the next drop of a thread is, by tid; empty where places are not recorded.
    next_place: FxHashMap<u32, PlaceId>,
    /// Since when not every cycle is an event, where that was not so from the beginning.
    over_from_ns: Option<u64>,
}

impl SessionState {
    pub(crate) fn new(header: Header) -> Self {
        Self {
            start_ns: header.start_ns,
            end_ns: header.start_ns.unwrap_or(0),
            ended: None,
            events: 0,
            losses: Losses::default(),
            registry: Registry::new(header.pid),
            lanes: Vec::new(),
            by_tid: FxHashMap::default(),
            recent: Recent::default(),
            gils: Vec::new(),
            by_address: FxHashMap::default(),
            figures: 0,
            remembered: 0,
            stalls: Collector::default(),
            processes: FxHashMap::default(),
            switch_intervals_ns: FxHashMap::default(),
            sees_acquisitions: false,
            sees_totals: false,
            stacks: Stacks::default(),
            requests: requests::Collector::default(),
            places: Places::default(),
            next_place: FxHashMap::default(),
            over_from_ns: None,
            header,
        }
    }

    pub(crate) fn losses_mut(&mut self) -> &mut Losses {
        &mut self.losses
    }

    /// Takes the next event, a drop.
    pub(crate) fn dropped(
        &mut self,
        time_ns: u64,
        tid: u32,
        drop: DropInfo,
        sink: &mut impl IntervalSink,
    ) {
        if self.ended.is_none() {
            self.see(time_ns);
            self.drop(time_ns, tid, drop, sink);
        }
    }

    /// Takes the next event.
    pub(crate) fn event(&mut self, event: Event, sink: &mut impl IntervalSink) {
        let Event { time_ns, tid, kind } = event;
        if self.ended.is_some() && !matches!(kind, Kind::Lost { .. }) {
            // Seen while the tracer was detaching, one marker after the other: half of the truth.
            return;
        }
        self.see(time_ns);
        match kind {
            Kind::Drop(drop) => self.drop(time_ns, tid, drop, sink),
            Kind::Claim { gil } => {
                if let Some(lane) = self.lane(tid, gil) {
                    let unpaired = self.lanes[lane as usize].progress.claim(time_ns);
                    self.count(unpaired);
                }
            }
            Kind::Acquired { gil, wait_ns } => {
                self.sees_acquisitions = true;
                if let Some(lane) = self.lane(tid, gil) {
                    let progress = &mut self.lanes[lane as usize].progress;
                    let unpaired = progress.acquired(time_ns, wait_ns);
                    self.count(unpaired);
                }
            }
            Kind::At { location } => self.at(tid, location),
            Kind::Request { gil, holder } => self.request(tid, gil, holder),
            Kind::Stall(stall) => self.stall(time_ns, tid, stall),
            Kind::Total(total) => {
                self.events -= 1;
                self.total(tid, &total);
            }
            Kind::Spread(spread) => {
                self.events -= 1;
                if let Some(figures) = self.figures(tid, spread.gil) {
                    let distribution = figures.distribution(spread.state);
                    for (duration_ns, count) in spread.buckets {
                        distribution.spread(duration_ns, count);
                    }
                }
            }
            Kind::Thread(info) => {
                if self.registry.introduce(time_ns, tid, *info) == Introduced::Reused {
                    self.forget(tid);
                }
            }
            Kind::Process { facts } => {
                self.events -= 1;
                if self.processes.len() < PROCESSES_LIMIT || self.processes.contains_key(&tid) {
                    self.processes.insert(tid, Process::parse(tid, &facts));
                }
            }
            Kind::Gil { gil, facts } => {
                self.events -= 1;
                if let Some(interval_ns) = process::switch_interval_ns(&facts)
                    && self.switch_intervals_ns.len() < GILS_LIMIT
                {
                    self.switch_intervals_ns.insert((tid, gil), interval_ns);
                }
            }
            Kind::Lost { count, cause } => {
                self.events -= 1;
                self.losses.lost = self.losses.lost.saturating_add(count);
                self.losses.add_cause(&cause);
            }
            Kind::End { reason } => {
                self.events -= 1;
                self.ended = Some(reason);
            }
            span @ (Kind::SpanBegin(_) | Kind::SpanEnd { .. } | Kind::SpanSwitch { .. }) => {
                self.span(time_ns, tid, span);
            }
            rare @ (Kind::Stack { .. }
            | Kind::Frames { .. }
            | Kind::Module { .. }
            | Kind::Location { .. }
            | Kind::Mode { .. }) => {
                self.events -= 1;
                self.rare(time_ns, tid, rare);
            }
        }
    }

    #[inline]
    fn see(&mut self, time_ns: u64) {
        self.start_ns.get_or_insert(time_ns);
        self.end_ns = self.end_ns.max(time_ns);
        self.events += 1;
    }

    #[expect(clippy::inline_always, reason = "for every event")]
    #[inline(always)]
    fn drop(&mut self, time_ns: u64, tid: u32, drop: DropInfo, sink: &mut impl IntervalSink) {
        let at = self.take_place(tid);
        let Some(lane) = self.lane(tid, drop.gil) else {
            return;
        };
        let Lane { place, progress } = &mut self.lanes[lane as usize];
        let before_ns = progress.dropped_ns();
        let cycle = progress.drop(time_ns, drop.forced, drop.hold_ns, drop.wait_ns);
        let ending = Ending {
            forced: drop.forced,
            open: false,
            at,
        };
        let place = *place;
        self.cycle(place, cycle, before_ns, time_ns, ending, sink);
    }

    /// What few traces have.
    fn rare(&mut self, time_ns: u64, tid: u32, kind: Kind) {
        match kind {
            Kind::Stack {
                gil,
                number,
                hold_ns,
            } => {
                if let Some(lane) = self.lane(tid, gil) {
                    let Lane { place, progress } = &self.lanes[lane as usize];
                    let gil = &mut self.gils[place.gil as usize];
                    if hold_ns == 0 {
                        let sample = Sample {
                            time_ns,
                            stack: number,
                            depth: self.stacks.depth(number),
                        };
                        gil.sample(place.number, sample, progress.dropped_ns());
                    } else {
                        gil.stack(place.number, time_ns, number, hold_ns);
                    }
                }
            }
            Kind::Frames { number, frames } => {
                self.stacks.add_frames(number, frames);
            }
            Kind::Module { number, facts } => {
                self.stacks.add_module(number, &facts);
            }
            Kind::Location { number, facts } => self.places.add(tid, number, &facts),
            Kind::Mode { over_ns } => {
                if self.header.over_ns.is_none() {
                    self.over_from_ns = Some(time_ns);
                }
                self.header.over_ns = self.header.over_ns.max(Some(over_ns));
            }
            _ => {}
        }
    }

    #[cold]
    fn at(&mut self, tid: u32, location: u64) {
        self.events -= 1;
        if let Some(thread) = self.registry.current(tid) {
            let pid = self.registry.get(thread).pid;
            let place = self.places.id(pid, location);
            self.next_place.insert(tid, place);
        }
    }

    /// Where the drop of the thread that comes now is.
    #[inline]
    fn take_place(&mut self, tid: u32) -> PlaceId {
        if self.next_place.is_empty() {
            return 0;
        }
        self.next_place.remove(&tid).unwrap_or(0)
    }

    /// What a thread works for.
    #[cold]
    fn span(&mut self, time_ns: u64, tid: u32, kind: Kind) {
        match kind {
            Kind::SpanBegin(info) => {
                let thread = self.registry.current(tid);
                let pid = thread.map_or(0, |thread| self.registry.get(thread).pid);
                self.requests.begin(time_ns, tid, pid, *info);
            }
            Kind::SpanEnd { span } => self.requests.end(time_ns, tid, span),
            Kind::SpanSwitch { span } => self.requests.switch(time_ns, tid, span),
            _ => {}
        }
    }

    /// A thread gave the GIL up that it had since then, if that is known: so much for what it works for.
    #[inline]
    fn work(
        &mut self,
        place: Place,
        start_ns: Option<u64>,
        end_ns: u64,
        sink: &mut impl IntervalSink,
    ) {
        if !self.requests.is_idle() {
            self.work_for_request(place, start_ns, end_ns, sink);
        }
    }

    #[cold]
    fn work_for_request(
        &mut self,
        place: Place,
        start_ns: Option<u64>,
        end_ns: u64,
        sink: &mut impl IntervalSink,
    ) {
        let tid = self.registry.get(place.thread).tid;
        self.requests
            .drop(tid, start_ns, end_ns, &self.registry, |request| {
                sink.request(request);
            });
    }

    /// A thread waited for what it works for.
    #[cold]
    fn work_waits(&mut self, place: Place, span: Span) {
        let gil = &self.gils[place.gil as usize];
        let mut holders = Vec::new();
        let (start_ns, end_ns) = (span.start_ns, span.end_ns);
        gil.history
            .split(place.number, start_ns, end_ns, &mut [], |held, part_ns| {
                holders.extend(
                    gil.figures[held.holder() as usize]
                        .thread
                        .map(|thread| (thread, part_ns)),
                );
            });
        let tid = self.registry.get(place.thread).tid;
        self.requests
            .wait(tid, end_ns, span.duration_ns(), &holders);
    }

    #[cold]
    fn stall(&mut self, time_ns: u64, tid: u32, stall: Stall) {
        match self.registry.current(tid) {
            Some(thread) => {
                let start_ns = self.start_ns.unwrap_or(0);
                self.stalls.event(time_ns, start_ns, thread, stall);
            }
            None => self.losses.beyond_limits += 1,
        }
    }

    fn request(&mut self, tid: u32, gil: u64, holder: u64) {
        /// Idents remembered for each GIL.
        const IDENTS: usize = 1 << 16;
        if let Some(lane) = self.lane(tid, gil) {
            let place = self.lanes[lane as usize].place;
            let gil = &mut self.gils[place.gil as usize];
            gil.figures[place.number as usize].requests_made += 1;
            if gil.requests.len() < IDENTS || gil.requests.contains_key(&holder) {
                *gil.requests.entry(holder).or_default() += 1;
            }
        }
    }

    /// The figures of a thread on a GIL; `None` when there are too many.
    fn figures(&mut self, tid: u32, gil: u64) -> Option<&mut Figures> {
        let lane = self.lane(tid, gil)?;
        let place = self.lanes[lane as usize].place;
        self.gils[place.gil as usize]
            .figures
            .get_mut(place.number as usize)
    }

    /// A total takes the place of what the events of some of its cycles have added up to.
    fn total(&mut self, tid: u32, total: &LaneTotal) {
        self.sees_totals = true;
        let Some(figures) = self.figures(tid, total.gil) else {
            return;
        };
        *figures.distribution(total.state) =
            Distribution::of_total(total.count, total.sum_ns, total.max_ns);
        if total.state == State::Hold {
            figures.forced_drops = total.forced;
            figures.voluntary_drops = total.count.saturating_sub(total.forced);
        }
    }

    /// The totals are there: what they do not tell is made up for. Without them the figures are those of long cycles only.
    fn settle_totals(&mut self) {
        if self.sees_totals {
            for figures in self.gils.iter_mut().flat_map(|gil| &mut gil.figures) {
                figures.holds.settle();
                figures.waits.settle();
            }
        } else if self.header.over_ns.is_some() && self.ended.is_none() {
            self.losses.lost = self.losses.lost.max(1);
            self.losses
                .add_cause("shorter holds and waits are in the totals, which were cut off");
        }
    }

    fn count(&mut self, unpaired: Option<Unpaired>) {
        match unpaired {
            Some(Unpaired::Claim) => self.losses.unpaired_claims += 1,
            Some(Unpaired::Hold) => self.losses.unpaired_holds += 1,
            None => {}
        }
    }

    /// The lane of a thread and a GIL; `None` when there are too many.
    #[inline]
    fn lane(&mut self, tid: u32, address: u64) -> Option<u32> {
        let recent = self.recent.get(tid, address);
        recent.or_else(|| self.look_up_lane(tid, address))
    }

    fn look_up_lane(&mut self, tid: u32, address: u64) -> Option<u32> {
        let known = self.by_tid.get(&tid).and_then(|lanes| {
            lanes
                .iter()
                .find(|(known, _)| *known == address)
                .map(|&(_, lane)| lane)
        });
        let lane = known.or_else(|| self.new_lane(tid, address));
        match lane {
            Some(lane) => self.recent.put(tid, address, lane),
            None => self.losses.beyond_limits += 1,
        }
        lane
    }

    fn new_lane(&mut self, tid: u32, address: u64) -> Option<u32> {
        if self.lanes.len() >= LANES_LIMIT {
            return None;
        }
        let thread = self.registry.current(tid)?;
        let pid = self.registry.get(thread).pid;
        let gil = match self.by_address.get(&(pid, address)) {
            Some(&gil) => gil,
            None if self.gils.len() >= GILS_LIMIT => return None,
            None => {
                let gil = u32::try_from(self.gils.len()).ok()?;
                let start_ns = self.start_ns.unwrap_or(0);
                self.gils.push(GilState::new(pid, address, start_ns));
                self.by_address.insert((pid, address), gil);
                gil
            }
        };
        let own_line = self.figures < THREADS_LIMIT;
        self.figures += usize::from(own_line);
        let number = self.gils[gil as usize].number(own_line.then_some(thread));
        let lane = u32::try_from(self.lanes.len()).ok()?;
        self.lanes.push(Lane {
            place: Place {
                lane,
                thread,
                gil,
                number,
            },
            progress: Progress::default(),
        });
        self.by_tid.entry(tid).or_default().push((address, lane));
        Some(lane)
    }

    /// The tid stands for another thread from now on: what the one before left open stays so.
    fn forget(&mut self, tid: u32) {
        self.recent = Recent::default();
        for (_, lane) in self.by_tid.remove(&tid).unwrap_or_default() {
            let progress = std::mem::take(&mut self.lanes[lane as usize].progress);
            match progress.open(true) {
                Some(Open::Hold { .. }) => self.losses.unpaired_holds += 1,
                Some(Open::Wait { .. }) => self.losses.unpaired_claims += 1,
                None => {}
            }
        }
    }

    #[expect(clippy::inline_always, reason = "for every event")]
    #[inline(always)]
    fn cycle(
        &mut self,
        place: Place,
        cycle: Cycle,
        before_ns: Option<u64>,
        time_ns: u64,
        ending: Ending,
        sink: &mut impl IntervalSink,
    ) {
        let start_ns = self.start_ns.unwrap_or(0);
        let free_from_ns = self.gils[place.gil as usize].last_end_ns;
        if let Some((wait_start_ns, wait_end_ns)) = cycle.wait {
            let not_before_ns = before_ns.map_or(start_ns, |before_ns| {
                before_ns.saturating_sub(CLOCK_SLACK_NS).max(start_ns)
            });
            let from_ns = wait_start_ns.max(not_before_ns);
            self.losses.clipped += u64::from(from_ns > wait_start_ns);
            self.wait(place, from_ns, wait_end_ns, false, sink);
        }
        let hold_start_ns = match cycle.hold_start {
            HoldStart::At(hold_start_ns) => hold_start_ns,
            HoldStart::BeforeTracing if free_from_ns <= start_ns => start_ns,
            HoldStart::BeforeTracing | HoldStart::Unknown => {
                self.losses.unknown_holds += 1;
                self.gils[place.gil as usize].drop(place.number, ending.forced, ending.at);
                self.work(place, None, time_ns, sink);
                return;
            }
        };
        let from_ns = hold_start_ns.max(free_from_ns);
        self.losses.clipped += u64::from(from_ns > hold_start_ns);
        self.hold(place, from_ns, time_ns, ending, sink);
    }

    #[expect(clippy::inline_always, reason = "for every event")]
    #[inline(always)]
    fn hold(
        &mut self,
        place: Place,
        start_ns: u64,
        end_ns: u64,
        ending: Ending,
        sink: &mut impl IntervalSink,
    ) {
        let gil = &mut self.gils[place.gil as usize];
        if !ending.open {
            gil.drop(place.number, ending.forced, ending.at);
        }
        if end_ns < start_ns {
            return;
        }
        let span = Span {
            start_ns,
            end_ns,
            open: ending.open,
        };
        gil.hold(place.number, span, ending.forced, ending.at);
        if !self.places.is_empty() {
            gil.hold_at(place.number, span.duration_ns(), ending.at);
        }
        self.remembered += 1;
        if self.remembered > HISTORY_LIMIT && gil.history.len() > HISTORY_LEAST {
            gil.history.forget_oldest();
            self.remembered -= 1;
        }
        self.tell(place, State::Hold, span, ending.forced, None, sink);
        self.work(place, Some(start_ns), end_ns, sink);
    }

    #[expect(clippy::inline_always, reason = "for every event")]
    #[inline(always)]
    fn wait(
        &mut self,
        place: Place,
        start_ns: u64,
        end_ns: u64,
        open: bool,
        sink: &mut impl IntervalSink,
    ) {
        if end_ns <= start_ns {
            return;
        }
        let span = Span {
            start_ns,
            end_ns,
            open,
        };
        let gil = &mut self.gils[place.gil as usize];
        gil.wait(place.number, span);
        if !self.places.is_empty() {
            gil.wait_at(place.number, span);
        }
        if !self.requests.is_idle() {
            self.work_waits(place, span);
        }
        let gil = &self.gils[place.gil as usize];
        if sink.wants_intervals() {
            let holder = gil.held_most(place.number, span);
            self.tell(place, State::Wait, span, false, holder, sink);
        }
    }

    #[inline]
    fn tell(
        &self,
        place: Place,
        state: State,
        span: Span,
        forced: bool,
        holder: Option<u32>,
        sink: &mut impl IntervalSink,
    ) {
        if !sink.wants_intervals() {
            return;
        }
        let thread = self.registry.get(place.thread);
        let gil = &self.gils[place.gil as usize];
        let holder = holder
            .and_then(|holder| gil.figures[holder as usize].thread)
            .map(|holder| self.registry.get(holder).tid);
        sink.interval(&Interval {
            state,
            lane: place.lane,
            pid: thread.pid,
            tid: thread.tid,
            name: thread.name.as_deref(),
            gil: gil.address,
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            forced,
            open: span.open,
            holder_tid: holder,
        });
    }

    /// Takes what is still open as lasting to the end, and sums up.
    pub(crate) fn finish(mut self, sink: &mut impl IntervalSink) -> Session {
        self.settle_totals();
        let open = self.open_holds();
        for (place, since_ns, wait) in open {
            let start_ns = self.start_ns.unwrap_or(0);
            if let Some((wait_start_ns, wait_end_ns)) = wait {
                self.wait(place, wait_start_ns.max(start_ns), wait_end_ns, false, sink);
            }
            let ending = Ending {
                forced: false,
                open: true,
                at: 0,
            };
            self.hold(place, since_ns, self.end_ns, ending, sink);
        }
        for lane in 0..self.lanes.len() {
            let Lane { place, progress } = &self.lanes[lane];
            if let Some(Open::Wait { since_ns }) = progress.open(self.sees_acquisitions) {
                self.wait(*place, since_ns, self.end_ns, true, sink);
            }
        }
        self.into_session(sink)
    }

    /// The one hold of each GIL that can still be going on: of several, the last that began.
    fn open_holds(&mut self) -> Vec<OpenHold> {
        let mut last: Vec<Option<OpenHold>> = vec![None; self.gils.len()];
        for lane in &self.lanes {
            let Some(Open::Hold { since_ns, wait }) = lane.progress.open(true) else {
                continue;
            };
            let gil = lane.place.gil as usize;
            let later = last[gil].is_none_or(|(_, known_ns, _)| since_ns > known_ns);
            if since_ns < self.gils[gil].last_end_ns || !later {
                self.losses.unpaired_holds += 1;
                continue;
            }
            let before = last[gil].replace((lane.place, since_ns, wait));
            self.losses.unpaired_holds += u64::from(before.is_some());
        }
        last.into_iter().flatten().collect()
    }

    fn into_session(self, sink: &mut impl IntervalSink) -> Session {
        let start_ns = self.start_ns.unwrap_or(0);
        let registry = self.registry;
        let mut session = Session {
            host: self.header.host,
            pid: self.header.pid,
            target: self.header.target,
            python: self.header.python,
            command: self.header.command,
            start: self.header.start,
            start_ns,
            end_ns: self.end_ns.max(start_ns),
            ended: self.ended.map(Into::into),
            events_over_ns: self.header.over_ns,
            events_over_from_ns: self.over_from_ns,
            events: self.events,
            losses: self.losses,
            processes: self.processes.into_values().collect(),
            stalls: self.stalls.finish(&registry, self.end_ns),
            requests: self
                .requests
                .finish(&registry, |request| sink.request(request)),
            gils: Vec::new(),
        };
        session.processes.sort_unstable();
        for gil in self.gils {
            let key = (gil.pid, gil.address);
            let mut gil = gil.into_summary(&registry, &self.stacks, &self.places);
            gil.switch_interval_ns = self.switch_intervals_ns.get(&key).copied();
            session.gils.push(gil);
        }
        session.gils.sort_by_key(|gil| (gil.pid, gil.address));
        session
    }
}

/// How a hold ended.
#[derive(Debug, Clone, Copy)]
struct Ending {
    forced: bool,
    open: bool,
    /// Where in Python code; 0 = not known.
    at: PlaceId,
}

/// A lane's place, since when it has held the GIL, and the wait before that.
type OpenHold = (Place, u64, Option<(u64, u64)>);
