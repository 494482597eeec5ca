//! A trace says what the process did: every event is in it, and the durations are right.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use gil_record::{
    Backend, Finished, Mode, Options, Recording, Silent, StopReason, Target, Told, record,
};
use gil_report::Kind;

use crate::fire::{self, Fire, ThreadTruth, Truth};
use crate::machine::{self, BACKENDS};
use crate::trace::{Sums, Trace};

/// Records a firing program from before its start to its end.
fn recorded(
    program: &str,
    arguments: &[&str],
    starts_when_attached: bool,
    backend: Backend,
) -> (Trace, Truth) {
    let folder = tempfile::tempdir().unwrap();
    let mut fire = Fire::start(&fire::program(program), arguments);
    let pid = fire.ready.pid;
    let options = Options {
        backend,
        output: Some(folder.path().join("fire.trace")),
        ..Options::default()
    };

    let (recording, truth) = thread::scope(|scope| {
        let (sender, attached) = std::sync::mpsc::channel();
        let recorder =
            scope.spawn(move || record(&Target::Process(pid), &options, &mut TellAttached(sender)));
        if !starts_when_attached {
            attached.recv().unwrap();
            fire.go();
        }
        let truth = fire.truth();
        (recorder.join().unwrap().unwrap(), truth)
    });
    assert_eq!(recording.reason, StopReason::Exit);
    assert_eq!(recording.lost, 0);
    let Finished::Trace(path) = recording.finished else {
        panic!("a trace was asked for")
    };
    let trace = Trace::read(&path);
    assert_eq!(trace.end.as_deref(), Some("exit"));
    assert_eq!(trace.pid, pid);
    (trace, truth)
}

struct TellAttached(std::sync::mpsc::Sender<()>);

impl gil_record::Observer for TellAttached {
    fn attached(&mut self, _interpreters: &[gil_record::Interpreter]) {
        let _ = self.0.send(());
    }
}

fn assert_counts(sums: &Sums, truth: &ThreadTruth, backend: Backend) {
    let name = &truth.full_name;
    assert_eq!(sums.names.last(), Some(name));
    assert_eq!(sums.ident, truth.ident, "{name}: ident");
    assert_eq!(sums.gils, [truth.gil()], "{name}: gil");
    if backend == Backend::Bpftrace {
        // The native tracer is not attached to these: a drop says all that they do.
        assert_eq!(sums.claims, truth.claims, "{name}: claims");
        assert_eq!(sums.acquired, truth.acquired, "{name}: acquired");
    }
    assert_eq!(sums.drops, truth.drops, "{name}: drops");
    assert_eq!(sums.forced, truth.forced, "{name}: forced");
    assert_eq!(sums.requests, truth.requests, "{name}: requests");
    assert_eq!(sums.waits, truth.waits, "{name}: waits");
}

/// How often the C program runs for its sums: a busy machine may interrupt it between its own clock and the marker's.
const ATTEMPTS: usize = 8;

/// Which sums are not within 1 % or 20 µs per event, each with what is wrong. The program reads its clock outside of the markers, which
/// read theirs inside, so that a hit of a marker lies between the two.
fn far_off(
    threads: &BTreeMap<u32, Sums>,
    truth: &Truth,
) -> BTreeMap<(String, &'static str), String> {
    let mut off = BTreeMap::new();
    for truth in &truth.threads {
        let sums = &threads[&truth.tid];
        for (what, traced_ns, true_ns, events) in [
            ("holds", sums.hold_ns, truth.hold_ns, truth.drops),
            ("waits", sums.wait_ns, truth.wait_ns, truth.waits),
        ] {
            if traced_ns.abs_diff(true_ns) > (true_ns / 100).max(events * 20_000) {
                let difference = format!(
                    "{traced_ns} ns in the trace, {true_ns} ns by its own clock, in {events} events"
                );
                off.insert((truth.name.clone(), what), difference);
            }
        }
    }
    off
}

#[test]
fn the_c_program_did_what_the_trace_says() {
    let Some(_turn) = machine::tracing("the_c_program_did_what_the_trace_says") else {
        return;
    };
    for backend in BACKENDS {
        // Each sum of each thread has to be right once: an interruption may fall upon another one in each run.
        let mut unseen: Option<BTreeMap<_, _>> = None;
        let mut attempts = 0;
        let truth = loop {
            let (trace, truth) = recorded("gil-fire-c", &["--attached"], true, backend);
            let threads = trace.by_thread();
            for truth in &truth.threads {
                assert_counts(&threads[&truth.tid], truth, backend);
            }
            let mut off = far_off(&threads, &truth);
            if let Some(unseen) = &unseen {
                off.retain(|sum, _| unseen.contains_key(sum));
            }
            attempts += 1;
            if off.is_empty() {
                break truth;
            }
            assert!(attempts < ATTEMPTS, "{backend:?}: {off:#?}");
            unseen = Some(off);
        };
        assert!(
            truth.threads.iter().any(|thread| thread.forced > 0),
            "a drop was forced: {truth:?}"
        );
        assert!(
            truth.threads.iter().any(|thread| thread.requests > 0),
            "a drop was asked for: {truth:?}"
        );
        assert_ne!(
            truth.threads[0].gil(),
            truth.threads[5].gil(),
            "the program has two GILs"
        );
    }
}

