//! Reads a summary that was saved as JSON; what is read is checked, it may come from anywhere.

use std::io::Read;

use serde::Deserialize;
use thiserror::Error;

use crate::stalls::Stalls;
use crate::summary::{Gil, SUMMARY_VERSION, Session, Summary};
use crate::text::TIME_LIMIT_NS;

/// The word that says what a JSON file is.
pub(crate) const FORMAT: &str = "gil-report";

/// Why a saved summary cannot be used.
#[derive(Debug, Error)]
pub enum SavedError {
    /// It is no JSON, or not of this shape.
    #[error(
        "this is no saved report: {0}; give a file written by `gilbuild report --format json` or `gilbuild merge`"
    )]
    Shape(#[from] serde_json::Error),
    /// It is JSON of another kind.
    #[error(
        "the file is JSON of the format {0:?}, not {FORMAT:?}: give a file written by `gilbuild report --format json` or `gilbuild merge`"
    )]
    Format(String),
    /// Another version.
    #[error(
        "the saved report is of version {0}; this reader knows version {SUMMARY_VERSION}: use a newer gilbuild, or make it again from the trace"
    )]
    Version(u32),
    /// It contradicts itself.
    #[error("the saved report contradicts itself ({0}): make it again from the trace")]
    Contradiction(&'static str),
}

#[derive(Deserialize)]
struct Saved {
    format: String,
    version: u32,
    #[serde(flatten)]
    summary: Summary,
}

/// Reads a saved summary.
///
/// # Errors
/// When it cannot be read, is of another version, or contradicts itself.
pub(crate) fn read(source: impl Read) -> Result<Summary, SavedError> {
    let saved: Saved = serde_json::from_reader(source)?;
    if saved.format != FORMAT {
        return Err(SavedError::Format(saved.format));
    }
    if saved.version != SUMMARY_VERSION {
        return Err(SavedError::Version(saved.version));
    }
    let mut summary = Summary::default();
    for session in saved.summary.sessions {
        check(&session).map_err(SavedError::Contradiction)?;
        // One by one: merging needs them in order, whatever the file's order is.
        summary.merge(Summary {
            sessions: vec![session],
        });
    }
    Ok(summary)
}

fn check(session: &Session) -> Result<(), &'static str> {
    if session.end_ns < session.start_ns || session.end_ns > TIME_LIMIT_NS {
        return Err("a session ends before it begins, or at an impossible time");
    }
    let gils = session.gils.iter().map(|gil| (gil.pid, gil.address));
    if !gils.is_sorted_by(|left, right| left < right) {
        return Err("GILs are not in order");
    }
    let stalls = &session.stalls;
    if !stalls.is_sorted_by(|left, right| left.pid < right.pid)
        || !stalls.iter().all(Stalls::is_in_order)
    {
        return Err("stalls are not in order");
    }
    if session.requests.iter().any(|requests| !requests.is_sound()) {
        return Err("requests are not in order, or at an impossible time");
    }
    session.gils.iter().try_for_each(check_gil)
}

fn check_gil(gil: &Gil) -> Result<(), &'static str> {
    if !gil.series.is_sound() {
        return Err("a series of impossible size");
    }
    if !gil
        .threads
        .iter()
        .map(crate::summary::Thread::key)
        .is_sorted_by(|left, right| left < right)
    {
        return Err("threads are not in order");
    }
    let mut longest = gil.longest_holds.iter().chain(&gil.longest_waits);
    if longest.any(|one| one.start_ns > TIME_LIMIT_NS) {
        return Err("a hold or wait at an impossible time");
    }
    for thread in &gil.threads {
        let known = |&(start_ns, _): &(u64, u64)| start_ns <= TIME_LIMIT_NS;
        if !thread.long_holds.is_sorted() || !thread.long_holds.iter().all(known) {
            return Err("a thread's long holds are not in order, or at an impossible time");
        }
    }
    let count = gil.threads.len();
    let blame = gil
        .blame
        .iter()
        .flat_map(|blame| [blame.waiter, blame.holder]);
    let longest = gil
        .longest_holds
        .iter()
        .chain(&gil.longest_waits)
        .flat_map(|one| {
            one.others
                .iter()
                .map(|other| other.0)
                .chain(std::iter::once(one.thread))
        });
    let stacks = gil.stacks.iter().map(|stack| stack.thread);
    let functions = gil.functions.iter().flat_map(|functions| &functions.at);
    if blame
        .chain(longest)
        .chain(stacks)
        .chain(functions.map(|at| at.thread))
        .any(|place| place >= count)
    {
        return Err("a thread is named that is not there");
    }
    if gil.functions.iter().any(|functions| !functions.is_sound()) {
        return Err("a place in code is named that is not there");
    }
    Ok(())
}
