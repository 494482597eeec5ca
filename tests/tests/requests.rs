//! Requests: spans of OpenTelemetry's SDK, marked by the Python package gilprobe, recorded, and what they had of the GIL told to a receiver of
//! OpenTelemetry's protocol by their trace ids.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use gil_tests::{gilbuild, not_run, run, text, why_no_tracing, workload};
use serde::Deserialize;
use serde_json::Value;

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A request, as the program that served it knows it.
#[derive(Debug, Deserialize)]
struct Served {
    name: String,
    trace: String,
    span: String,
    computed_ns: u64,
}

/// What one span of the receiver's has as attributes.
fn attribute(span: &Value, key: &str) -> u64 {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    let value = &found.unwrap_or_else(|| panic!("{key} in {span:#}"))["value"]["intValue"];
    value.as_str().unwrap().parse().unwrap()
}

/// An interpreter with markers that has the packages.
fn python(test: &str) -> Option<OsString> {
    if let Some(reason) = why_no_tracing() {
        not_run(test, &reason);
        return None;
    }
    let Some(python) = std::env::var_os("GILBUILD_TEST_PYTHON") else {
        not_run(test, "no Python with gilprobe: run it by ./dev test");
        return None;
    };
    let imports =
        "import gilprobe, opentelemetry.sdk, opentelemetry.proto; assert gilprobe.HAS_MARKERS";
    let output = Command::new(&python)
        .args(["-c", imports])
        .output()
        .unwrap();
    if !output.status.success() {
        not_run(
            test,
            &format!(
                "gilprobe, opentelemetry-sdk and opentelemetry-proto are not installed: {}",
                text(&output)
            ),
        );
        return None;
    }
    Some(python)
}

fn record(python: &OsString, trace: &Path) -> Vec<Served> {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("served.json");
    let output = Command::new(gilbuild())
        .args(["record", "--spans", "-o"])
        .arg(trace)
        .args(["--", "sh", "-c", "exec \"$0\" -B \"$1\" >\"$2\""])
        .arg(python)
        .arg(workload("requests_served.py"))
        .arg(&served)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&fs_err::read(&served).unwrap()).unwrap()
}

#[test]
fn what_requests_had_of_the_gil_reaches_the_system_that_has_their_traces() {
    let test = "what_requests_had_of_the_gil_reaches_the_system_that_has_their_traces";
    let Some(python) = python(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("requests.arrow");
    let served = record(&python, &trace);
    assert_eq!(served.len(), 25);

    let mut receiver = Command::new(&python);
    receiver.arg("-B").arg(workload("otlp_receiver.py"));
    let mut receiver = Running(receiver.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
    let port = lines.next().unwrap().unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    let trace = trace.to_string_lossy();
    let report = run(&["report", "--format", "json", "--otlp", &endpoint, &trace]);
    assert!(report.status.success(), "{}", text(&report));
    let told: Vec<Value> = lines
        .by_ref()
        .take(served.len())
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let by_parent: BTreeMap<(&str, &str), &Value> = told
        .iter()
        .map(|span| {
            let id = |at: usize| span["ids"][at].as_str().unwrap();
            ((id(0), id(2)), span)
        })
        .collect();
    for request in &served {
        let span = by_parent[&(request.trace.as_str(), request.span.as_str())];
        assert_eq!(span["name"], format!("GIL: {}", request.name));
        let duration_ns = attribute(span, "gil.duration_ns");
        let hold_ns = attribute(span, "gil.hold_ns");
        let wait_ns = attribute(span, "gil.wait_ns");
        // It computed with the GIL, on several threads perhaps; who else ran on the processor meanwhile, it had the GIL all the same.
        assert!(
            hold_ns >= request.computed_ns * 9 / 10,
            "{request:?} {span:#}"
        );
        assert!(
            hold_ns <= 2 * duration_ns && wait_ns <= 2 * duration_ns,
            "{request:?} {span:#}"
        );
        let waited_for: u64 = span["events"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| attribute(event, "gil.wait_ns"))
            .sum();
        assert!(waited_for <= wait_ns, "{span:#}");
    }
    // All have waited: five threads computed at once.
    assert!(
        told.iter()
            .any(|span| attribute(span, "gil.wait_ns") > 1_000_000)
    );
    // A part of a request is no request.
    let json: Value = serde_json::from_slice(&report.stdout).unwrap();
    let names = json["sessions"][0]["requests"]["names"].as_array().unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["in a pool", "in a task", "in a thread"]);
}

#[test]
fn gilprobe_keeps_its_promises_with_markers_and_without() {
    let test = "gilprobe_keeps_its_promises_with_markers_and_without";
    let Some(python) = python(test) else { return };
    for (option, said) in [
        (None, "with markers\n"),
        (Some("--without-markers"), "without markers\n"),
    ] {
        let mut check = Command::new(&python);
        check.arg("-B").arg(workload("gilprobe_check.py"));
        let output = check.args(option).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), said);
    }
}

#[test]
fn a_receiver_that_does_not_take_them_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("requests.trace");
    let lines = "# gil-trace 1 clock=monotonic pid=10 start=2026-11-20T23:30:00.250+0000 start_ns=0\n\
        5 span_begin 11 a1 0 000102030405060708090a0b0c0d0e0f GET /\n\
        900 drop 11 a 0 500 0\n\
        950 span_end 11 a1\n\
        999 end duration\n";
    fs_err::write(&trace, lines).unwrap();
    let trace = trace.to_string_lossy();
    let output = run(&["report", "--otlp", "http://127.0.0.1:9", &trace]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("http://127.0.0.1:9/v1/traces did not take"),
        "{}",
        text(&output)
    );

    let file = folder.path().join("requests.jsonl");
    let output = run(&["report", "--otlp", &file.to_string_lossy(), &trace]);
    assert!(output.status.success(), "{}", text(&output));
    let written = fs_err::read_to_string(&file).unwrap();
    let span: Value = serde_json::from_str(&written).unwrap();
    let span = &span["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "000102030405060708090a0b0c0d0e0f");
    assert_eq!(span["parentSpanId"], "00000000000000a1");
    assert_eq!(span["startTimeUnixNano"], "1795217400250000005");

    let output = run(&["report", "--otlp", "x", "--format", "html", &trace]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}
