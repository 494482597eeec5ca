//! A real interpreter with markers: the one that `GILBUILD_TEST_PYTHON` names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use gil_record::{Backend, Interpreter, Observer, Options, Silent, StopReason, Target, record};
use gil_report::{DropInfo, Kind};
use serde::Deserialize;

use crate::machine;
use crate::trace::{Sums, Trace};

#[test]
fn the_cpu_thread_is_the_one_that_is_asked_to_drop() {
    let test = "the_cpu_thread_is_the_one_that_is_asked_to_drop";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("io_and_cpu.trace");
    let command = vec![
        python,
        gil_tests::workload("io_and_cpu.py").into_os_string(),
        "--seconds".into(),
        "2".into(),
    ];
    let options = Options {
        output: Some(output.clone()),
        ..Options::default()
    };
    let recording = record(&Target::Command(command), &options, &mut Silent).unwrap();
    assert_eq!(recording.reason, StopReason::Exit);
    assert!(
        recording
            .command_status
            .is_some_and(|status| status.success())
    );
    let version = recording.interpreter.version.unwrap();
    assert!(
        version.starts_with("3.") && version.matches('.').count() == 2,
        "a point release: {version}"
    );

    let trace = Trace::read(&output);
    let threads = trace.by_thread();
    let named = |name: &str| -> &Sums {
        threads
            .values()
            .find(|thread| thread.names.last().is_some_and(|last| last == name))
            .unwrap()
    };
    let (first, second, cpu) = (named("io-1"), named("io-2"), named("cpu"));
    assert!(cpu.forced > 0, "{cpu:?}");
    assert_eq!(first.gils, cpu.gils);
    assert!(
        first.requests > 0 && second.requests > 0,
        "{first:?} {second:?}"
    );
    let asked = |event: &&gil_report::Event| matches!(event.kind, Kind::Request { holder, .. } if holder == cpu.ident);
    assert!(
        trace.events.iter().any(|event| asked(&event)),
        "somebody asked the cpu thread"
    );
}

/// What a workload says it did.
#[derive(Debug, Deserialize)]
struct Done {
    threads: BTreeMap<String, ThreadDone>,
}

#[derive(Debug, Deserialize)]
struct ThreadDone {
    loops: u64,
    /// For how long it has kept the GIL, by its own clock.
    kept_ns: u64,
}

/// Tells which process is recorded, once it is.
struct TellPid(mpsc::Sender<u32>);

impl Observer for TellPid {
    fn attached(&mut self, interpreters: &[Interpreter]) {
        let _ = self.0.send(interpreters[0].pid);
    }
}

/// Runs a workload from beginning to end under the native tracer, and if it lasts, as much of it as may be under bpftrace at the same time, which
/// hits the same markers: both traces, and what the workload itself says.
fn recorded(python: &OsString, workload: &str, seconds: u32) -> (Trace, Option<Trace>, Done) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let options = |backend, name| Options {
        backend,
        output: Some(path(name)),
        ..Options::default()
    };
    let mut command: Vec<OsString> = ["sh", "-c", "out=$1; shift; exec \"$@\" >\"$out\"", "sh"]
        .map(Into::into)
        .to_vec();
    command.push(path("done").into());
    command.push(python.clone());
    command.push(gil_tests::workload(workload).into());
    command.extend([
        "--json".into(),
        "--seconds".into(),
        seconds.to_string().into(),
    ]);
    let native = options(Backend::Native, "native.arrow");
    let bpftrace = options(Backend::Bpftrace, "bpftrace.trace");
    thread::scope(|scope| {
        let (sender, attached) = mpsc::channel();
        let recorder =
            scope.spawn(move || record(&Target::Command(command), &native, &mut TellPid(sender)));
        // Where it never attaches, the recorder itself says why.
        if let Ok(pid) = attached.recv()
            && seconds > 0
        {
            record(&Target::Process(pid), &bpftrace, &mut Silent).unwrap();
        }
        let recording = recorder.join().unwrap().unwrap();
        assert!(recording.command_status.unwrap().success());
    });
    let done = fs_err::read(path("done")).unwrap();
    (
        Trace::read(&path("native.arrow")),
        (seconds > 0).then(|| Trace::read(&path("bpftrace.trace"))),
        serde_json::from_slice(&done).unwrap(),
    )
}

