//! The markers of the contract: names, arguments and what they mean. Names and numbers come from the C header.

use std::ffi::CStr;

#[expect(
    unreachable_pub,
    reason = "bindgen writes `pub`; the constants are re-exported below under the names Rust code uses"
)]
mod header {
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

/// The version of the contract that this crate knows.
pub const CONTRACT_VERSION: u32 = header::GIL_MARKERS_CONTRACT_VERSION;

/// The provider under which all markers are listed.
pub const PROVIDER: &str = text(header::GIL_MARKERS_PROVIDER);

/// Bytes of a text that a marker tells, without the NUL at its end.
pub const TEXT_BYTES: usize = header::GIL_MARKERS_TEXT_BYTES as usize;

/// Hexadecimal digits of a trace id, as the markers of spans tell it.
pub const TRACE_DIGITS: usize = header::GIL_SPANS_TRACE_DIGITS as usize;

/// One marker of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Its name in the ELF note, `gil__drop`.
    pub name: &'static str,
    /// The names of its arguments, in order. Later contracts only append.
    pub arguments: &'static [&'static str],
}

/// The markers of the GIL, which every build has, in the order in which a cycle fires them. They share a semaphore.
pub const MARKERS: [Marker; 4] = [
    marker(
        header::GIL_MARKERS_CLAIM,
        header::GIL_MARKERS_CLAIM_ARGUMENTS,
        &[
            "ident", "tid", "gil", "file", "function", "line", "location",
        ],
    ),
    marker(
        header::GIL_MARKERS_ACQUIRED,
        header::GIL_MARKERS_ACQUIRED_ARGUMENTS,
        &["ident", "tid", "gil", "wait_ns"],
    ),
    marker(
        header::GIL_MARKERS_DROP,
        header::GIL_MARKERS_DROP_ARGUMENTS,
        &[
            "ident", "tid", "gil", "forced", "hold_ns", "wait_ns", "file", "function", "line",
            "location",
        ],
    ),
    marker(
        header::GIL_MARKERS_DROP_REQUEST,
        header::GIL_MARKERS_DROP_REQUEST_ARGUMENTS,
        &["ident", "tid", "gil", "holder"],
    ),
];

/// What every build has for those who want to know where in Python code a thread is. They share a semaphore of their own.
pub const FUNCTIONS: [Marker; 2] = [
    marker(
        header::GIL_MARKERS_FUNCTIONS,
        header::GIL_MARKERS_FUNCTIONS_ARGUMENTS,
        &["ident", "tid"],
    ),
    marker(
        header::GIL_MARKERS_LOCATION,
        header::GIL_MARKERS_LOCATION_ARGUMENTS,
        &["ident", "tid", "file", "function", "line", "location"],
    ),
];

/// What every build has for those who want to know what threads are called. It has a semaphore of its own.
pub const NAMES: [Marker; 1] = [marker(
    header::GIL_MARKERS_THREAD_NAME,
    header::GIL_MARKERS_THREAD_NAME_ARGUMENTS,
    &["ident", "tid", "name"],
)];

/// What a free-threaded build has besides, in the order in which they fire. They share the semaphore of the GIL's markers.
pub const FREE_THREADING: [Marker; 4] = [
    marker(
        header::GIL_MARKERS_STW_BEGIN,
        header::GIL_MARKERS_STW_BEGIN_ARGUMENTS,
        &["ident", "tid", "global"],
    ),
    marker(
        header::GIL_MARKERS_STW_STOPPED,
        header::GIL_MARKERS_STW_STOPPED_ARGUMENTS,
        &["ident", "tid", "global", "wait_ns"],
    ),
    marker(
        header::GIL_MARKERS_STW_END,
        header::GIL_MARKERS_STW_END_ARGUMENTS,
        &["ident", "tid", "global", "stopped_ns", "wait_ns"],
    ),
    marker(
        header::GIL_MARKERS_MUTEX_WAIT,
        header::GIL_MARKERS_MUTEX_WAIT_ARGUMENTS,
        &["ident", "tid", "address", "wait_ns", "threading"],
    ),
];

/// The markers of spans, in the order in which they fire: in the files that fire them, which are no interpreters.
pub const SPANS: [Marker; 3] = [
    marker(
        header::GIL_SPANS_BEGIN,
        header::GIL_SPANS_BEGIN_ARGUMENTS,
        &["ident", "tid", "trace_id", "span_id", "name", "parent_id"],
    ),
    marker(
        header::GIL_SPANS_SWITCH,
        header::GIL_SPANS_SWITCH_ARGUMENTS,
        &["ident", "tid", "span_id"],
    ),
    marker(
        header::GIL_SPANS_END,
        header::GIL_SPANS_END_ARGUMENTS,
        &["ident", "tid", "trace_id", "span_id", "name"],
    ),
];

/// The contract's marker of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Marker> {
    MARKERS
        .iter()
        .chain(&FUNCTIONS)
        .chain(&NAMES)
        .chain(&FREE_THREADING)
        .chain(&SPANS)
        .find(|marker| marker.name == name)
}

const fn marker(name: &'static CStr, count: u32, arguments: &'static [&'static str]) -> Marker {
    assert!(
        arguments.len() == count as usize,
        "the header and the catalogue disagree on a number of arguments"
    );
    Marker {
        name: text(name),
        arguments,
    }
}

const fn text(string: &'static CStr) -> &'static str {
    match string.to_str() {
        Ok(string) => string,
        Err(_) => panic!("the header holds a name that is not UTF-8"),
    }
}
