//! The native stacks of long holds: what a trace says of them, and which of their functions tells most.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::header::unescape;
use crate::process::pairs;

/// Stacks and files that are told apart.
const STACKS_LIMIT: usize = 1 << 16;

/// Frames of a stack; the kernel takes 127.
const FRAMES_LIMIT: usize = 256;

/// What may be kept of their texts, in bytes.
const TEXT_LIMIT: usize = 64 << 20;

/// A function on a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// Its name, where it is known: a symbol, or `py::NAME:FILE` of a Python function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The file that it is in, as the process names it; `None` for code that is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Of a function without a name: where in the file, or the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl Frame {
    /// `burn (hog.so)`, `main (app.py)`, `hog.so+0x1139`.
    #[must_use]
    pub fn text(&self) -> String {
        let file = self.file.as_deref().map(last_part);
        match (&self.function, file) {
            (Some(function), file) => match (python(function), file) {
                (Some((function, file)), _) => format!("{function} ({})", last_part(file)),
                (None, Some(file)) => format!("{function} ({file})"),
                (None, None) => function.clone(),
            },
            (None, file) => format!(
                "{}+{:#x}",
                file.unwrap_or("?"),
                self.offset.unwrap_or_default()
            ),
        }
    }
}

/// The name and the file of a Python function, as `-X perf` writes them.
fn python(function: &str) -> Option<(&str, &str)> {
    function.strip_prefix("py::")?.split_once(':')
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The stacks of a trace, by number.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    frames: FxHashMap<u32, Box<str>>,
    files: FxHashMap<u32, Box<str>>,
    kept: usize,
}

impl Stacks {
    /// Takes the frames of a stack. Those that come later, with their names, take the place of those before.
    pub(crate) fn add_frames(&mut self, number: u32, frames: Box<str>) {
        let is_room = self.frames.len() < STACKS_LIMIT || self.frames.contains_key(&number);
        if is_room && self.kept + frames.len() <= TEXT_LIMIT {
            self.kept += frames.len();
            let before = self.frames.insert(number, frames);
            self.kept -= before.map_or(0, |before| before.len());
        }
    }

    /// Takes what is known of a file.
    pub(crate) fn add_module(&mut self, number: u32, facts: &str) {
        let path = pairs(facts).find(|(key, _)| *key == "path");
        if let Some((_, path)) = path
            && self.files.len() < STACKS_LIMIT
            && self.kept + path.len() <= TEXT_LIMIT
        {
            self.kept += path.len();
            self.files.insert(number, unescape(path).into_boxed_str());
        }
    }

    /// The frames of a stack, innermost first; none where the trace does not tell.
    pub(crate) fn get(&self, number: u32) -> Vec<Frame> {
        let words = self.frames.get(&number).into_iter();
        let words = words.flat_map(|text| text.split_ascii_whitespace());
        words
            .take(FRAMES_LIMIT)
            .filter_map(|word| self.frame(word))
            .collect()
    }

    /// How many frames a stack has.
    pub(crate) fn depth(&self, number: u32) -> usize {
        let text = self.frames.get(&number);
        text.map_or(0, |text| text.split_ascii_whitespace().count())
    }

    /// `MODULE+OFFSET`, and `:NAME` behind it if it has one.
    fn frame(&self, word: &str) -> Option<Frame> {
        let (place, name) = match word.split_once(':') {
            Some((place, name)) => (place, Some(name)),
            None => (word, None),
        };
        let (module, offset) = place.split_once('+')?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        let module = module.parse().ok();
        Some(Frame {
            offset: name.is_none().then_some(offset),
            function: name.map(unescape),
            file: module
                .and_then(|module: u32| self.files.get(&module))
                .map(ToString::to_string),
        })
    }
}

/// How CPython gives the GIL up: functions that say nothing about why it was kept.
const RELEASING: [&str; 12] = [
    "gil_markers_fire_drop",
    "drop_gil",
    "drop_gil_impl",
    "detach_thread",
    "PyEval_SaveThread",
    "PyEval_ReleaseThread",
    "_PyEval_ReleaseLock",
    "_PyThreadState_Detach",
    "_PyThreadState_Suspend",
    "PyThreadState_Swap",
    "_PyThreadState_Swap",
    "PyGILState_Release",
];

/// How it runs Python code: between two of its instructions it looks whether somebody has asked for the GIL.
const EVALUATING: [&str; 5] = [
    "_PyEval_EvalFrameDefault",
    "_Py_HandlePending",
    "eval_frame_handle_pending",
    "handle_eval_breaker",
    "_PyEval_Vector",
];

/// What a thread that gave the GIL up on this stack had kept it for: the innermost function that is not CPython's own way of giving it up. Where
/// that is the evaluation of Python code, the Python function, as far as the stack tells.
pub(crate) fn telling(frames: &[Frame]) -> Option<String> {
    let mut rest = frames.iter().skip_while(|frame| is_of(frame, &RELEASING));
    let first = rest.next()?;
    if first.function.is_none() && first.file.is_none() {
        return None;
    }
    if !is_of(first, &EVALUATING) {
        return Some(first.text());
    }
    let is_python = |frame: &&Frame| frame.function.as_deref().and_then(python).is_some();
    Some(
        rest.find(is_python)
            .map_or_else(|| "Python code".to_owned(), Frame::text),
    )
}

