//! Free-threaded interpreters: what a recording says of stopped worlds and contended mutexes, held against what the program itself knows,
//! and the GIL's markers while modules switch it on and off.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use gil_report::{DropInfo, Kind, Stall, TextReader};
use gil_tests::{is_free_threaded, not_run, prefixes, run, text, why_no_tracing, workload};
use serde_json::Value;

/// The free-threaded interpreters; says so when there are none, or nobody can trace them.
fn interpreters(test: &str) -> Vec<PathBuf> {
    if let Some(reason) = why_no_tracing() {
        not_run(test, &reason);
        return Vec::new();
    }
    let marked = |prefix: &PathBuf| {
        is_free_threaded(prefix) && !prefix.to_string_lossy().contains("-gil-none-")
    };
    let found: Vec<PathBuf> = prefixes().into_iter().filter(marked).collect();
    if found.is_empty() {
        not_run(test, "no free-threaded interpreter was built");
    }
    found
}

/// What a trace says: time, thread and event.
type Events = Vec<(u64, u64, Kind)>;

/// Records a workload on an interpreter: what the tracer saw, and what the workload says.
fn record(prefix: &Path, program: &str, backend: &str) -> (Events, Value) {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("stalls.trace");
    let output = run(&[
        "record",
        "--backend",
        backend,
        "-o",
        trace.to_str().unwrap(),
        "--",
        prefix.join("bin/python3").to_str().unwrap(),
        workload(program).to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    let truth = said.lines().find(|line| line.starts_with('{'));
    let truth = truth.unwrap_or_else(|| panic!("{said}"));
    let mut reader = TextReader::new(fs_err::File::open(&trace).unwrap()).unwrap();
    let mut events = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        assert!(!matches!(event.kind, Kind::Lost { .. }), "{event:?}");
        events.push((event.time_ns, event.tid.into(), event.kind));
    }
    (events, serde_json::from_str(truth).unwrap())
}

#[test]
fn stopped_worlds_are_those_that_were_asked_for() {
    let test = "stopped_worlds_are_those_that_were_asked_for";
    for prefix in interpreters(test) {
        for backend in ["native", "bpftrace"] {
            let (events, truth) = record(&prefix, "free_threading.py", backend);
            let asker = &truth["asker"];
            let number = |key: &str| asker[key].as_u64().unwrap();
            let mut stopped_ns = 0;
            let mut stops = 0;
            let mut begins = 0;
            for (_, tid, kind) in &events {
                if *tid != number("native_id") {
                    continue;
                }
                match *kind {
                    Kind::Stall(Stall::StwBegin { global: false }) => begins += 1,
                    Kind::Stall(Stall::StwEnd {
                        global: false,
                        stopped_ns: stopped,
                        wait_ns,
                    }) => {
                        assert!(stopped > 0 && wait_ns > 0, "{}: {kind:?}", prefix.display());
                        stops += 1;
                        stopped_ns += stopped + wait_ns;
                    }
                    _ => {}
                }
            }
            assert_eq!(stops, begins, "{} {backend}", prefix.display());
            // A freeze stops the world once, a collection always the same number of times.
            let of_collections = stops - number("freezes");
            assert_eq!(of_collections % number("collections"), 0, "{stops}");
            assert!(
                (1..=4).contains(&(of_collections / number("collections"))),
                "{stops}"
            );
            let took_ns = number("freezes_ns") + number("collections_ns");
            assert!(stopped_ns <= took_ns, "{stopped_ns} of {took_ns} ns");
        }
    }
}

#[test]
fn waits_for_a_mutex_are_those_in_which_the_thread_slept() {
    let test = "waits_for_a_mutex_are_those_in_which_the_thread_slept";
    for prefix in interpreters(test) {
        let (events, truth) = record(&prefix, "free_threading.py", "native");
        let writer = &truth["writer"];
        let mutex = u64::from_str_radix(writer["mutex"].as_str().unwrap(), 16).unwrap();
        let mut waits: Vec<(u64, u64)> = Vec::new();
        for (time_ns, tid, kind) in &events {
            if let Kind::Stall(Stall::Mutex {
                address,
                wait_ns,
                threading,
            }) = *kind
                && *tid == writer["native_id"].as_u64().unwrap()
                && address == mutex
            {
                assert!(!threading);
                waits.push((time_ns - wait_ns, *time_ns));
            }
        }
        let spans: Vec<(u64, u64, bool)> = writer["writes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|write| {
                let number = |at: usize| write[at].as_u64().unwrap();
                (number(0), number(1), number(2) > 0)
            })
            .collect();
        // The tracer's own clock is read a little after the marker's.
        let slack_ns = 1_000_000;
        let mut seen = vec![0; spans.len()];
        for (begin, end) in &waits {
            let write = spans.iter().position(|(write_begin, write_end, _)| {
                begin + slack_ns > *write_begin && *end < write_end + slack_ns
            });
            seen[write.unwrap_or_else(|| panic!("{begin} to {end} is in none of {spans:?}"))] += 1;
        }
        assert!(
            seen.iter().all(|&number| number <= 1),
            "one wait each: {seen:?}"
        );
        // A thread may sleep for another reason, and a mutex may be free at the very moment when it is about to.
        let slept = spans.iter().filter(|(.., slept)| *slept).count();
        let agree = seen
            .iter()
            .zip(&spans)
            .filter(|(number, (.., slept))| (**number == 1) == *slept)
            .count();
        assert!(slept > 0, "nobody slept: {spans:?}");
        assert!(
            agree * 10 >= spans.len() * 9,
            "{}: {agree} of {}: {seen:?} {spans:?}",
            prefix.display(),
            spans.len()
        );
    }
}

