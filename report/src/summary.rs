//! What is left of a trace when its events are gone: counts, sums, histograms. Two summaries can be merged.

use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;
use crate::functions::{Functions, Place};
use crate::process::Process;
use crate::requests::RequestSummary;
use crate::series::Series;
pub use crate::stack::Frame;
use crate::stalls::Stalls;

/// The version of the saved form; it changes when a field changes its meaning.
pub const SUMMARY_VERSION: u32 = 1;

/// Everything known about one or more recordings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// One entry for each recording, ordered by host, start and process.
    pub sessions: Vec<Session>,
}

/// One recording of one process, or of several at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// The machine, where the trace names it.
    pub host: Option<String>,
    /// The process traced; 0 when there are several.
    pub pid: u32,
    /// What several processes have in common: `container:ID`, `cgroup:PATH` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The Python version.
    pub python: Option<String>,
    /// The command line.
    pub command: Option<String>,
    /// Wall-clock time when tracing began.
    pub start: Option<String>,
    /// The same moment on the trace's clock.
    pub start_ns: u64,
    /// When tracing ended, on the trace's clock.
    pub end_ns: u64,
    /// Why tracing ended; `None` when the trace was cut off.
    pub ended: Option<String>,
    /// Only cycles with a hold or wait of at least this length are events: series, blame, switches and patterns know no others.
    /// Counts, sums and percentiles are of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_over_ns: Option<u64>,
    /// That is so only from this moment on; before it, every cycle was an event. `None`: it was so from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_over_from_ns: Option<u64>,
    /// How many events were read.
    pub events: u64,
    /// What is missing or did not fit.
    pub losses: Losses,
    /// What is known of each process, ordered by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// What made the threads of free-threaded processes wait, ordered by process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<Stalls>,
    /// What requests had of the GIL, where spans were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestSummary>,
    /// One entry for each GIL, ordered by process and address.
    pub gils: Vec<Gil>,
}

/// What is missing from a trace or did not fit together, each a count unless it says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Events the recorder could not keep.
    pub lost: u64,
    /// The recorder's words for why.
    pub causes: Vec<String>,
    /// Events so late in the file that they could not be put in their place.
    pub late: u64,
    /// Lines that are no events.
    pub skipped_lines: u64,
    /// The number of the first of them in its file; 0 if there is none.
    pub first_skipped_line: u64,
    /// Files whose last line was cut off.
    pub truncated: u64,
    /// Claims that never became a hold.
    pub unpaired_claims: u64,
    /// Acquisitions whose drop is missing.
    pub unpaired_holds: u64,
    /// Drops whose hold is not known.
    pub unknown_holds: u64,
    /// Intervals shortened because they would have lain outside of the trace or on top of another one.
    pub clipped: u64,
    /// Events of threads or GILs beyond the number that is told apart.
    pub beyond_limits: u64,
}

impl Losses {
    /// Whether events are missing, so that sums are lower bounds.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.lost > 0 || self.late > 0 || self.beyond_limits > 0
    }

    pub(crate) fn add_cause(&mut self, cause: &str) {
        /// Kept so that a hostile file cannot fill the memory.
        const CAUSES: usize = 8;
        if let Err(place) = self
            .causes
            .binary_search_by(|known| known.as_str().cmp(cause))
        {
            self.causes.insert(place, cause.to_owned());
            self.causes.truncate(CAUSES);
        }
    }
}

/// One GIL: of a process, or of one of its sub-interpreters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Gil {
    /// The process.
    pub pid: u32,
    /// The GIL's address, in hexadecimal.
    #[serde(with = "hexadecimal")]
    pub address: u64,
    /// `sys.getswitchinterval()` in nanoseconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_interval_ns: Option<u64>,
    /// Holds by another thread than the one before.
    pub switches: u64,
    /// Those who used it, ordered by tid and ident. Other fields name them by their place here.
    pub threads: Vec<Thread>,
    /// Holds and waits over time.
    pub series: Series,
    /// Who waited for whom.
    pub blame: Vec<Blame>,
    /// The longest holds, longest first.
    pub longest_holds: Vec<Longest>,
    /// The longest waits, longest first.
    pub longest_waits: Vec<Longest>,
    /// The native stacks on which long holds ended, ordered by thread and frames; none where they were not recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stacks: Vec<HoldStack>,
    /// Where in Python code it was held and waited for; `None` where that was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<Functions>,
}

