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
