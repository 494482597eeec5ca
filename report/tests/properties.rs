//! What holds for any sequence of events.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fmt::Write as _;

use gil_report::render::{TextOptions, json, text};
use gil_report::{Interval, IntervalSink, Options, Report, State, Summary, summarise};
use proptest::prelude::*;

/// Lines of a trace: few threads, GILs and times, so that they get into each other's way.
fn line() -> impl Strategy<Value = String> {
    let time = 0..2_000_u64;
    let tid = 10..16_u32;
    let gil = prop_oneof![Just("a"), Just("b")];
    let duration = prop_oneof![0..300_u64, Just(0), Just(u64::MAX)];
    prop_oneof![
        6 => (time.clone(), tid.clone(), gil.clone(), 0..2_u8, duration.clone(), duration.clone())
            .prop_map(|(time, tid, gil, forced, hold, wait)| format!("{time} drop {tid} {gil} {forced} {hold} {wait}")),
        2 => (time.clone(), tid.clone(), gil.clone()).prop_map(|(time, tid, gil)| format!("{time} claim {tid} {gil}")),
        2 => (time.clone(), tid.clone(), gil.clone(), duration)
            .prop_map(|(time, tid, gil, wait)| format!("{time} acquired {tid} {gil} {wait}")),
        1 => (time.clone(), tid.clone(), gil, 0..4_u64).prop_map(|(time, tid, gil, holder)| format!("{time} request {tid} {gil} {holder}")),
        1 => (time.clone(), tid, 1..3_u32, 0..4_u64, "\\PC{0,8}")
            .prop_map(|(time, tid, pid, ident, name)| format!("{time} thread {tid} {pid} {tid} {ident} {name}")),
        2 => (time.clone(), 10..16_u32, 0..5_u32).prop_map(|(time, tid, place)| format!("{time} at {tid} {place}")),
        1 => (time.clone(), 1..3_u32, 0..4_u32, 0..90_u32, "\\PC{0,8}")
            .prop_map(|(time, pid, place, line, name)| format!("{time} location {pid} {place} line={line} function={name} file=/srv/{name}.py")),
        1 => (time.clone(), 10..16_u32, 0..4_u32, 0..4_u32)
            .prop_map(|(time, tid, span, parent)| format!("{time} span_begin {tid} {span:x} {parent:x} 0123456789abcdef0123456789abcdef checkout")),
        1 => (time.clone(), 10..16_u32, 0..4_u32, prop_oneof![Just("span_end"), Just("span_switch")])
            .prop_map(|(time, tid, span, word)| format!("{time} {word} {tid} {span:x}")),
        1 => (time.clone(), 0..5_u64).prop_map(|(time, count)| format!("{time} lost {count} full")),
        1 => time.prop_map(|time| format!("{time} end exit")),
        1 => "\\PC{0,30}".prop_map(|noise| noise),
    ]
}

fn trace(pid: u32, lines: &[String]) -> String {
    let mut trace = format!("# gil-trace 1 clock=monotonic pid={pid} start_ns=100\n");
    for line in lines {
        writeln!(trace, "{line}").unwrap();
    }
    trace
}

/// Keeps the holds.
#[derive(Default)]
struct Holds(Vec<(u32, u64, u64, u64)>);

impl IntervalSink for Holds {
    fn interval(&mut self, interval: &Interval<'_>) {
        assert!(interval.start_ns <= interval.end_ns);
        if interval.state == State::Hold {
            let gil = (interval.pid, interval.gil);
            self.0
                .push((gil.0, gil.1, interval.start_ns, interval.end_ns));
        }
    }
}

fn read(trace: &str, window: usize) -> (Summary, Holds) {
    let options = Options {
        reorder_window: window,
        ..Options::default()
    };
    let mut holds = Holds::default();
    let summary = summarise(trace.as_bytes(), &options, &mut holds).unwrap();
    (summary, holds)
}

