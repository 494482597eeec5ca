//! Free-threaded processes: stopped worlds and mutexes, from a trace written by hand to the answer.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::Path;

use gil_report::render::{TextOptions, json, text};
use gil_report::{Options, Report, VerdictKind, analyse, write_as_arrow};

/// A second of a process with a thread that collects garbage and two that want the same dict.
const TRACE: &str = "\
# gil-trace 1 clock=monotonic pid=10 start_ns=1000000000
1000000000 process 10 parent=1 python=3.13.5 build=free-threaded command=-
1000000001 thread 11 10 11 111 gc
1000000002 thread 12 10 12 112 worker-1
1100000000 stw_begin 11 0
1101000000 stw_stopped 11 0 1000000
1103000000 stw_end 11 0 2000000 1000000
1200000000 stw_begin 11 1
1203000000 stw_end 11 1 3000000 2000
1300000000 mutex 12 7f0000aa 20000000 0
1400000000 mutex 12 7f0000aa 10000000 0
1500000000 mutex 12 7f0000bb 500000000 1
1900000000 stw_begin 11 0
2000000000 end duration
";

fn report(trace: &str) -> Report {
    analyse(trace.as_bytes(), &Options::default()).unwrap()
}

fn written(report: &Report) -> String {
    let mut page = Vec::new();
    text(report, &TextOptions::default(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn pauses_and_waits_are_added_up() {
    let report = report(TRACE);
    let stalls = &report.summary.sessions[0].stalls[0];
    assert_eq!((stalls.pid, stalls.count()), (10, 2));
    assert_eq!(stalls.stopped_ns(), 5_000_000);
    let stops = &stalls.stops[0];
    assert_eq!(stops.who.name.as_deref(), Some("gc"));
    assert_eq!((stops.global, stops.waits.max_ns()), (1, 1_000_000));
    assert_eq!(stops.open_ns, 100_000_000, "it has not ended");
    assert_eq!(stalls.mutex_wait_ns(), 30_000_000, "without threading's");
    assert_eq!(stalls.mutexes.len(), 2);
    assert_eq!(report.stalls[0].longest_stop_ns, 3_000_000);
}

#[test]
fn the_verdict_says_who_asked() {
    let report = report(TRACE);
    assert_eq!(report.verdict.kind, VerdictKind::NotTheGil);
    let page = written(&report);
    for part in [
        "stopped the world 2 times, 0.50 % of the time, asked for by thread \"gc\" (tid 11)",
        "threads waited for mutexes 3.0 % of the time, 100 % of that for the one at 7f0000aa",
        "has wanted the world to stop, or has stopped it, for 100 ms when tracing ended",
        "Waited for locks of threading",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn from_a_twentieth_of_the_time_on_it_stalls() {
    let trace = TRACE.replace(
        "1103000000 stw_end 11 0 2000000",
        "1203000000 stw_end 11 0 60000000",
    );
    let report = report(&trace);
    assert_eq!(report.verdict.kind, VerdictKind::Stalled);
    assert!(
        report.verdict.line.contains("6.3 % of the time"),
        "{}",
        report.verdict.line
    );
}

#[test]
fn a_free_threaded_process_without_events_is_not_the_gil() {
    let quiet: Vec<&str> = TRACE
        .lines()
        .filter(|line| !line.contains("stw") && !line.contains("mutex"))
        .collect();
    let report = report(&(quiet.join("\n") + "\n"));
    assert_eq!(report.verdict.kind, VerdictKind::NotTheGil);
    let with_gil = quiet.join("\n").replace("free-threaded", "gil") + "\n";
    assert_eq!(self::report(&with_gil).verdict.kind, VerdictKind::Unknown);
}

#[test]
fn what_began_before_tracing_counts_from_there() {
    let report = report(
        "# gil-trace 1 clock=monotonic pid=10 start_ns=1000\n1500 stw_end 11 0 900 300\n1600 mutex 11 a 5000 0\n2000 end x\n",
    );
    let stalls = &report.summary.sessions[0].stalls[0];
    assert_eq!((stalls.stopped_ns(), stalls.mutex_wait_ns()), (500, 600));
}

#[test]
fn both_forms_and_the_saved_one_say_the_same() {
    let as_json = |report: &Report| {
        let mut written = Vec::new();
        json(report, &mut written).unwrap();
        String::from_utf8(written).unwrap()
    };
    let from_text = as_json(&report(TRACE));
    let arrow = write_as_arrow(TRACE.as_bytes(), Vec::new()).unwrap();
    let from_arrow = as_json(&analyse(arrow.as_slice(), &Options::default()).unwrap());
    assert_eq!(from_text, from_arrow);
    assert_eq!(from_text, as_json(&report(&from_text)));

    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/report-1.schema.json");
    let schema = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value = serde_json::from_str(&from_text).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&value)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn lines_that_are_none_are_skipped() {
    let trace =
        format!("{TRACE}1 stw_end 11 2 5 5\n2 mutex 12 zz 5 0\n3 stw_begin\n4 mutex 12 a 5\n");
    let losses = &report(&trace.replace("2000000000 end duration\n", ""))
        .summary
        .sessions[0]
        .losses;
    assert_eq!(losses.skipped_lines, 4);
}
