//! Any bytes as a trace: read or refused, and what is read can be rendered in every form.

#![no_main]

use gil_report::render::{TextOptions, html, json, text};
use gil_report::{Options, Report, TimelineSink, summarise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Half of the inputs get a header, so that the fuzzer need not find it.
    let (first, rest) = match bytes.split_first() {
        Some((first, rest)) if first % 2 == 0 => (&b"# gil-trace 1 clock=monotonic pid=1 start_ns=5\n"[..], rest),
        _ => (&b""[..], bytes),
    };
    let options = Options {
        reorder_window: 8,
        ..Options::default()
    };
    let mut timelines = TimelineSink::new();
    let trace = [first, rest].concat();
    let Ok(summary) = summarise(trace.as_slice(), &options, &mut timelines) else {
        return;
    };
    let report = Report::new(summary, &options.thresholds);
    let mut written = Vec::new();
    text(&report, &TextOptions::default(), &mut written).unwrap();
    assert!(!written.contains(&0x1b), "a name reached the terminal as it is");
    html(&report, &timelines.into_timelines(), &mut written).unwrap();

    let mut saved = Vec::new();
    json(&report, &mut saved).unwrap();
    let again = summarise(saved.as_slice(), &options, &mut ()).unwrap();
    let mut twice = Vec::new();
    json(&Report::new(again, &options.thresholds), &mut twice).unwrap();
    assert_eq!(saved, twice, "what is saved is read again as it was");
});
