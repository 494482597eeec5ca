//! How recordings begin and end, and what they leave behind in the process.

use std::thread;
use std::time::Duration;

use gil_record::{
    Backend, Finished, Interpreter, Mode, Observer, Options, Silent, StopFlag, StopReason, Target,
    record,
};
use gil_report::{DropInfo, Kind};

use crate::fire::{self, Fire};
use crate::machine::{self, BACKENDS};
use crate::trace::Trace;

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// Runs something once the tracer is attached.
struct WhenAttached<F>(Option<F>);

impl<F: FnOnce()> Observer for WhenAttached<F> {
    fn attached(&mut self, _interpreters: &[Interpreter]) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

#[test]
fn after_detaching_nothing_is_left_and_attaching_again_starts_afresh() {
    let test = "after_detaching_nothing_is_left_and_attaching_again_starts_afresh";
    let Some(_turn) = machine::tracing(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "1000"]);
    fire.go();
    assert_eq!(fire.semaphore(), 0, "nobody is attached yet");
    for (number, backend) in BACKENDS.into_iter().cycle().take(4).enumerate() {
        let output = folder.path().join(format!("{number}.trace"));
        let options = Options {
            backend,
            output: Some(output.clone()),
            duration: Some(Duration::from_millis(700)),
            ..Options::default()
        };
        let nobody_attached_ns = monotonic_ns();
        let mut while_attached = 0;
        let mut observer = WhenAttached(Some(|| while_attached = fire.semaphore()));
        let recording = record(&Target::Process(fire.ready.pid), &options, &mut observer).unwrap();
        assert_eq!(recording.reason, StopReason::Duration);
        assert!(
            while_attached > 0,
            "the markers know that somebody is attached"
        );
        assert_eq!(fire.semaphore(), 0, "and that nobody is any more");

        let trace = Trace::read(&output);
        assert_eq!(trace.end.as_deref(), Some("duration"));
        let mut drops = 0;
        for event in &trace.events {
            if let Kind::Drop(DropInfo {
                hold_ns, wait_ns, ..
            }) = event.kind
            {
                drops += 1;
                // While nobody was attached no moment was remembered: a cycle from before is a stale one.
                assert!(
                    event.time_ns - hold_ns - wait_ns >= nobody_attached_ns,
                    "a stale hold in session {number}: {event:?}"
                );
            }
        }
        assert!(drops > 0, "session {number} saw something");
    }
}

#[test]
fn a_process_that_is_killed_leaves_a_whole_trace() {
    let Some(_turn) = machine::tracing("a_process_that_is_killed_leaves_a_whole_trace") else {
        return;
    };
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("killed.trace");
        let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "1000"]);
        fire.go();
        let pid = fire.ready.pid;
        let options = Options {
            backend,
            output: Some(output.clone()),
            ..Options::default()
        };
        let recording = thread::scope(|scope| {
            let killer = WhenAttached(Some(move || {
                thread::sleep(Duration::from_millis(300));
                fire.kill();
                // Dropping it reaps it.
            }));
            let mut killer = killer;
            scope
                .spawn(move || record(&Target::Process(pid), &options, &mut killer))
                .join()
                .unwrap()
                .unwrap()
        });
        assert_eq!(recording.reason, StopReason::Exit);
        let trace = Trace::read(&output);
        assert_eq!(trace.end.as_deref(), Some("exit"));
        assert!(trace.by_thread().values().any(|thread| thread.drops > 0));
    }
}

#[test]
fn a_signal_ends_a_recording_in_order() {
    let Some(_turn) = machine::tracing("a_signal_ends_a_recording_in_order") else {
        return;
    };
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("stopped.trace");
        let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "1000"]);
        fire.go();
        let stop = StopFlag::default();
        let options = Options {
            backend,
            output: Some(output.clone()),
            stop: stop.clone(),
            ..Options::default()
        };
        let mut stopper = WhenAttached(Some(move || {
            thread::sleep(Duration::from_millis(300));
            stop.stop();
        }));
        let recording = record(&Target::Process(fire.ready.pid), &options, &mut stopper).unwrap();
        assert_eq!(recording.reason, StopReason::Signal);
        let trace = Trace::read(&output);
        assert_eq!(trace.end.as_deref(), Some("signal"));
        let events = trace
            .events
            .iter()
            .filter(|event| !is_about_somebody(&event.kind));
        assert_eq!(recording.events, events.count() as u64);
    }
}

#[test]
fn a_command_is_recorded_from_its_first_event() {
    let Some(_turn) = machine::tracing("a_command_is_recorded_from_its_first_event") else {
        return;
    };
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("command.trace");
        let program = fire::program("gil-fire-c");
        // Behind a shell, as commands often are.
        let command = ["sh", "-c", "\"$0\" --attached --rounds 1; exit 7"].map(Into::into);
        let command = [&command[..], &[program.into_os_string()]].concat();
        let options = Options {
            backend,
            output: Some(output.clone()),
            ..Options::default()
        };
        let recording = record(&Target::Command(command), &options, &mut Silent).unwrap();
        assert_eq!(recording.reason, StopReason::Exit);
        assert_eq!(
            recording.command_status.and_then(|status| status.code()),
            Some(7)
        );
        let mut threads = Trace::read(&output).by_thread();
        // What is said of no thread, such as the end.
        threads.remove(&0);
        for thread in threads.values() {
            assert!(thread.drops > 0, "{thread:?}");
            if backend == Backend::Bpftrace {
                assert_eq!(thread.claims, thread.acquired, "{thread:?}");
                assert_eq!(thread.acquired, thread.drops, "{thread:?}");
            }
        }
    }
}