#[test]
fn every_drop_is_where_the_program_says() {
    let Some(_turn) = machine::tracing("every_drop_is_where_the_program_says") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for form in ["fire.trace", "fire.arrow"] {
        let fire = Fire::start(&fire::program("gil-fire-c"), &["--attached"]);
        let output = folder.path().join(form);
        let options = Options {
            backend: Backend::Native,
            told: Told {
                functions: true,
                spans: false,
            },
            output: Some(output.clone()),
            ..Options::default()
        };
        record(&Target::Process(fire.ready.pid), &options, &mut Silent).unwrap();
        let trace = Trace::read(&output);
        let mut places: BTreeMap<u64, &str> = BTreeMap::new();
        let mut ats: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for event in &trace.events {
            match &event.kind {
                Kind::Location { number, facts } => {
                    places.insert(*number, facts);
                }
                Kind::At { location } => *ats.entry((event.tid, *location)).or_default() += 1,
                _ => {}
            }
        }
        for thread in &fire.truth().threads {
            let (function, line) = (thread.function.as_ref().unwrap(), thread.line.unwrap());
            let own = ats.iter().filter(|((tid, _), _)| *tid == thread.tid);
            let [((_, number), count)] = own.collect::<Vec<_>>()[..] else {
                panic!("{form}: {} is at one place: {ats:?}", thread.name)
            };
            let facts = places[number];
            assert!(
                facts.starts_with(&format!("line={line} function={function} file=")),
                "{form}: {facts}"
            );
            assert_eq!(*count, thread.located, "{form}: {}", thread.name);
        }
    }
}

#[test]
fn the_rust_program_fired_what_the_trace_says() {
    let Some(_turn) = machine::tracing("the_rust_program_fired_what_the_trace_says") else {
        return;
    };
    for backend in BACKENDS {
        let (trace, truth) = recorded("gil-fire-rust", &[], false, backend);
        let threads = trace.by_thread();
        for truth in &truth.threads {
            let sums = &threads[&truth.tid];
            assert_counts(sums, truth, backend);
            // Nothing is measured here: the sums are those of the script.
            assert_eq!(
                (sums.hold_ns, sums.wait_ns),
                (truth.hold_ns, truth.wait_ns),
                "{}",
                truth.name
            );
        }
    }
}

#[test]
fn a_slow_trace_has_exact_totals_and_long_cycles_only() {
    let Some(_turn) = machine::tracing("a_slow_trace_has_exact_totals_and_long_cycles_only") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut fire = Fire::start(&fire::program("gil-fire-rust"), &[]);
    let pid = fire.ready.pid;
    let output = folder.path().join("slow.trace");
    let options = Options {
        mode: Mode::Slow(Duration::from_millis(5)),
        output: Some(output.clone()),
        ..Options::default()
    };
    let (recording, truth) = thread::scope(|scope| {
        let (sender, attached) = std::sync::mpsc::channel();
        let recorder =
            scope.spawn(move || record(&Target::Process(pid), &options, &mut TellAttached(sender)));
        attached.recv().unwrap();
        fire.go();
        let truth = fire.truth();
        (recorder.join().unwrap().unwrap(), truth)
    });
    let hits: u64 = truth
        .threads
        .iter()
        .map(|thread| thread.drops + thread.requests)
        .sum();
    assert_eq!(recording.cost.unwrap().hits, hits);
    let threads = Trace::read(&output).by_thread();
    for truth in &truth.threads {
        let sums = &threads[&truth.tid];
        assert_eq!(sums.total_holds, (truth.drops, truth.hold_ns, truth.forced));
        assert_eq!(sums.total_waits, (truth.waits, truth.wait_ns, 0));
        assert_eq!(sums.spread, truth.drops + truth.waits, "{}", truth.name);
        let is_long = truth.hold_ns / truth.drops >= 5_000_000;
        assert_eq!(
            sums.drops,
            if is_long { truth.drops } else { 0 },
            "{}",
            truth.name
        );
    }
}

/// A file that was replaced on disk is found and attached to all the same; one with a space in its path, too.
#[test]
fn a_deleted_file_is_recorded_through_its_mapping() {
    let Some(_turn) = machine::tracing("a_deleted_file_is_recorded_through_its_mapping") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (deleted, backend) in [false, true]
        .into_iter()
        .flat_map(|deleted| BACKENDS.map(|backend| (deleted, backend)))
    {
        let copy = folder.path().join("a program");
        fs_err::copy(fire::program("gil-fire-c"), &copy).unwrap();
        let fire = Fire::start(&copy, &["--attached", "--rounds", "1"]);
        if deleted {
            fs_err::remove_file(&copy).unwrap();
        }
        let output = folder.path().join(format!("{deleted}-{backend:?}.trace"));
        let options = Options {
            backend,
            output: Some(output.clone()),
            ..Options::default()
        };
        let recording: Recording =
            record(&Target::Process(fire.ready.pid), &options, &mut Silent).unwrap();
        assert_eq!(recording.interpreter.file, copy);
        let drops: u64 = Trace::read(&output)
            .by_thread()
            .values()
            .map(|thread| thread.drops)
            .sum();
        assert_eq!(
            drops,
            fire.truth()
                .threads
                .iter()
                .map(|thread| thread.drops)
                .sum::<u64>()
        );
    }
}
