//! How long was held and waited where, by path: process, thread, the place in Python code, and the native functions called there. What flame
//! graphs are drawn from.

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::format::{plain, thread_name};
use crate::report::Report;
use crate::stack;
use crate::summary::{Frame, Gil, HoldStack};

/// A step of a path, below its thread.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Step {
    /// What people call it: `Metrics.collect (metrics.py:41)`, `burn (hog.so)`.
    pub text: String,
    /// The function.
    #[serde(skip)]
    pub function: String,
    /// Its file; empty = not known.
    #[serde(skip)]
    pub file: String,
    /// The line; 0 = not known.
    #[serde(skip)]
    pub line: u32,
}

/// What was spent on one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The process, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
    /// The thread.
    pub thread: String,
    /// Below it, outermost first.
    pub steps: Vec<Step>,
    /// How many holds.
    pub holds: u64,
    /// How long they were together.
    pub hold_ns: u64,
    /// How many waits.
    pub waits: u64,
    /// How long they were together.
    pub wait_ns: u64,
}

/// All paths of a report, in the order of its threads.
#[must_use]
pub fn paths(report: &Report) -> Vec<Path> {
    let mut paths = Vec::new();
    for answer in &report.gils {
        let (session, gil) = report.subject(answer);
        let process = (session.pid != gil.pid).then_some(gil.pid);
        paths.extend(of_gil(process, gil));
    }
    paths
}

fn of_gil(process: Option<u32>, gil: &Gil) -> Vec<Path> {
    let path = |thread: usize, steps| Path {
        process,
        thread: plain(&thread_name(&gil.threads[thread])),
        steps,
        holds: 0,
        hold_ns: 0,
        waits: 0,
        wait_ns: 0,
    };
    let mut paths = Vec::new();
    // Of the holds at a place, the long ones have stacks: what is left is at the place itself.
    let mut with_stack: FxHashMap<(usize, Option<Step>), (u64, u64)> = FxHashMap::default();
    for stack in &gil.stacks {
        let place = stack.place.as_ref().map(Step::of_place);
        let sum = with_stack.entry((stack.thread, place)).or_default();
        sum.0 = sum.0.saturating_add(stack.holds);
        sum.1 = sum.1.saturating_add(stack.hold_ns);
        paths.push(Path {
            holds: stack.holds,
            hold_ns: stack.hold_ns,
            ..path(stack.thread, steps(stack))
        });
    }
    if let Some(functions) = &gil.functions {
        for at in &functions.at {
            let place = at.place.and_then(|place| functions.places.get(place));
            let step = place.map(Step::of_place);
            let key = (at.thread, step);
            let (holds, hold_ns) = with_stack.get(&key).copied().unwrap_or_default();
            paths.push(Path {
                holds: at.holds.count.saturating_sub(holds),
                hold_ns: at.holds.total_ns.saturating_sub(hold_ns),
                waits: at.waits.count,
                wait_ns: at.waits.total_ns,
                ..path(at.thread, vec![key.1.unwrap_or_else(Step::unknown)])
            });
        }
    }
    paths.retain(|path| path.hold_ns > 0 || path.wait_ns > 0);
    paths.sort_by(|one, other| (&one.thread, &one.steps).cmp(&(&other.thread, &other.steps)));
    paths.dedup_by(|next, kept| {
        let same = (&next.thread, &next.steps) == (&kept.thread, &kept.steps);
        if same {
            kept.holds = kept.holds.saturating_add(next.holds);
            kept.hold_ns = kept.hold_ns.saturating_add(next.hold_ns);
            kept.waits = kept.waits.saturating_add(next.waits);
            kept.wait_ns = kept.wait_ns.saturating_add(next.wait_ns);
        }
        same
    });
    paths
}

/// Where the place is known, of the stack only what was called there.
fn steps(stack: &HoldStack) -> Vec<Step> {
    let frames = match &stack.place {
        Some(_) => stack::called(&stack.frames),
        None => &stack.frames[..],
    };
    let place = stack.place.as_ref().map(Step::of_place);
    let native = frames.iter().rev().map(Step::of_frame);
    place.into_iter().chain(native).collect()
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Step {
    fn of_place(place: &crate::Place) -> Self {
        Self {
            text: plain(&place.text()),
            function: plain(&place.function),
            file: plain(&place.file),
            line: place.line,
        }
    }

    fn of_frame(frame: &Frame) -> Self {
        let text = plain(&frame.text());
        Self {
            function: frame
                .function
                .as_deref()
                .map_or_else(|| text.clone(), plain),
            file: frame.file.as_deref().map(plain).unwrap_or_default(),
            line: 0,
            text,
        }
    }

    fn unknown() -> Self {
        Self {
            text: "(not known)".to_owned(),
            function: "(not known)".to_owned(),
            file: String::new(),
            line: 0,
        }
    }
}