/// Of a stack, the functions that the innermost Python code has called, without CPython's own way of giving the GIL up.
pub(crate) fn called(frames: &[Frame]) -> &[Frame] {
    let evaluation = frames.iter().position(|frame| is_of(frame, &EVALUATING));
    let called = &frames[..evaluation.unwrap_or(frames.len())];
    let first = called.iter().position(|frame| !is_of(frame, &RELEASING));
    &called[first.unwrap_or(called.len())..]
}

/// What a thread was in on a stack that was taken while it held the GIL: of the functions that the innermost Python code has called, the first
/// that is not CPython's own, or else the last. Where there are none, it is Python code itself.
pub(crate) fn within(frames: &[Frame]) -> Option<String> {
    let evaluation = frames.iter().position(|frame| is_of(frame, &EVALUATING));
    let (called, rest) = frames.split_at(evaluation.unwrap_or(frames.len()));
    let interpreter = rest.first().and_then(|frame| frame.file.as_ref());
    let is_foreign = |frame: &&Frame| frame.file.is_some() && frame.file.as_ref() != interpreter;
    match called.iter().rfind(is_foreign).or(called.first()) {
        Some(frame) if frame.function.is_none() && frame.file.is_none() => None,
        Some(frame) => Some(frame.text()),
        None => telling(rest),
    }
}

fn is_of(frame: &Frame, names: &[&str]) -> bool {
    let function = frame.function.as_deref();
    // A compiler that splits or clones a function puts a dot and a word behind its name.
    let name = function.and_then(|function| function.split('.').next());
    name.is_some_and(|name| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks() -> Stacks {
        let mut stacks = Stacks::default();
        stacks.add_module(0, "path=/usr/lib/libpython3.13.so.1.0 build_id=ab");
        stacks.add_module(1, "path=/srv/my%20app/hog.so build_id=-");
        stacks
    }

    fn telling_of(frames: &str) -> Option<String> {
        let mut stacks = stacks();
        stacks.add_frames(7, frames.into());
        telling(&stacks.get(7))
    }

    #[test]
    fn the_function_that_kept_the_gil_is_named() {
        let telling = telling_of(
            "0+10:drop_gil.lto_priv.0 0+20:PyEval_SaveThread 1+1139:burn 0+30:cfunction_call",
        );
        assert_eq!(telling.as_deref(), Some("burn (hog.so)"));
        let telling = telling_of("0+10:drop_gil 0+20:PyEval_SaveThread 1+1139 0+30:cfunction_call");
        assert_eq!(telling.as_deref(), Some("hog.so+0x1139"));
    }

    #[test]
    fn of_python_code_the_stack_may_tell_the_function() {
        let telling = telling_of(
            "0+10:drop_gil 0+20:_Py_HandlePending 0+30:_PyEval_EvalFrameDefault -+7f00:py::work:/srv/a%20b/app.py",
        );
        assert_eq!(telling.as_deref(), Some("work (app.py)"));
        let telling =
            telling_of("0+10:drop_gil 0+20:_Py_HandlePending 0+30:_PyEval_EvalFrameDefault");
        assert_eq!(telling.as_deref(), Some("Python code"));
        assert_eq!(telling_of(""), None);
        assert_eq!(telling_of("nonsense +x 1+"), None);
        assert_eq!(telling_of("-+7f00"), None);
    }

    #[test]
    fn of_a_stack_during_a_hold_the_outermost_foreign_function_counts() {
        let within_of = |frames: &str| {
            let mut stacks = stacks();
            stacks.add_module(2, "path=/usr/lib/libm.so.6");
            stacks.add_frames(7, frames.into());
            within(&stacks.get(7))
        };
        let eval = "0+30:_PyEval_EvalFrameDefault 0+40:main";
        let within = within_of(&format!(
            "2+5:exp 1+7:spin 1+8:burn 0+9:cfunction_call {eval}"
        ));
        assert_eq!(within.as_deref(), Some("burn (hog.so)"));
        let within = within_of(&format!("0+5:sre_match 0+9:cfunction_call {eval}"));
        assert_eq!(within.as_deref(), Some("sre_match (libpython3.13.so.1.0)"));
        assert_eq!(within_of(eval).as_deref(), Some("Python code"));
        assert_eq!(within_of("-+7f00"), None);
    }

    #[test]
    fn later_frames_take_the_place_of_earlier_ones() {
        let mut stacks = stacks();
        stacks.add_frames(7, "1+1139".into());
        stacks.add_frames(7, "1+1139:std::sort<int%20*>".into());
        let frames = stacks.get(7);
        assert_eq!(frames[0].text(), "std::sort<int *> (hog.so)");
        assert_eq!(frames[0].offset, None);
        assert_eq!(stacks.get(8), []);
    }
}
