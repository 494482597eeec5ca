//! The processes that are recorded and the interpreters' files that are attached to, as both come and go.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use gil_probes::elf;
use rustix::process::Signal;

use crate::clock;
use crate::facts::{self, Inherited};
use crate::interpreter::{Breadth, Finder, Found, Interpreter};
use crate::interval;
use crate::members::Members;
use crate::native::NativeError;
use crate::native::calibrate::Nop;
use crate::native::follow::{Follower, News};
use crate::native::layout::{Lane, LaneKey};
use crate::native::object::{self, Marked, Program, Scope, Work};
use crate::native::open::{OpenCycle, Slots};
use crate::native::sampler::Sampler;
use crate::native::spans::SpanFiles;
use crate::native::stalls::StallProgram;
use crate::native::tables::Tables;
use crate::native::tell::{self, TellProgram};
use crate::process::{Process, is_alive};

/// A program that was started may load its interpreter as late as this.
const LATE: Duration = Duration::from_secs(2);
/// How long to wait before the first look at it; each further one comes after twice the time.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// How often to look for processes that nobody has told of.
const RESCAN: Duration = Duration::from_secs(1);

/// A process that may load an interpreter yet.
struct Late {
    since: Instant,
    next_look: Instant,
}

/// A file with markers.
struct File {
    key: Option<(u64, u64)>,
    program: Program,
    stalls: Option<StallProgram>,
    tells: Option<TellProgram>,
    nop: Nop,
    slots: Slots,
}

/// A process that is recorded.
struct Recorded {
    interpreter: Interpreter,
    command: Option<String>,
    file: usize,
}

/// The processes and files.
pub(super) struct Group {
    pub(super) tables: Tables,
    pub(super) work: Work,
    members: Members,
    follower: Follower,
    finder: Finder,
    files: Vec<File>,
    processes: HashMap<u32, Recorded>,
    late: HashMap<u32, Late>,
    /// Processes that were looked at and have none.
    dismissed: HashSet<u32>,
    next_rescan: Instant,
    /// Lines of the trace about processes that have been added.
    notes: Vec<String>,
    /// Files besides the interpreters' that have markers of spans.
    spans: SpanFiles,
    /// Takes stacks during holds, if any are taken.
    _sampler: Option<Sampler>,
    /// Processes, or files, that could not be attached to, and why the last of them could not.
    failed: u64,
    failure: Option<NativeError>,
}

impl Group {
    /// Attaches to interpreters.
    pub(super) fn attach(
        interpreters: Vec<Interpreter>,
        members: Members,
        follower: Follower,
        work: Work,
    ) -> Result<Self, NativeError> {
        let tables = work.tables(&follower.processes)?;
        // Elsewhere the register that tells threads apart is another one.
        let looks = work.stacks_from_ns.is_some() && cfg!(target_arch = "x86_64");
        let sampler = looks.then(|| Sampler::start(&tables)).transpose()?;
        let mut group = Self {
            tables,
            work,
            members,
            follower,
            finder: Finder::default(),
            files: Vec::new(),
            processes: HashMap::new(),
            late: HashMap::new(),
            dismissed: HashSet::new(),
            next_rescan: Instant::now() + RESCAN,
            notes: Vec::new(),
            spans: SpanFiles::default(),
            _sampler: sampler,
            failed: 0,
            failure: None,
        };
        for interpreter in interpreters {
            group.add(interpreter);
        }
        match group.failure.take() {
            Some(error) if group.processes.is_empty() => Err(error),
            _ => Ok(group),
        }
    }

    /// How many processes with an interpreter there are now.
    pub(super) fn count(&self) -> usize {
        self.processes.len()
    }

    /// Whether nobody is left who could do something that belongs to the recording.
    pub(super) fn has_ended(&self) -> bool {
        // They are asked themselves: of a process that ended while it was added, nobody tells.
        if self.processes.keys().any(|&pid| is_alive(pid)) {
            return false;
        }
        match &self.members {
            Members::Alone | Members::Family => self.follower.is_empty(),
            Members::All | Members::Build(_) => false,
            Members::Container(_) | Members::Cgroup(_) => {
                !self.members.now().into_iter().any(is_alive)
            }
        }
    }

