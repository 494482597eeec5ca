//! Whether this machine can run a test, and one test at a time: tracers beside each other disturb each other's figures.

use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gil_record::Backend;
pub(crate) use gil_tests::not_run;

/// Every tracer must give the same answers.
pub(crate) const BACKENDS: [Backend; 2] = [Backend::Native, Backend::Bpftrace];

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to trace; `None`, with a line on stderr, when this machine cannot.
pub(crate) fn tracing(test: &str) -> Option<MutexGuard<'static, ()>> {
    if let Some(reason) = gil_tests::why_no_tracing() {
        not_run(test, &reason);
        None
    } else {
        Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to trace, and the interpreter to record: the one that `GILBUILD_TEST_PYTHON` names. `None`, with a line on stderr, without either.
pub(crate) fn python(test: &str) -> Option<(MutexGuard<'static, ()>, OsString)> {
    let turn = tracing(test)?;
    let python = std::env::var_os("GILBUILD_TEST_PYTHON");
    if python.is_none() {
        not_run(
            test,
            "GILBUILD_TEST_PYTHON names no interpreter with markers",
        );
    }
    Some((turn, python?))
}
