//! What is shown: the difference between two samples, and what the user wants to see of it. Knows no terminal.

use std::collections::{HashMap, VecDeque};

use gil_record::{Sample, ThreadSample};

/// Moments that the curve remembers: more than a terminal is wide.
const HISTORY: usize = 512;

/// What rows are ordered by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Who holds most.
    #[default]
    Hold,
    /// Who waits most.
    Wait,
    /// Who is asked most often to give the GIL up.
    Asked,
    /// Names.
    Name,
}

impl Sort {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Hold => Self::Wait,
            Self::Wait => Self::Asked,
            Self::Asked => Self::Name,
            Self::Name => Self::Hold,
        }
    }

    /// As the screen names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Wait => "wait",
            Self::Asked => "asked",
            Self::Name => "name",
        }
    }
}

/// One thread and one GIL, during the last interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The GIL.
    pub gil: u64,
    /// The thread's name.
    pub name: String,
    /// The share of the time in which it held the GIL, 0.0 to 1.0.
    pub hold: f64,
    /// The share of the time in which it waited for it.
    pub wait: f64,
    /// How often it had it, a second.
    pub holds_per_second: f64,
    /// How often others asked it to give it up, a second.
    pub asked_per_second: f64,
    /// The part of all that others waited in which it held their GIL, 0.0 to 1.0: their waits, divided by who held how much.
    pub blame: f64,
}

/// Everything that is shown.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// What is recorded.
    pub title: String,
    /// How many processes.
    pub processes: usize,
    /// How many GILs were used in the interval.
    pub gils: usize,
    /// The share of the time in which the busiest GIL was held, 0.0 to 1.0.
    pub utilisation: f64,
    /// How many threads waited, on average.
    pub wait_ratio: f64,
    /// How long the interval was, in seconds.
    pub seconds: f64,
    /// Cycles that are missing.
    pub lost: u64,
    /// Threads that did something, unordered.
    pub rows: Vec<Row>,
    /// Utilisation in the last intervals, in thousandths, oldest first.
    pub history: VecDeque<u64>,
    /// What rows are ordered by.
    pub sort: Sort,
    /// Nothing changes until the user goes on.
    pub paused: bool,
    /// Only threads whose name, or number, has this in it are shown.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    /// How many rows are above the first that is shown.
    pub scroll: usize,
    last: Option<Sample>,
}

impl Board {
    /// Shows nothing yet.
    #[must_use]
    pub fn new(title: String) -> Self {
        Self {
            title,
            ..Self::default()
        }
    }

    /// Takes the next sample, unless paused: then the next one that is taken tells of all the time since.
    pub fn update(&mut self, sample: Sample) {
        if self.paused {
            return;
        }
        if let Some(last) = self.last.take() {
            self.rows = rows(&last, &sample);
            self.seconds = seconds(&last, &sample);
            let mut by_gil: HashMap<(u32, u64), f64> = HashMap::new();
            for row in &self.rows {
                *by_gil.entry((row.pid, row.gil)).or_default() += row.hold;
            }
            self.gils = by_gil.len();
            // Two clocks look at one hold: a little more than everything is everything.
            self.utilisation = by_gil.values().copied().fold(0.0, f64::max).min(1.0);
            self.wait_ratio = self.rows.iter().map(|row| row.wait).sum();
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(thousandths(self.utilisation));
        }
        self.processes = sample.processes;
        self.lost = sample.lost;
        self.last = Some(sample);
    }

    /// The rows that the user wants to see, in order.
    #[must_use]
    pub fn visible(&self) -> Vec<&Row> {
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| {
                row.name.to_lowercase().contains(&wanted)
                    || row.tid.to_string() == wanted
                    || row.pid.to_string() == wanted
            })
            .collect();
        let most = |one: f64, other: f64| other.total_cmp(&one);
        rows.sort_by(|one, other| {
            let order = match self.sort {
                Sort::Hold => most(one.hold, other.hold),
                Sort::Wait => most(one.wait, other.wait),
                Sort::Asked => most(one.asked_per_second, other.asked_per_second),
                Sort::Name => one.name.cmp(&other.name),
            };
            // So that equal rows do not dance.
            order.then_with(|| (one.pid, one.tid, one.gil).cmp(&(other.pid, other.tid, other.gil)))
        });
        rows
    }
}

fn seconds(last: &Sample, sample: &Sample) -> f64 {
    fraction(sample.time_ns.saturating_sub(last.time_ns), 1_000_000_000)
}

fn rows(last: &Sample, sample: &Sample) -> Vec<Row> {
    let key = |thread: &ThreadSample| (thread.pid, thread.tid, thread.gil);
    let before: HashMap<_, &ThreadSample> = last
        .threads
        .iter()
        .map(|thread| (key(thread), thread))
        .collect();
    let nothing = ThreadSample::default();
    let time_ns = sample.time_ns.saturating_sub(last.time_ns).max(1);
    let seconds = seconds(last, sample).max(f64::MIN_POSITIVE);
    let mut rows: Vec<Row> = sample
        .threads
        .iter()
        .map(|thread| {
            let before = before.get(&key(thread)).copied().unwrap_or(&nothing);
            let hold_ns = thread.hold_ns.saturating_sub(before.hold_ns);
            let wait_ns = thread.wait_ns.saturating_sub(before.wait_ns);
            Row {
                pid: thread.pid,
                tid: thread.tid,
                gil: thread.gil,
                name: thread.name.clone(),
                hold: fraction(hold_ns, time_ns).min(1.0),
                wait: fraction(wait_ns, time_ns).min(1.0),
                holds_per_second: fraction(thread.holds.saturating_sub(before.holds), 1) / seconds,
                asked_per_second: fraction(thread.asked.saturating_sub(before.asked), 1) / seconds,
                blame: 0.0,
            }
        })
        .filter(|row| row.hold > 0.0 || row.wait > 0.0 || row.holds_per_second > 0.0)
        .collect();
    blame(&mut rows);
    rows
}

