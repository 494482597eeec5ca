//! speedscope's file format: what was held and what was waited, each as a profile of sampled stacks with weights.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::paths::{Path, paths};
use crate::report::Report;

/// Writes a file for speedscope.app.
///
/// # Errors
/// When it cannot be written.
pub fn speedscope(report: &Report, output: &mut impl Write) -> io::Result<()> {
    let paths = paths(report);
    let mut frames = Frames::default();
    let profiles = [
        frames.profile("held", &paths, |path| path.hold_ns),
        frames.profile("waited", &paths, |path| path.wait_ns),
    ];
    let file = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": concat!("gilbuild ", env!("CARGO_PKG_VERSION")),
        "name": report.verdict.line,
        "activeProfileIndex": 0,
        "shared": { "frames": frames.list },
        "profiles": profiles,
    });
    serde_json::to_writer(&mut *output, &file)?;
    output.write_all(b"\n")
}

/// Every frame once.
#[derive(Default)]
struct Frames {
    list: Vec<Value>,
    known: HashMap<(String, String, u32), usize>,
}

impl Frames {
    fn number(&mut self, name: &str, file: &str, line: u32) -> usize {
        let key = (name.to_owned(), file.to_owned(), line);
        *self.known.entry(key).or_insert_with(|| {
            let mut frame = json!({ "name": name });
            if !file.is_empty() {
                frame["file"] = file.into();
            }
            if line > 0 {
                frame["line"] = line.into();
            }
            self.list.push(frame);
            self.list.len() - 1
        })
    }

    fn profile(&mut self, name: &str, paths: &[Path], weight: fn(&Path) -> u64) -> Value {
        let mut samples: Vec<Vec<usize>> = Vec::new();
        let mut weights = Vec::new();
        for path in paths.iter().filter(|path| weight(path) > 0) {
            let mut sample = Vec::new();
            if let Some(pid) = path.process {
                sample.push(self.number(&format!("process {pid}"), "", 0));
            }
            sample.push(self.number(&path.thread, "", 0));
            for step in &path.steps {
                sample.push(self.number(&step.text, &step.file, step.line));
            }
            samples.push(sample);
            weights.push(weight(path));
        }
        let end = weights
            .iter()
            .fold(0_u64, |sum, &weight| sum.saturating_add(weight));
        json!({
            "type": "sampled",
            "name": name,
            "unit": "nanoseconds",
            "startValue": 0,
            "endValue": end,
            "samples": samples,
            "weights": weights,
        })
    }
}