#[test]
fn a_summary_of_bpftrace_names_the_threads() {
    let Some(_turn) = machine::tracing("a_summary_of_bpftrace_names_the_threads") else {
        return;
    };
    let fire = Fire::start(&fire::program("gil-fire-c"), &["--attached"]);
    let options = Options {
        backend: Backend::Bpftrace,
        mode: Mode::Summary,
        ..Options::default()
    };
    let recording = record(&Target::Process(fire.ready.pid), &options, &mut Silent).unwrap();
    let Finished::Summary(text) = recording.finished else {
        panic!("a summary was asked for")
    };
    for thread in &fire.truth().threads {
        let line = format!(
            "@hold_count[{}, {}]: {}\n",
            thread.name, thread.tid, thread.drops
        );
        assert!(text.contains(&line), "{line} in {text}");
        let line = format!(
            "@wait_count[{}, {}]: {}\n",
            thread.name, thread.tid, thread.waits
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn a_native_summary_has_the_counts_of_every_thread() {
    let Some(_turn) = machine::tracing("a_native_summary_has_the_counts_of_every_thread") else {
        return;
    };
    let fire = Fire::start(&fire::program("gil-fire-c"), &["--attached"]);
    let options = Options {
        backend: Backend::Native,
        mode: Mode::Summary,
        ..Options::default()
    };
    let recording = record(&Target::Process(fire.ready.pid), &options, &mut Silent).unwrap();
    let Finished::Summary(text) = recording.finished else {
        panic!("a summary was asked for")
    };
    assert!(!text.contains("LOST"), "{text}");
    let truth = fire.truth();
    let cost = recording.cost.unwrap();
    // Every drop, and every request to drop.
    let hits: u64 = truth
        .threads
        .iter()
        .map(|thread| thread.drops + thread.requests)
        .sum();
    assert_eq!(cost.hits, hits);
    assert!(cost.hit_ns > 0 && cost.hit_ns < 1_000_000, "{cost:?}");
    for thread in &truth.threads {
        let line = text
            .lines()
            .find(|line| line.starts_with(&thread.full_name))
            .unwrap_or_else(|| panic!("{} in {text}", thread.full_name));
        let rest = &line[thread.full_name.len()..];
        let rest: Vec<&str> = rest.split_ascii_whitespace().collect();
        // tid, then count and four durations with their units, for holds and for waits.
        assert_eq!(rest[0], thread.tid.to_string(), "{text}");
        assert_eq!(rest[1], thread.drops.to_string(), "{text}");
        if thread.waits > 0 {
            assert_eq!(rest[10], thread.waits.to_string(), "{text}");
        }
    }
}

/// What was still going on at the end is known although no marker told of it: the hog holds for 50 ms at a time.
#[test]
fn a_hold_that_goes_on_at_the_end_is_in_the_trace() {
    let test = "a_hold_that_goes_on_at_the_end_is_in_the_trace";
    let Some(_turn) = machine::tracing(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "1000"]);
    fire.go();
    // The GIL of io-1, io-2, cpu and metrics is held nearly always, so that one of a few recordings ends within a hold.
    let mut acquired = 0;
    for number in 0..5 {
        let output = folder.path().join(format!("{number}.trace"));
        let options = Options {
            backend: Backend::Native,
            output: Some(output.clone()),
            duration: Some(Duration::from_millis(500)),
            ..Options::default()
        };
        record(&Target::Process(fire.ready.pid), &options, &mut Silent).unwrap();
        let trace = Trace::read(&output);
        let end_ns = trace
            .events
            .iter()
            .map(|event| event.time_ns)
            .max()
            .unwrap();
        for event in &trace.events {
            if let Kind::Acquired { gil, wait_ns } = event.kind {
                acquired += 1;
                assert!(wait_ns < 10_000_000_000, "{event:?}");
                let later = |other: &&gil_report::Event| {
                    other.time_ns > event.time_ns
                        && matches!(other.kind, Kind::Drop(DropInfo { gil: other, .. }) if other == gil)
                };
                assert!(
                    !trace.events.iter().any(|other| later(&other)),
                    "nobody else dropped the GIL during {event:?}, until {end_ns}"
                );
            }
        }
    }
    assert!(acquired > 0, "no recording ended within a hold");
}

/// Whether it says who somebody is rather than what happened.
fn is_about_somebody(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Thread(_) | Kind::Process { .. } | Kind::Gil { .. } | Kind::End { .. }
    )
}

/// Counts how often it is told that a recording takes too much.
#[derive(Default)]
struct Warned(usize);

impl Observer for Warned {
    fn over_budget(&mut self, share: f64) {
        assert!(share > 0.0);
        self.0 += 1;
    }
}

#[test]
fn a_recording_that_costs_too_much_is_told_of() {
    let Some(_turn) = machine::tracing("a_recording_that_costs_too_much_is_told_of") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "1000"]);
    fire.go();
    // Any cost is more than the first limit, and none is more than the second.
    for (limit, is_too_much) in [(1e-12, true), (1e6, false)] {
        for mode in [Mode::Events, Mode::Summary] {
            let options = Options {
                backend: Backend::Native,
                mode,
                max_overhead: Some(limit),
                duration: Some(Duration::from_millis(1500)),
                output: Some(folder.path().join("x.trace")),
                force: true,
                ..Options::default()
            };
            let mut warned = Warned::default();
            record(&Target::Process(fire.ready.pid), &options, &mut warned).unwrap();
            assert_eq!(warned.0 > 0, is_too_much, "{mode:?} with {limit}");
        }
    }
}
