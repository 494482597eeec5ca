//! The workloads, recorded on the interpreter that `tests/run` has built: is the answer right?

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use gil_tests::{gilbuild, not_run, prefix, text, why_no_tracing, workload};
use serde_json::Value;

/// Records a workload and returns the report: as JSON, and as text.
fn answer(test: &str, program: &str) -> Option<(Value, String)> {
    if let Some(reason) = why_no_tracing() {
        not_run(test, &reason);
        return None;
    }
    let Some(prefix) = prefix("3.13", "nop") else {
        not_run(test, "3.13 was not built: run it by ./dev test");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let recorded = Command::new(gilbuild())
        .args(["record", "--duration", "10s", "--output"])
        .arg(&trace)
        .arg("--")
        .arg(prefix.join("bin/python3"))
        .arg(workload(program))
        .args(["--seconds", "14"])
        .output()
        .unwrap();
    assert!(recorded.status.success(), "{}", text(&recorded));
    let report = |format: &str| {
        let output = Command::new(gilbuild())
            .args(["report", "--format", format])
            .arg(&trace)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    Some((
        serde_json::from_str(&report("json")).unwrap(),
        report("text"),
    ))
}

fn verdict(report: &Value) -> &str {
    report["verdict"]["line"].as_str().unwrap()
}

fn utilisation(report: &Value) -> f64 {
    report["gils"][0]["figures"]["utilisation"]
        .as_f64()
        .unwrap()
}

fn thread<'a>(report: &'a Value, name: &str) -> &'a Value {
    let threads = report["sessions"][0]["gils"][0]["threads"]
        .as_array()
        .unwrap();
    threads
        .iter()
        .find(|thread| thread["name"] == name)
        .unwrap()
}

fn is_exact(report: &Value) {
    let losses = &report["sessions"][0]["losses"];
    assert_eq!(losses["lost"], 0, "{losses:#}");
    assert_eq!(losses["skipped_lines"], 0, "{losses:#}");
}

#[test]
fn two_io_threads_are_not_the_gil() {
    let Some((report, text)) = answer("two_io_threads_are_not_the_gil", "io_only.py") else {
        return;
    };
    is_exact(&report);
    assert!(verdict(&report).contains("not the GIL"), "{text}");
    assert!(utilisation(&report) < 0.02, "{text}");
}

#[test]
fn with_a_cpu_bound_thread_it_is_the_gil() {
    let Some((report, text)) = answer("with_a_cpu_bound_thread_it_is_the_gil", "io_and_cpu.py")
    else {
        return;
    };
    is_exact(&report);
    assert!(verdict(&report).contains("it is the GIL"), "{text}");
    assert!(verdict(&report).contains("\"cpu\""), "{text}");
    assert!(utilisation(&report) > 0.95, "{text}");
    for name in ["io-1", "io-2"] {
        // Asked for when the switch interval of 5 ms is over. How long it takes then is the machine's affair.
        let median = thread(&report, name)["waits"]["p50_ns"].as_u64().unwrap();
        assert!(median > 4_000_000, "{name} waits {median} ns\n{text}");
    }
    assert!(
        thread(&report, "cpu")["forced_drops"].as_u64() > Some(20),
        "{text}"
    );
}

#[test]
fn a_call_that_keeps_the_gil_is_found() {
    let Some((report, text)) = answer("a_call_that_keeps_the_gil_is_found", "hog.py") else {
        return;
    };
    is_exact(&report);
    let longest = thread(&report, "metrics")["holds"]["max_ns"]
        .as_u64()
        .unwrap();
    assert!(longest > 490_000_000, "{text}");
    assert!(text.contains("metrics"), "{text}");
}