/// By how many cycles what a thread does besides its loop differs from run to run: it depends on who else starts at that moment. (Exact counts
/// are those of the ground truth's programs.)
const BESIDES: u64 = 10;

/// Whether it was asked for, the hold, the wait.
type Cycle = (bool, u64, u64);

/// Every cycle of each thread with each GIL, as its marker told it.
fn cycles(trace: &Trace) -> BTreeMap<(u32, u64), Vec<Cycle>> {
    let mut cycles: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in &trace.events {
        if let Kind::Drop(DropInfo {
            gil,
            forced,
            hold_ns,
            wait_ns,
        }) = event.kind
        {
            let lane = cycles.entry((event.tid, gil)).or_default();
            lane.push((forced, hold_ns, wait_ns));
        }
    }
    cycles
}

/// What each thread did, by its name.
fn by_name(trace: &Trace) -> BTreeMap<String, Sums> {
    let threads = trace.by_thread().into_values();
    let figures = threads.filter_map(|thread| Some((thread.names.last()?.clone(), thread)));
    figures.collect()
}

#[test]
fn both_tracers_and_the_workload_agree() {
    let test = "both_tracers_and_the_workload_agree";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    for workload in ["io_only.py", "io_and_cpu.py", "hog.py"] {
        let (native, bpftrace, said) = recorded(&python, workload, 8);
        // To the nanosecond: the same cycles in the same order, from when the second tracer was there.
        let (all, shared) = (cycles(&native), cycles(&bpftrace.unwrap()));
        let mut compared = 0;
        for (lane, some) in &shared {
            let whole = &all[lane];
            let same = whole
                .windows(some.len())
                .any(|part| part == some.as_slice());
            assert!(
                same,
                "{workload}: {lane:?}: {some:?} is no part of {whole:?}"
            );
            compared += some.len();
        }
        assert!(compared > 50, "{workload}: {compared}");
        assert!(
            shared.len() >= said.threads.len(),
            "{workload}: every thread was seen by both"
        );

        // A loop that sleeps gives the GIL up once. What a thread does besides, it does without any loop as well.
        // One that has nothing to do may be over before it is seen under its name: then it is tried again.
        let sleepers: Vec<_> = said
            .threads
            .iter()
            .filter(|(name, _)| *name != "cpu")
            .collect();
        let mut idle_runs = (0..20).map(|_| {
            let (idle, _, nothing) = recorded(&python, workload, 0);
            (by_name(&idle), nothing)
        });
        let is_whole = |(besides, _): &(BTreeMap<String, Sums>, Done)| {
            let mut names = sleepers.iter().map(|(name, _)| *name);
            names.all(|name| besides.contains_key(name))
        };
        let (besides, nothing) = idle_runs
            .find(is_whole)
            .expect("the threads of an idle workload are seen by their names");
        let figures = by_name(&native);
        for (name, thread) in sleepers {
            assert_eq!(nothing.threads[name].loops, 0);
            let sums = &figures[name];
            let own = thread.loops + besides[name].drops;
            // While somebody asks for the GIL, one that is given up anyway counts as asked for. Where nobody does, both are the same.
            assert!(
                sums.drops - sums.forced <= own + BESIDES && own <= sums.drops + BESIDES,
                "{workload}: {name} gave it up {own} times: {sums:?}"
            );
            assert!(workload != "io_only.py" || sums.forced == 0, "{sums:?}");
            if name == "metrics" {
                // It sleeps with the GIL for half a second each time; longer, when the machine does not wake it. Before it looks at its clock again it
                // may have had to give the GIL up.
                let slept = thread.loops * 500_000_000;
                let (held, kept) = (sums.hold_ns, thread.kept_ns);
                assert!(
                    slept <= held && kept <= held + sums.wait_ns && held <= kept + kept / 100,
                    "{held} ns held, {kept} ns by its own clock"
                );
            }
        }
    }
}
