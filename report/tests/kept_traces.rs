//! Recorded traces of the three workloads (`tests/workloads`, CPython 3.13.5), kept so that every change is held against real ones; and the form
//! of the JSON that is written.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::Path;

use gil_report::render::{folded, json};
use gil_report::summary::Thread;
use gil_report::{Options, Report, VerdictKind, analyse};

fn report(workload: &str) -> Report {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/traces")
        .join(format!("{workload}.trace"));
    analyse(std::fs::File::open(path).unwrap(), &Options::default()).unwrap()
}

fn thread<'r>(report: &'r Report, name: &str) -> &'r Thread {
    let threads = &report.summary.sessions[0].gils[0].threads;
    threads
        .iter()
        .find(|thread| thread.name.as_deref() == Some(name))
        .unwrap()
}

#[test]
fn two_threads_that_sleep() {
    let report = report("io_only");
    assert_eq!(report.verdict.kind, VerdictKind::NotTheGil);
    assert!(report.gils[0].figures.utilisation < 0.02);
}

#[test]
fn the_same_and_a_busy_one() {
    let report = report("io_and_cpu");
    assert_eq!(report.verdict.kind, VerdictKind::GilBound);
    assert!(report.verdict.line.contains("thread \"cpu\""));
    assert!(report.gils[0].figures.utilisation > 0.95);
    for name in ["io-1", "io-2"] {
        let median = thread(&report, name).waits.quantile_ns(0.5);
        assert!((4_000_000..9_000_000).contains(&median), "{median}");
    }
    assert!(thread(&report, "cpu").requests_received > 50);
}

#[test]
fn a_call_that_keeps_the_gil() {
    let report = report("hog");
    assert_eq!(report.verdict.kind, VerdictKind::Contended);
    assert!(report.verdict.line.contains("thread \"metrics\""));
    let longest = thread(&report, "metrics").holds.max_ns();
    assert!((490_000_000..520_000_000).contains(&longest), "{longest}");
    let advice = &report.gils[0].advice[0].text;
    assert!(advice.contains("does not release the GIL"), "{advice}");
}

#[test]
fn blame_adds_up_to_the_nanosecond() {
    for workload in ["io_only", "io_and_cpu", "hog"] {
        let report = report(workload);
        let session = &report.summary.sessions[0];
        assert!(!session.losses.is_lossy());
        for gil in &session.gils {
            for (place, thread) in gil.threads.iter().enumerate() {
                let blamed = gil.blame.iter().filter(|blame| blame.waiter == place);
                let row: u64 = blamed.map(|blame| blame.wait_ns).sum();
                assert_eq!(row + thread.wait_on_nobody_ns, thread.waits.total_ns());
            }
        }
    }
}

#[test]
fn json_is_what_the_schema_says() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/report-1.schema.json");
    let schema = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for workload in ["io_only", "io_and_cpu", "hog", "functions"] {
        let mut written = Vec::new();
        json(&report(workload), &mut written).unwrap();
        let written = serde_json::from_slice(&written).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&written)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn holds_are_folded_by_place_in_python_code() {
    let mut lines = Vec::new();
    folded(&report("functions"), &mut lines).unwrap();
    assert_eq!(
        String::from_utf8(lines).unwrap(),
        "metrics;Metrics.collect (metrics.py:41) 512000000\n\
         req-1;<b>\\x1b[31mx (ü.py:12) 5000\n\
         req-1;handle<locals> (web.py:88) 4000\n"
    );
}