/// One thread and what it did with one GIL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Thread {
    /// Its id as the host numbers it; 0 for all threads beyond the number that is told apart.
    pub tid: u32,
    /// Its id in its own pid namespace.
    pub native_id: u32,
    /// `threading.get_ident()`; 0 = not known.
    pub ident: u64,
    /// Its last name; `None` when the trace does not tell.
    pub name: Option<String>,
    /// When it got that name.
    pub named_at_ns: u64,
    /// Its holds.
    pub holds: Distribution,
    /// Its waits.
    pub waits: Distribution,
    /// Drops that another thread asked for.
    pub forced_drops: u64,
    /// Drops of its own will.
    pub voluntary_drops: u64,
    /// How often it asked the holder to drop.
    pub requests_made: u64,
    /// How often it was asked to drop.
    pub requests_received: u64,
    /// Waits of 4 to 8 ms with a forced drop in them: the mark of the switch interval.
    pub switch_interval_waits: u64,
    /// The part of its waits in which nobody was seen to hold the GIL.
    pub wait_on_nobody_ns: u64,
    /// The part of its waits that is too long ago to say who held the GIL.
    pub wait_unattributed_ns: u64,
    /// The hold that was still open when tracing ended, up to there; part of `holds`.
    pub open_hold_ns: u64,
    /// The wait that was still open when tracing ended, up to there; part of `waits`.
    pub open_wait_ns: u64,
    /// Its longest holds from 10 ms, by start: start and duration.
    pub long_holds: Vec<(u64, u64)>,
}

/// The name under which all threads beyond the number that is told apart are added up; their tid is 0.
pub(crate) const FURTHER_THREADS: &str = "(further threads)";

impl Thread {
    /// Whether it stands for all threads that are not told apart.
    #[must_use]
    pub fn is_several(&self) -> bool {
        self.tid == 0 && self.name.as_deref() == Some(FURTHER_THREADS)
    }
}

/// How long one thread waited while another one held the GIL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// Who waited: a place in [`Gil::threads`].
    pub waiter: usize,
    /// Who held the GIL: a place in [`Gil::threads`].
    pub holder: usize,
    /// How long.
    pub wait_ns: u64,
}

/// One of the longest holds or waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Longest {
    /// Whose: a place in [`Gil::threads`].
    pub thread: usize,
    /// When it began.
    pub start_ns: u64,
    /// How long it was.
    pub duration_ns: u64,
    /// It had not ended when tracing did.
    pub open: bool,
    /// For a hold: who waited during it. For a wait: who held the GIL during it. Most time first: a place in
    /// [`Gil::threads`] and how long.
    pub others: Vec<(usize, u64)>,
    /// Of a hold: where in Python code it ended, of a wait: where it began; where that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Of a hold: the function that it was in while it went on, and its file, where that was recorded: `burn (hog.so)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Of a hold: the function that gave the GIL up at its end, and its file, where that was recorded: `burn (hog.so)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

/// Long holds of one thread that were on the same native stack while they went on, or else when they ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStack {
    /// Whose: a place in [`Gil::threads`].
    pub thread: usize,
    /// Where in Python code they ended, where that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The functions, innermost first.
    pub frames: Vec<Frame>,
    /// How many holds.
    pub holds: u64,
    /// How long they were together.
    pub hold_ns: u64,
}

impl Session {
    /// How long it was traced.
    #[must_use]
    pub fn wall_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }
}

impl Session {
    /// What is known of a process.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<&Process> {
        let place = self
            .processes
            .binary_search_by_key(&pid, |process| process.pid);
        place.ok().map(|place| &self.processes[place])
    }
}

impl Gil {
    /// The sum of all threads' holds.
    #[must_use]
    pub fn hold_ns(&self) -> u64 {
        sum(self.threads.iter().map(|thread| thread.holds.total_ns()))
    }

    /// The sum of all threads' waits.
    #[must_use]
    pub fn wait_ns(&self) -> u64 {
        sum(self.threads.iter().map(|thread| thread.waits.total_ns()))
    }

    /// How long others waited while each thread held the GIL, in the order of `threads`.
    #[must_use]
    pub fn made_wait(&self) -> Vec<u64> {
        let mut made_wait: Vec<u64> = vec![0; self.threads.len()];
        for blame in &self.blame {
            made_wait[blame.holder] = made_wait[blame.holder].saturating_add(blame.wait_ns);
        }
        made_wait
    }
}

/// A sum that stays at the top instead of starting again.
pub(crate) fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

pub(crate) mod hexadecimal {
    //! Addresses are written as people read them elsewhere.

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    pub(crate) fn serialize<S: Serializer>(
        address: &u64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{address:x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map_err(D::Error::custom)
    }
}
