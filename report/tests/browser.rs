//! The HTML page in a real browser.

#[expect(dead_code, reason = "each test uses its part")]
mod simulation;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use gil_report::render::{html, json};
use gil_report::{Options, Report, TimelineSink, summarise};
use simulation::{Behaviour, MS, Markers, SECOND, simulate};

#[test]
fn a_person_can_use_the_page() {
    if !installed("chromedriver") || !installed("python3") {
        gil_tests::not_run(
            "a_person_can_use_the_page",
            "chromedriver or python3 is not installed (apt-get install chromium chromium-driver)",
        );
        return;
    }
    let mut threads: Vec<_> = (1..=6)
        .map(|n| Behaviour::new(&format!("worker-{n}"), 20 * MS, MS))
        .collect();
    threads.push(Behaviour::new("metrics", SECOND, 300 * MS).stubborn());
    let mut trace = Vec::new();
    simulate(&threads, 8 * SECOND, Markers::All, &mut trace).unwrap();
    with_places(&mut trace);
    let mut timelines = TimelineSink::new();
    let options = Options::default();
    let summary = summarise(trace.as_slice(), &options, &mut timelines).unwrap();
    let report = Report::new(summary, &options.thresholds);

    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let figures = folder.path().join("report.json");
    html(
        &report,
        &timelines.into_timelines(),
        &mut File::create(&page).unwrap(),
    )
    .unwrap();
    json(&report, &mut File::create(&figures).unwrap()).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/check_page.py");
    let output = Command::new("python3")
        .args([&script, &page, &figures])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Every drop of a thread is at a place of its own.
fn with_places(trace: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(&std::mem::take(trace)).into_owned();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [time, "thread", tid, pid, ..] = words[..] {
            let facts = format!("line={tid} function=work_{tid} file=/srv/app.py");
            trace.extend(format!("{line}\n{time} location {pid} {tid} {facts}").bytes());
        } else if let [time, "drop", tid, ..] = words[..] {
            trace.extend(format!("{time} at {tid} {tid}\n{line}").bytes());
        } else {
            trace.extend(line.bytes());
        }
        trace.push(b'\n');
    }
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}
