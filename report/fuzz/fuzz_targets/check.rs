//! What holds for every summary, wherever it came from.

use gil_report::render::{TextOptions, folded, html, json, pprof, speedscope, text};
use gil_report::{Options, Report, TimelineSink, summarise};

/// Reads a trace; what is read can be rendered in every form, and read again as it was saved.
pub fn read_and_render(trace: &[u8]) {
    let options = Options {
        reorder_window: 8,
        ..Options::default()
    };
    // The page takes most of the time, and so does what it is drawn from: not every time.
    let mut timelines = TimelineSink::new();
    let with_page = trace.len() % 8 == 0;
    let summary = if with_page {
        summarise(trace, &options, &mut timelines)
    } else {
        summarise(trace, &options, &mut ())
    };
    let Ok(summary) = summary else {
        return;
    };
    let report = Report::new(summary, &options.thresholds);
    let mut written = Vec::new();
    text(&report, &TextOptions::default(), &mut written).unwrap();
    assert!(!written.contains(&0x1b), "a name reached the terminal as it is");
    folded(&report, &mut written).unwrap();
    speedscope(&report, &mut written).unwrap();
    pprof(&report, &mut written).unwrap();
    if with_page {
        html(&report, &timelines.into_timelines(), &mut written).unwrap();
    }

    let mut saved = Vec::new();
    json(&report, &mut saved).unwrap();
    let again = summarise(saved.as_slice(), &options, &mut ()).unwrap();
    let mut twice = Vec::new();
    json(&Report::new(again, &options.thresholds), &mut twice).unwrap();
    assert_eq!(saved, twice, "what is saved is read again as it was");
}