#[test]
fn a_gil_that_is_switched_on_and_off_leaves_no_moment_behind() {
    let test = "a_gil_that_is_switched_on_and_off_leaves_no_moment_behind";
    for prefix in interpreters(test) {
        let (events, truth) = record(&prefix, "gil_on_and_off.py", "bpftrace");
        assert_eq!(truth["still_on"], 0);
        let longest_ns = truth["longest_ns"].as_u64().unwrap();
        // While it was on, threads took it; when it was off, nobody can have held it or stood in line.
        let (mut cycles, mut claims) = (0, 0);
        for (_, _, kind) in &events {
            match *kind {
                Kind::Drop(DropInfo {
                    hold_ns, wait_ns, ..
                }) => {
                    cycles += 1;
                    assert!(
                        hold_ns <= longest_ns,
                        "held for {hold_ns} of {longest_ns} ns"
                    );
                    assert!(
                        wait_ns <= longest_ns,
                        "waited for {wait_ns} of {longest_ns} ns"
                    );
                }
                Kind::Claim { .. } => claims += 1,
                _ => {}
            }
        }
        let imports = truth["imports"].as_u64().unwrap();
        assert!(
            cycles >= imports,
            "{cycles} cycles, {claims} claims in {imports} imports"
        );
    }
}

#[test]
fn the_report_says_who_stopped_the_world() {
    let test = "the_report_says_who_stopped_the_world";
    for prefix in interpreters(test) {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("stalls.arrow");
        let output = run(&[
            "record",
            "-o",
            trace.to_str().unwrap(),
            "--",
            prefix.join("bin/python3").to_str().unwrap(),
            workload("free_threading.py").to_str().unwrap(),
        ]);
        assert!(output.status.success(), "{}", text(&output));
        let report = run(&["report", trace.to_str().unwrap()]);
        let said = text(&report);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("stopped the world"), "{said}");
        assert!(said.contains("asked for by thread \"asker\""), "{said}");
        assert!(said.contains("Waited for mutexes"), "{said}");
        let json = run(&["report", "--format", "json", trace.to_str().unwrap()]);
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert!(
            json["stalls"][0]["stops"].as_u64().unwrap() > 200,
            "{json:#}"
        );
    }
}
