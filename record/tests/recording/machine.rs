//! Whether this machine can run a test, and one test at a time: tracers beside each other disturb each other's figures.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gil_record::Backend;

/// Every tracer must give the same answers.
pub(crate) const BACKENDS: [Backend; 2] = [Backend::Native, Backend::Bpftrace];

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to trace; `None`, with a line on stderr, when this machine cannot.
pub(crate) fn tracing(test: &str) -> Option<MutexGuard<'static, ()>> {
    let installed = Command::new("bpftrace")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !rustix::process::geteuid().is_root() {
        not_run(test, "attaching needs root");
        None
    } else if installed.is_err() {
        not_run(test, "bpftrace is not installed");
        None
    } else {
        Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says why a test cannot run. Not by `eprintln!`, which the test harness swallows when the test passes.
pub(crate) fn not_run(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {reason}");
}
