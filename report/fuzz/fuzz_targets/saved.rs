//! Any bytes as a saved report: read or refused; two that are read can be merged, compared and rendered.

#![no_main]

use gil_report::render::{TextOptions, diff_text, html, json, text};
use gil_report::{Diff, Options, Report, summarise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = Options::default();
    let Ok(mut summary) = summarise(bytes, &options, &mut ()) else {
        return;
    };
    let before = Report::new(summary.clone(), &options.thresholds);
    summary.merge(summary.clone());
    let after = Report::new(summary, &options.thresholds);
    let mut written = Vec::new();
    text(&after, &TextOptions::default(), &mut written).unwrap();
    json(&after, &mut written).unwrap();
    html(&after, &[], &mut written).unwrap();
    diff_text(&Diff::new(&before, &after), &TextOptions::default(), &mut written).unwrap();
});