    /// The lines about processes that have been added since.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// How many processes could not be followed.
    pub(super) fn not_followed(&self) -> u64 {
        self.failed + self.follower.lost()
    }

    /// The kind of nop that most of what is hit is.
    pub(super) fn nop(&self) -> Option<Nop> {
        self.files.first().map(|file| file.nop)
    }

    /// Removes all breakpoints.
    pub(super) fn detach(&mut self) {
        for file in &mut self.files {
            file.program.detach();
            if let Some(stalls) = &mut file.stalls {
                stalls.detach();
            }
            if let Some(tells) = &mut file.tells {
                tells.detach();
            }
        }
        self.spans.detach();
    }

    /// The tracers of free-threaded interpreters.
    pub(super) fn stalls(&self) -> Vec<&StallProgram> {
        self.files
            .iter()
            .filter_map(|file| file.stalls.as_ref())
            .collect()
    }

    /// How many names and spans there was no room for.
    pub(super) fn lost_tellings(&self) -> u64 {
        let files = self.files.iter().filter_map(|file| file.tells.as_ref());
        files.map(TellProgram::lost).sum::<u64>() + self.spans.lost()
    }

    /// What threads were in the middle of at `end_ns`, a moment ago.
    pub(super) fn open(&self, lanes: &[(LaneKey, Lane)], end_ns: u64) -> Vec<OpenCycle> {
        let mut by_process: HashMap<u32, Vec<(LaneKey, Lane)>> = HashMap::new();
        for (key, lane) in lanes {
            by_process
                .entry(key.pid)
                .or_default()
                .push((*key, lane.clone()));
        }
        let mut open = Vec::new();
        for (pid, lanes) in by_process {
            if let Some(recorded) = self.processes.get(&pid) {
                let slots = &self.files[recorded.file].slots;
                let places = slots.in_process(pid, &recorded.interpreter.reachable);
                open.extend(places.read(pid, &lanes, end_ns));
            }
        }
        open
    }

