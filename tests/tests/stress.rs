//! A process under stress, while tracers attach and detach, ends as it would without.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gil_tests::{gilbuild, library, long_tests, not_run, prefixes, why_no_tracing, workload};
use serde_json::Value;

/// How often a tracer must have attached and detached at the least, for the test to have tested anything.
const ATTACHED: u32 = 3;

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With functions, names and claims: what a marker of the GIL can be made to compute.
fn bpftrace(library: &Path, pid: &str) -> Command {
    let at = format!("usdt:{}:python", library.display());
    let script = format!(
        "{at}:thread__name {{ @names[str(arg2)] = count(); }}
         {at}:gil__location {{ @drops[str(arg3), str(arg2)] = count(); }}
         {at}:gil__claim {{ @claims[str(arg4), str(arg3)] = count(); }}
         interval:s:1 {{ exit(); }}"
    );
    let mut tracer = Command::new("bpftrace");
    tracer.args(["-p", pid, "-e", &script]);
    tracer
}

fn native(pid: &str, folder: &Path) -> Command {
    let mut tracer = Command::new(gilbuild());
    tracer
        .args(["record", "--pid", pid, "--duration", "1s", "-o"])
        .arg(folder.join("stress.arrow"));
    tracer
}

fn survives(prefix: &Path, seconds: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(prefix.join("bin/python3"));
    program
        .args(["-B", "-W", "ignore"])
        .arg(workload("stress.py"))
        .args(["--seconds", seconds])
        .env("ASAN_OPTIONS", "detect_leaks=0:halt_on_error=1")
        .stdout(Stdio::piped());
    let mut program = Running(program.spawn().unwrap());
    let pid = program.0.id().to_string();
    let mut attached = 0;
    while program.0.try_wait().unwrap().is_none() {
        let mut tracer = if attached % 2 == 0 {
            bpftrace(&library(prefix), &pid)
        } else {
            native(&pid, folder.path())
        };
        let output = tracer.output().unwrap();
        attached += u32::from(output.status.success());
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut said = String::new();
    std::io::Read::read_to_string(program.0.stdout.as_mut().unwrap(), &mut said).unwrap();
    let status = program.0.wait().unwrap();
    let prefix = prefix.display();
    assert!(status.success(), "{prefix}: {status}: {said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let done = said["done"].as_object().unwrap();
    for what in ["fork", "sub_interpreter", "finalisation", "generators"] {
        assert!(done.contains_key(what), "{prefix}: no {what} in {said}");
    }
    assert!(
        attached >= ATTACHED,
        "{prefix}: tracers attached only {attached} times"
    );
}

#[test]
fn a_process_under_stress_bears_tracers_that_come_and_go() {
    let test = "a_process_under_stress_bears_tracers_that_come_and_go";
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let all = std::env::var("GILBUILD_TEST_ALL").as_deref() == Ok("yes");
    let has_markers = |prefix: &&PathBuf| !prefix.to_string_lossy().contains("-gil-none-");
    let prefixes = prefixes();
    let mut marked = prefixes.iter().filter(has_markers).peekable();
    if marked.peek().is_none() {
        not_run(test, "no interpreter with markers was built");
    }
    for prefix in marked {
        survives(prefix, if all { "60" } else { "8" });
    }
}

/// What `AddressSanitizer` finds ends the process. (It also finds that CPython's own `drop_gil` reads the state of a daemon thread that the end of
/// the process has freed; that process has ended by then, with or without a tracer.)
#[test]
fn a_process_under_stress_uses_no_memory_that_is_not_its_own() {
    let test = "a_process_under_stress_uses_no_memory_that_is_not_its_own";
    if !long_tests(test) {
        return;
    }
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let prefixes = std::env::var_os("GILBUILD_TEST_SANITIZED").unwrap_or_default();
    let prefixes: Vec<PathBuf> = std::env::split_paths(&prefixes)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if prefixes.is_empty() {
        not_run(test, "no interpreter with AddressSanitizer was built");
    }
    for prefix in prefixes {
        survives(&prefix, "60");
    }
}
