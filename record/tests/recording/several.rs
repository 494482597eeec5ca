//! Several processes at once: children, programs that are started, containers, control groups, everything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use gil_record::{
    Backend, Finished, Interpreter, Mode, Observer, Options, RecordError, Silent, StopReason,
    Target, record,
};
use gil_report::Kind;

use crate::machine;
use crate::trace::{Sums, Trace};

/// A cycle of the GIL for each call that may block.
const CHURN: &str = "
import os, sys, threading
def churn(count):
    reader, writer = os.pipe()
    for _ in range(count):
        os.write(writer, b'x')
        os.read(reader, 1)
";

/// The interpreter to record with, or `None` with a line on stderr.
fn python(test: &str) -> Option<OsString> {
    let python = std::env::var_os("GILBUILD_TEST_PYTHON");
    if python.is_none() {
        machine::not_run(
            test,
            "GILBUILD_TEST_PYTHON names no interpreter with markers",
        );
    }
    python
}

fn script(python: &OsString, code: &str) -> Vec<OsString> {
    let code = format!("{CHURN}{code}");
    vec![python.clone(), "-c".into(), code.into()]
}

/// Whatever is recorded, everything in it adds up: the events, the report, and what each process said that it did.
fn drops_by_process(trace: &Trace) -> BTreeMap<u32, u64> {
    let mut drops = BTreeMap::new();
    for thread in trace.by_thread().values().filter(|thread| thread.pid != 0) {
        *drops.entry(thread.pid).or_default() += thread.drops;
    }
    drops
}

fn options(output: &Path, mode: Mode) -> Options {
    Options {
        backend: Backend::Native,
        mode,
        output: Some(output.to_owned()),
        ..Options::default()
    }
}

/// Starts something once the tracer is attached.
struct Then<F>(Option<F>);

impl<F: FnOnce()> Observer for Then<F> {
    fn attached(&mut self, _interpreters: &[Interpreter]) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

#[test]
fn children_are_recorded_from_their_first_instruction() {
    let test = "children_are_recorded_from_their_first_instruction";
    let Some(_turn) = machine::tracing(test) else {
        return;
    };
    let Some(python) = python(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    // Each child exits without any of Python's own ado: two cycles a round, and nothing else but its first and last ones.
    let command = script(
        &python,
        "
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        churn(1000 * (number + 1))
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
os.execv(sys.executable, [sys.executable, '-c', 'import sys; sys.setswitchinterval(0.25); import threading; t = threading.Thread(target=print); t.start(); t.join()'])
",
    );
    let recording = record(
        &Target::Command(command),
        &options(&output, Mode::Events),
        &mut Silent,
    )
    .unwrap();
    assert_eq!(recording.lost, 0);
    assert_eq!(recording.reason, StopReason::Exit);
    assert!(recording.command_status.unwrap().success());
    let trace = Trace::read(&output);
    let mut drops = drops_by_process(&trace);
    let parent = drops.remove(&trace.pid).unwrap();
    assert!(parent > 0);
    let mut children: Vec<u64> = drops.values().copied().collect();
    children.sort_unstable();
    // Two more: reopening what a child has to itself, and its end.
    assert_eq!(children, [2002, 4002, 6002, 8002], "{drops:?}");

    let report = gil_report::analyse(
        fs_err::File::open(output).unwrap(),
        &gil_report::Options::default(),
    )
    .unwrap();
    let session = &report.summary.sessions[0];
    assert_eq!(session.processes.len(), 5);
    for (pid, _) in drops {
        let process = session.process(pid).unwrap();
        assert_eq!(process.parent, Some(trace.pid));
        assert_eq!(process.python, recording.interpreter.version);
    }
    // The program that was started last set its own.
    let intervals: Vec<_> = session
        .gils
        .iter()
        .map(|gil| gil.switch_interval_ns)
        .collect();
    assert!(intervals.contains(&Some(5_000_000)), "{intervals:?}");
    assert!(intervals.contains(&Some(250_000_000)), "{intervals:?}");
}