/// Divides each thread's wait over those who held its GIL meanwhile, as far as totals tell: by how much each of the others held.
fn blame(rows: &mut [Row]) {
    let mut blamed = vec![0.0; rows.len()];
    let mut by_gil: HashMap<(u32, u64), Vec<usize>> = HashMap::new();
    for (number, row) in rows.iter().enumerate() {
        by_gil.entry((row.pid, row.gil)).or_default().push(number);
    }
    for group in by_gil.values() {
        let held: f64 = group.iter().map(|&number| rows[number].hold).sum();
        // The sum of what each waiter gives for each unit of hold, and each thread's own part of it, which it does not give to itself.
        let given = |row: &Row| {
            let others = held - row.hold;
            if others > 0.0 { row.wait / others } else { 0.0 }
        };
        let all: f64 = group.iter().map(|&number| given(&rows[number])).sum();
        for &number in group {
            let row = &rows[number];
            blamed[number] = row.hold * (all - given(row)).max(0.0);
        }
    }
    let all: f64 = blamed.iter().sum();
    for (row, blamed) in rows.iter_mut().zip(blamed) {
        row.blame = if all > 0.0 { blamed / all } else { 0.0 };
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is between 0 and 1"
)]
fn thousandths(share: f64) -> u64 {
    (share * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(name: &str, tid: u32, hold_ms: u64, wait_ms: u64, asked: u64) -> ThreadSample {
        ThreadSample {
            pid: 7,
            tid,
            gil: 1,
            name: name.to_owned(),
            holds: hold_ms,
            hold_ns: hold_ms * 1_000_000,
            wait_ns: wait_ms * 1_000_000,
            asked,
        }
    }

    fn sample(time_ms: u64, threads: Vec<ThreadSample>) -> Sample {
        Sample {
            time_ns: time_ms * 1_000_000,
            processes: 1,
            threads,
            lost: 0,
        }
    }

    fn board() -> Board {
        let mut board = Board::new("process 7".to_owned());
        board.update(sample(0, vec![thread("cpu", 8, 500, 0, 3)]));
        let now = vec![
            thread("cpu", 8, 1400, 50, 103),
            thread("io", 9, 50, 800, 0),
            thread("log", 10, 50, 100, 0),
        ];
        board.update(sample(1000, now));
        board
    }

    #[test]
    fn a_row_is_what_has_happened_between_two_samples() {
        let board = board();
        let rows = board.visible();
        assert_eq!(rows[0].name, "cpu");
        assert!((rows[0].hold - 0.9).abs() < 1e-9);
        assert!((rows[0].asked_per_second - 100.0).abs() < 1e-9);
        assert!((board.utilisation - 1.0).abs() < 1e-9);
        assert!((board.wait_ratio - 0.95).abs() < 1e-9);
        assert_eq!(board.history, [1000]);
    }

    #[test]
    fn blame_is_all_of_the_waiting_and_nobody_blames_itself() {
        let board = board();
        let all: f64 = board.rows.iter().map(|row| row.blame).sum();
        assert!((all - 1.0).abs() < 1e-9);
        let blame = |name: &str| {
            board
                .rows
                .iter()
                .find(|row| row.name == name)
                .unwrap()
                .blame
        };
        // io waited 800: 900 parts for cpu to 50 for log; log waited 100: 900 to 50 for io; cpu 50: half and half.
        let cpu = (800.0 * 900.0 / 950.0 + 100.0 * 900.0 / 950.0) / 950.0;
        assert!((blame("cpu") - cpu).abs() < 1e-9, "{}", blame("cpu"));
    }

    #[test]
    fn rows_are_ordered_and_filtered_as_asked() {
        let mut board = board();
        board.sort = Sort::Wait;
        assert_eq!(board.visible()[0].name, "io");
        board.sort = Sort::Name;
        assert_eq!(board.visible()[2].name, "log");
        board.filter = "IO".to_owned();
        assert_eq!(board.visible().len(), 1);
        board.filter = "10".to_owned();
        assert_eq!(board.visible()[0].name, "log");
    }

    #[test]
    fn a_pause_is_made_up_for() {
        let mut board = board();
        board.paused = true;
        board.update(sample(2000, Vec::new()));
        assert_eq!(board.rows.len(), 3);
        board.paused = false;
        board.update(sample(3000, vec![thread("cpu", 8, 1900, 50, 103)]));
        assert!((board.seconds - 2.0).abs() < 1e-9);
        assert!((board.rows[0].hold - 0.25).abs() < 1e-9);
    }
}
