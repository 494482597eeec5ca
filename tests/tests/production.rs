//! A service whose GIL one thread of 31 keeps: recorded once, the report names the thread, the line, the C function, how often it comes back,
//! and whose requests it held up; and it says after the fix that the fix worked.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use gil_tests::{gilbuild, library, not_run, prefix, run, text, why_no_tracing, workload};
use serde_json::Value;

/// The share of all hold time that the metrics have.
const SHARE: std::ops::RangeInclusive<f64> = 0.6..=0.92;

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn demand(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}

/// The C extension of the service, and the package that marks its requests, where its Python finds them.
fn packages(prefix: &Path, folder: &Path) -> Result<PathBuf, String> {
    let series = gil_tests::series(prefix);
    let packages = folder.join("packages");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pip = Command::new(prefix.join("bin/python3"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
        ])
        .arg(&packages)
        .arg(project.join("probes/python"))
        .output()
        .unwrap();
    if !pip.status.success() {
        return Err(format!("pip cannot build gilprobe here: {}", text(&pip)));
    }
    let compiler = Command::new("cc")
        .args(["-O1", "-fno-omit-frame-pointer", "-shared", "-fPIC", "-o"])
        .arg(packages.join("collector.so"))
        .arg(format!("-I{}/include/python{series}", prefix.display()))
        .arg(workload("collector.c"))
        .output();
    match compiler {
        Ok(output) => {
            demand(&output);
            Ok(packages)
        }
        Err(error) => Err(format!("there is no C compiler ({error})")),
    }
}

/// Records the service for a while; the trace.
fn record(prefix: &Path, packages: &Path, trace: &Path, (seconds, fixed): (u32, bool)) {
    let mut service = Command::new(prefix.join("bin/python3"));
    service
        .arg("-B")
        .arg(workload("scheduler.py"))
        .args(["--seconds", &(seconds + 3).to_string()])
        .env("PYTHONPATH", packages)
        .stdout(Stdio::null());
    if fixed {
        service.arg("--fixed");
    }
    let service = Running(service.spawn().unwrap());
    std::thread::sleep(Duration::from_secs(1));
    let output = Command::new(gilbuild())
        .args(["record", "--pid", &service.0.id().to_string(), "-o"])
        .arg(trace)
        .args(["--duration", &format!("{seconds}s")])
        .args(["--functions", "--stacks", "--spans"])
        .output()
        .unwrap();
    demand(&output);
}

fn report(trace: &Path) -> Value {
    let output = run(&["report", "--format", "json", &trace.to_string_lossy()]);
    demand(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn one_recording_names_who_keeps_the_gil_where_and_for_whom() {
    let test = "one_recording_names_who_keeps_the_gil_where_and_for_whom";
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    assert!(library(&prefix).is_file());
    let folder = tempfile::tempdir().unwrap();
    let packages = match packages(&prefix, folder.path()) {
        Ok(packages) => packages,
        Err(reason) => return not_run(test, &reason),
    };
    let before = folder.path().join("before.arrow");
    record(&prefix, &packages, &before, (34, false));
    let json = report(&before);
    let session = &json["sessions"][0];
    let gil = &session["gils"][0];
    let threads = gil["threads"].as_array().unwrap();
    let name = |place: &Value| {
        threads[usize::try_from(place.as_u64().unwrap()).unwrap()]["name"]
            .as_str()
            .unwrap()
    };
    assert_eq!(threads.len(), 31);

    // The thread, and its share of all that was held.
    let held = |thread: &Value| thread["holds"]["total_ns"].as_f64().unwrap();
    let all: f64 = threads.iter().map(held).sum();
    let metrics = threads
        .iter()
        .find(|thread| thread["name"] == "metrics collector")
        .unwrap();
    let share = held(metrics) / all;
    assert!(SHARE.contains(&share), "{share}");

    // The line of Python, and the C function below it.
    let longest = &gil["longest_holds"][0];
    assert_eq!(name(&longest["thread"]), "metrics collector");
    assert!(longest["duration_ns"].as_u64().unwrap() >= 499_000_000);
    assert_eq!(longest["place"]["function"], "Metrics.collect");
    assert!(
        longest["place"]["file"]
            .as_str()
            .unwrap()
            .ends_with("/scheduler.py")
    );
    assert!(longest["place"]["line"].as_u64().unwrap() > 0);
    assert!(
        longest["within"]
            .as_str()
            .unwrap()
            .ends_with("(collector.so)"),
        "{longest:#}"
    );

    // How often.
    let patterns = json["gils"][0]["patterns"].as_array().unwrap();
    let periodic = patterns
        .iter()
        .find(|pattern| pattern["kind"] == "periodic");
    let periodic = periodic.unwrap_or_else(|| panic!("{patterns:#?}"));
    assert_eq!(name(&periodic["thread"]), "metrics collector");
    // The workload sleeps until each tenth second; a loaded machine wakes it a little late.
    let period = periodic["period_ns"].as_u64().unwrap();
    assert!(
        (9_500_000_000..=10_500_000_000).contains(&period),
        "{periodic:#}"
    );

    // Whom it held up: threads, and requests.
    let blame = gil["blame"].as_array().unwrap();
    let most = blame
        .iter()
        .max_by_key(|pair| pair["wait_ns"].as_u64())
        .unwrap();
    assert_eq!(name(&most["holder"]), "metrics collector");
    let worst = &session["requests"]["worst"][0];
    assert_eq!(worst["name"], "GET /tasks");
    assert_eq!(worst["waited_for"][0]["name"], "metrics collector");
    let waited = worst["waited_for"][0]["wait_ns"].as_u64().unwrap();
    assert!(
        waited > 300_000_000 && waited <= worst["duration_ns"].as_u64().unwrap(),
        "{worst:#}"
    );

    // The advice says it all in one sentence.
    let advice = json["gils"][0]["advice"][0]["text"].as_str().unwrap();
    for part in [
        "\"metrics collector\"",
        "Metrics.collect (scheduler.py:",
        "come back every ",
    ] {
        assert!(advice.contains(part), "{part}: {advice}");
    }

    let after = folder.path().join("after.arrow");
    record(&prefix, &packages, &after, (15, true));
    the_fix_has_worked(&before, &after);
}

fn the_fix_has_worked(before: &Path, after: &Path) {
    let reports = [report(before), report(after)];
    for figure in ["utilisation", "wait_ratio"] {
        let [before, after] =
            [0, 1].map(|at| reports[at]["gils"][0]["figures"][figure].as_f64().unwrap());
        assert!(
            after <= before / 2.0,
            "{figure}: {before} before, {after} after"
        );
    }
    let diff = run(&["diff", &before.to_string_lossy(), &after.to_string_lossy()]);
    demand(&diff);
    assert!(text(&diff).contains("metrics collector"), "{}", text(&diff));
}