    /// Waits for news for so long, and deals with it.
    pub(super) fn wait(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let now = Instant::now();
            let looks = self.late.values().map(|late| late.next_look - now);
            let left = looks.fold(left, Duration::min);
            self.follower.wait(left);
            self.catch_up();
            if Instant::now() >= deadline {
                break;
            }
        }
    }

    /// Deals with what has happened so far.
    pub(super) fn catch_up(&mut self) {
        for news in self.follower.take() {
            match news {
                News::Fork { pid, parent } => self.forked(pid, parent),
                News::Exec {
                    pid,
                    stopped,
                    program,
                } => {
                    self.started_program(pid);
                    self.follower.know(program);
                    if stopped && let Some(process) = Process::open(pid) {
                        process.signal(Signal::CONT);
                    }
                }
                News::Exit { pid } => {
                    self.processes.remove(&pid);
                    self.late.remove(&pid);
                }
            }
        }
        self.look_at_late_ones();
        if self.next_rescan <= Instant::now() {
            self.rescan();
            self.look_for_spans();
            self.next_rescan = Instant::now() + RESCAN;
        }
    }

    fn forked(&mut self, pid: u32, parent: u32) {
        let Some(recorded) = self.processes.get(&parent) else {
            return;
        };
        let interpreter = recorded.interpreter.in_child(pid);
        let inherited = Inherited {
            parent: Some(parent),
            command: recorded.command.clone(),
        };
        self.remember(interpreter, recorded.file, inherited);
    }

    fn started_program(&mut self, pid: u32) {
        // What it ran before is gone.
        self.dismissed.remove(&pid);
        let known = self.processes.remove(&pid).is_some();
        if !known && self.members.takes_in_others() && !self.members.contains(pid) {
            return;
        }
        if let Some(interpreter) = self.finder.look_at_exec(pid) {
            self.add(interpreter);
        } else {
            let since = Instant::now();
            let next_look = since + FIRST_LOOK;
            self.late.insert(pid, Late { since, next_look });
        }
    }

    /// Programs that were started and had no interpreter then.
    fn look_at_late_ones(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        self.late.retain(|&pid, late| {
            if late.next_look <= now {
                due.push(pid);
                late.next_look = now + late.since.elapsed().max(FIRST_LOOK);
            }
            late.since.elapsed() < LATE
        });
        for pid in due {
            if self.finder.has_news(pid)
                && let Ok(Found::Interpreter(interpreter)) = self.finder.look(pid, Breadth::Names)
                && interpreter.is_settled()
            {
                self.late.remove(&pid);
                self.add(interpreter);
            }
        }
    }

    /// Looks for processes that came without being told of, and takes leave of those that went so.
    fn rescan(&mut self) {
        self.processes.retain(|&pid, _| is_alive(pid));
        if !self.members.takes_in_others() {
            return;
        }
        let now = self.members.now();
        self.dismissed.retain(|pid| now.contains(pid));
        for pid in now {
            if self.processes.contains_key(&pid)
                || self.late.contains_key(&pid)
                || self.dismissed.contains(&pid)
            {
                continue;
            }
            match self.finder.look(pid, Breadth::Names) {
                Ok(Found::Interpreter(interpreter)) => self.add(interpreter),
                _ => {
                    self.dismissed.insert(pid);
                }
            }
        }
    }

    /// Looks for files with markers of spans that processes have mapped since.
    fn look_for_spans(&mut self) {
        if !self.work.told.spans {
            return;
        }
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        for pid in pids {
            self.attach_spans(pid);
        }
    }

    fn attach_spans(&mut self, pid: u32) {
        let scope = self.scope(pid);
        let shared = (&self.work, &self.tables);
        if let Err(error) = self.spans.look(pid, shared, scope) {
            self.fail(pid, error);
        }
    }

    fn scope(&self, pid: u32) -> Scope {
        match self.members {
            Members::Alone => Scope::Process(pid),
            _ => Scope::Everyone,
        }
    }

    /// Adds a process.
    fn add(&mut self, interpreter: Interpreter) {
        let pid = interpreter.pid;
        if !self.members.may_run(&interpreter) {
            self.dismissed.insert(pid);
            return;
        }
        self.follower.add(pid);
        match self.file(&interpreter) {
            Ok(file) => {
                self.remember(interpreter, file, Inherited::default());
                if self.work.told.spans {
                    self.attach_spans(pid);
                }
            }
            Err(error) => self.fail(pid, error),
        }
    }

    fn remember(&mut self, interpreter: Interpreter, file: usize, inherited: Inherited) {
        let now_ns = clock::monotonic_ns();
        let (line, command) = facts::process_line(now_ns, &interpreter, inherited);
        self.notes.push(line);
        let recorded = Recorded {
            interpreter,
            command,
            file,
        };
        self.processes.insert(recorded.interpreter.pid, recorded);
    }

    fn fail(&mut self, pid: u32, error: NativeError) {
        // One that has ended meanwhile did nothing that is missed.
        if is_alive(pid) {
            self.failed += 1;
            self.failure = Some(error);
        }
    }

    /// The file of an interpreter, attached to.
    fn file(&mut self, interpreter: &Interpreter) -> Result<usize, NativeError> {
        let key = interpreter.file_key();
        let known = self
            .files
            .iter()
            .position(|file| file.key.is_some() && file.key == key);
        if let Some(number) = known {
            return Ok(number);
        }
        let image = elf::read(&interpreter.reachable)?;
        let number = self.files.len();
        let marked = Marked {
            number: u64::try_from(number).unwrap_or(u64::MAX),
            interval_at: interpreter
                .file
                .file_name()
                .and_then(|name| interval::offset(&name.to_string_lossy())),
        };
        let sites = object::find_sites(&image)?;
        if self.work.told.functions && !tell::has_functions(&image) {
            return Err(NativeError::NoMarker {
                name: "gil__functions",
            });
        }
        let mut program = Program::load(sites, &self.work, &self.tables, marked)?;
        let scope = self.scope(interpreter.pid);
        // First, so that the first drop that is seen tells already where it is.
        let shared = (&self.work, &self.tables);
        let tells = TellProgram::attach(&image, &interpreter.reachable, shared, scope)?;
        program.attach(&interpreter.reachable, scope)?;
        let shared = (&self.work, &self.tables, marked);
        let stalls = StallProgram::attach(&image, &interpreter.reachable, shared, scope)?;
        self.files.push(File {
            key,
            program,
            stalls,
            tells,
            nop: Nop::of(&image, "gil__drop"),
            slots: Slots::find(&interpreter.reachable, &image),
        });
        Ok(number)
    }
}