fn as_json(summary: Summary) -> String {
    let report = Report::new(summary, &Options::default().thresholds);
    let mut output = Vec::new();
    json(&report, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

proptest! {
    #[test]
    fn blame_adds_up_and_holds_never_overlap(lines in prop::collection::vec(line(), 0..80), window in 1..100_usize) {
        let (summary, mut holds) = read(&trace(1, &lines), window);
        holds.0.sort_unstable();
        for pair in holds.0.windows(2) {
            let same_gil = (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1);
            prop_assert!(!same_gil || pair[0].3 <= pair[1].2, "{pair:?}");
        }
        for session in &summary.sessions {
            for gil in &session.gils {
                prop_assert!(gil.hold_ns() <= session.wall_ns());
                prop_assert_eq!(gil.series.hold_ns.iter().sum::<u64>(), gil.hold_ns());
                for (place, thread) in gil.threads.iter().enumerate() {
                    let row: u64 = gil.blame.iter().filter(|one| one.waiter == place).map(|one| one.wait_ns).sum();
                    let waited = row + thread.wait_on_nobody_ns + thread.wait_unattributed_ns;
                    prop_assert_eq!(waited, thread.waits.total_ns());
                }
            }
        }
        let report = Report::new(summary, &Options::default().thresholds);
        let mut page = Vec::new();
        text(&report, &TextOptions::default(), &mut page).unwrap();
        prop_assert!(page.iter().all(|&byte| byte != 0x1b));
    }

    #[test]
    fn merging_is_associative_and_saves_everything(
        parts in prop::collection::vec((1..3_u32, prop::collection::vec(line(), 0..40)), 3)
    ) {
        let read = |part: &(u32, Vec<String>)| read(&trace(part.0, &part.1), 1000).0;
        let [a, b, c] = [0, 1, 2].map(|at| read(&parts[at]));
        let merged = |mut left: Summary, right: &Summary| { left.merge(right.clone()); left };
        let left_first = as_json(merged(merged(a.clone(), &b), &c));
        let right_first = as_json(merged(a.clone(), &merged(b.clone(), &c)));
        let backwards = as_json(merged(merged(c, &b), &a));
        prop_assert_eq!(&left_first, &right_first);
        prop_assert_eq!(&left_first, &backwards);
        let again = summarise(left_first.as_bytes(), &Options::default(), &mut ()).unwrap();
        prop_assert_eq!(&left_first, &as_json(again));
    }

    #[test]
    fn parts_merged_equal_the_whole(lines in prop::collection::vec(line(), 0..80)) {
        // One recording of two processes, and the same recording cut into one file for each GIL.
        let about = |line: &String, gil: &str| line.split(' ').nth(3) == Some(gil);
        let events: Vec<_> = lines.into_iter().filter(|line| about(line, "a") || about(line, "b")).collect();
        let of = |gil: &str| events.iter().filter(|line| about(line, gil)).cloned().collect::<Vec<_>>();
        let end = "3000 end exit".to_owned();
        let read = |mut lines: Vec<String>| { lines.push(end.clone()); read(&trace(1, &lines), 1000).0 };
        let whole = read(events.clone());
        let mut parts = read(of("a"));
        parts.merge(read(of("b")));
        for (whole, part) in whole.sessions[0].gils.iter().zip(&parts.sessions[0].gils) {
            let totals = |gil: &gil_report::summary::Gil| (gil.hold_ns(), gil.wait_ns(), gil.switches, gil.blame.clone());
            // Whether acquisitions are seen is a fact of the whole recording: only open waits depend on it.
            let open = |gil: &gil_report::summary::Gil| gil.threads.iter().map(|one| one.open_wait_ns).sum::<u64>();
            if open(whole) == open(part) {
                prop_assert_eq!(totals(whole), totals(part));
            }
        }
        prop_assert_eq!(whole.sessions[0].gils.len(), parts.sessions[0].gils.len());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = summarise(bytes.as_slice(), &Options::default(), &mut ());
        let mut with_header = trace(1, &[]).into_bytes();
        with_header.extend(bytes);
        let _ = summarise(with_header.as_slice(), &Options::default(), &mut ());
    }
}
