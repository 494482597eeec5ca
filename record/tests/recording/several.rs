//! Several processes at once: children, programs that are started, containers, control groups, everything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gil_record::{
    Backend, Interpreter, Mode, Observer, Options, RecordError, Silent, StopReason, Target, record,
};

use crate::fire::{self, Fire};
use crate::machine;
use crate::trace::Trace;

/// A cycle of the GIL for each call that may block.
const CHURN: &str = "
import os, sys, threading
def churn(count):
    reader, writer = os.pipe()
    for _ in range(count):
        os.write(writer, b'x')
        os.read(reader, 1)
";

fn script(python: &OsString, code: &str) -> Vec<OsString> {
    let code = format!("{CHURN}{code}");
    vec![python.clone(), "-c".into(), code.into()]
}

/// Whatever is recorded, everything in it adds up: the events, the report, and what each process said that it did.
fn drops_by_process(trace: &Trace) -> BTreeMap<u32, u64> {
    let mut drops = BTreeMap::new();
    for thread in trace.by_thread().values().filter(|thread| thread.pid != 0) {
        *drops.entry(thread.pid).or_default() += thread.drops;
    }
    drops
}

fn options(output: &Path, mode: Mode) -> Options {
    Options {
        backend: Backend::Native,
        mode,
        output: Some(output.to_owned()),
        ..Options::default()
    }
}

/// Starts something once the tracer is attached.
struct Then<F>(Option<F>);

impl<F: FnOnce()> Observer for Then<F> {
    fn attached(&mut self, _interpreters: &[Interpreter]) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

#[test]
fn children_are_recorded_from_their_first_instruction() {
    let test = "children_are_recorded_from_their_first_instruction";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    // Each child exits without any of Python's own ado: two cycles a round, and nothing else but its first and last ones.
    let command = script(
        &python,
        "
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        churn(1000 * (number + 1))
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
os.execv(sys.executable, [sys.executable, '-c', 'import sys; sys.setswitchinterval(0.25); import threading; t = threading.Thread(target=print); t.start(); t.join()'])
",
    );
    let recording = record(
        &Target::Command(command),
        &options(&output, Mode::Events),
        &mut Silent,
    )
    .unwrap();
    assert_eq!(recording.lost, 0);
    assert_eq!(recording.reason, StopReason::Exit);
    assert!(recording.command_status.unwrap().success());
    let trace = Trace::read(&output);
    let mut drops = drops_by_process(&trace);
    let parent = drops.remove(&trace.pid).unwrap();
    assert!(parent > 0);
    let mut children: Vec<u64> = drops.values().copied().collect();
    children.sort_unstable();
    // Two more: for what Python does after a fork, and for making the pipe.
    assert_eq!(children, [2002, 4002, 6002, 8002], "{drops:?}");

    let report = gil_report::analyse(
        fs_err::File::open(output).unwrap(),
        &gil_report::Options::default(),
    )
    .unwrap();
    let session = &report.summary.sessions[0];
    assert_eq!(session.processes.len(), 5);
    for (pid, _) in drops {
        let process = session.process(pid).unwrap();
        assert_eq!(process.parent, Some(trace.pid));
        assert_eq!(process.python, recording.interpreter.version);
    }
    // The program that was started last set its own.
    let intervals: Vec<_> = session
        .gils
        .iter()
        .map(|gil| gil.switch_interval_ns)
        .collect();
    assert!(intervals.contains(&Some(5_000_000)), "{intervals:?}");
    assert!(intervals.contains(&Some(250_000_000)), "{intervals:?}");
}

/// A neighbour that runs the same file is none of the recording; left alone, it does not even notice.
#[test]
fn a_neighbour_is_not_recorded() {
    let Some(_turn) = machine::tracing("a_neighbour_is_not_recorded") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let program = fire::program("gil-fire-c");
    let start = || {
        let mut fire = Fire::start(&program, &["--rounds", "1000"]);
        fire.go();
        fire
    };
    let (recorded, neighbour) = (start(), start());
    for alone in [true, false] {
        let output = folder.path().join(format!("{alone}.trace"));
        let mut semaphores = (0, 0);
        let mut look = Then(Some(|| {
            semaphores = (recorded.semaphore(), neighbour.semaphore());
        }));
        let options = Options {
            alone,
            duration: Some(Duration::from_millis(500)),
            ..options(&output, Mode::Events)
        };
        record(&Target::Process(recorded.ready.pid), &options, &mut look).unwrap();
        assert!(semaphores.0 > 0);
        assert_eq!(semaphores.1 == 0, alone, "the neighbour's while attached");
        assert_eq!((recorded.semaphore(), neighbour.semaphore()), (0, 0));
        let drops = drops_by_process(&Trace::read(&output));
        assert_eq!(
            drops.keys().copied().collect::<Vec<_>>(),
            [recorded.ready.pid]
        );
    }
}

/// A process that waits for its stdin to be closed, then does `count` rounds and ends.
fn waiting(python: &OsString, count: u32) -> Child {
    let command = script(
        python,
        &format!("print(flush=True); sys.stdin.buffer.raw.read(1); churn({count}); os._exit(0)"),
    );
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    child
}

struct Group(std::path::PathBuf);

impl Group {
    /// A control group in whichever hierarchy lets us; `None` where none does.
    fn create() -> Option<Self> {
        let name = format!("gilbuild-test-{}", std::process::id());
        ["", "unified", "pids", "systemd"]
            .iter()
            .find_map(|hierarchy| {
                let folder = Path::new("/sys/fs/cgroup").join(hierarchy);
                let group = folder.join(&name);
                let is_hierarchy = folder.join("cgroup.procs").is_file();
                (is_hierarchy && fs_err::create_dir(&group).is_ok()).then_some(Self(group))
            })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs_err::remove_dir(&self.0);
    }
}

#[test]
fn a_control_group_is_recorded_and_its_neighbours_are_not() {
    let test = "a_control_group_is_recorded_and_its_neighbours_are_not";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let Some(group) = Group::create() else {
        return machine::not_run(test, "no control group can be made here");
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let mut inside = [waiting(&python, 300), waiting(&python, 500)];
    let mut outside = waiting(&python, 700);
    let pids: Vec<u32> = inside.iter().map(Child::id).collect();
    for pid in &pids {
        fs_err::write(group.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    let mut inputs: Vec<_> = inside.iter_mut().map(|child| child.stdin.take()).collect();
    inputs.push(outside.stdin.take());
    let mut go = Then(Some(move || drop(inputs)));
    let recording = record(
        &Target::Cgroup(group.0.clone()),
        &options(&output, Mode::Events),
        &mut go,
    )
    .unwrap();
    // Nobody is left in it.
    assert_eq!(recording.reason, StopReason::Exit);
    for child in inside.iter_mut().chain([&mut outside]) {
        assert!(child.wait().unwrap().success());
    }
    let trace = Trace::read(&output);
    assert_eq!(trace.pid, 0, "there were several");
    let drops = drops_by_process(&trace);
    // One for making the pipe; that of waiting was before the recording.
    assert_eq!(drops.get(&pids[0]), Some(&(2 * 300 + 1)), "{drops:?}");
    assert_eq!(drops.get(&pids[1]), Some(&(2 * 500 + 1)), "{drops:?}");
    assert_eq!(drops.len(), 2);
}

#[test]
fn everything_on_the_machine_is_recorded() {
    let test = "everything_on_the_machine_is_recorded";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "1000"]);
    fire.go();
    let mut other = waiting(&python, 400);
    let (pid, input) = (other.id(), other.stdin.take());
    let mut go = Then(Some(move || drop(input)));
    let options = Options {
        duration: Some(Duration::from_secs(2)),
        ..options(&output, Mode::Events)
    };
    record(&Target::All, &options, &mut go).unwrap();
    other.wait().unwrap();
    let drops = drops_by_process(&Trace::read(&output));
    assert_eq!(drops.get(&pid), Some(&(2 * 400 + 1)), "{drops:?}");
    assert!(drops.contains_key(&fire.ready.pid));
}

/// Of several builds that run, one is recorded; it is enough to say how its build id begins.
#[test]
fn one_build_is_recorded_wherever_it_runs() {
    let test = "one_build_is_recorded_wherever_it_runs";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "1000"]);
    fire.go();
    let mut pythons = [waiting(&python, 400), waiting(&python, 600)];
    let pids: Vec<u32> = pythons.iter().map(Child::id).collect();
    let found = gil_record::interpreter_of(pids[0]).unwrap();
    let build_id = found.build_id.unwrap();

    let inputs: Vec<_> = pythons.iter_mut().map(|child| child.stdin.take()).collect();
    let mut go = Then(Some(move || drop(inputs)));
    let for_a_while = Options {
        duration: Some(Duration::from_secs(2)),
        ..options(&output, Mode::Events)
    };
    let target = Target::Build(build_id[..12].to_uppercase());
    record(&target, &for_a_while, &mut go).unwrap();
    for python in &mut pythons {
        python.wait().unwrap();
    }
    let drops = drops_by_process(&Trace::read(&output));
    // Others may run it, too.
    assert_eq!(drops.get(&pids[0]), Some(&(2 * 400 + 1)), "{drops:?}");
    assert_eq!(drops.get(&pids[1]), Some(&(2 * 600 + 1)), "{drops:?}");
    assert!(!drops.contains_key(&fire.ready.pid), "{drops:?}");

    let other = folder.path().join("y.trace");
    let nobody = Target::Build("0123456789".to_owned());
    let error = record(&nobody, &options(&other, Mode::Events), &mut Silent).unwrap_err();
    let own = gil_record::interpreter_of(fire.ready.pid).unwrap();
    let runs = own.build_id.unwrap_or_default();
    assert!(
        matches!(&error, RecordError::NoSuchBuild { others, .. } if others.contains(&runs)),
        "{error}"
    );
    assert!(!other.exists());
}

/// Runs a script that makes children with `count` rounds each, and returns what the trace says each did.
fn children_of(python: &OsString, mode: Mode, code: &str) -> Vec<u64> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let command = script(python, code);
    let recording = record(
        &Target::Command(command),
        &options(&output, mode),
        &mut Silent,
    )
    .unwrap();
    assert!(recording.command_status.unwrap().success());
    assert_eq!(recording.lost, 0);
    let trace = Trace::read(&output);
    let threads = trace.by_thread();
    let children = threads
        .values()
        .filter(|thread| thread.pid != 0 && thread.pid != trace.pid);
    children
        .map(|thread| match mode {
            Mode::Slow(_) => thread.total_holds.0,
            _ => thread.drops,
        })
        .collect()
}

#[test]
fn two_hundred_processes_at_once() {
    let test = "two_hundred_processes_at_once";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let code = "
reader, writer = os.pipe()
children = []
for _ in range(200):
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        churn(100)
        os._exit(0)
    children.append(pid)
os.close(writer)
for pid in children:
    os.waitpid(pid, 0)
";
    for mode in [Mode::Events, Mode::Slow(Duration::from_millis(5))] {
        let children = children_of(&python, mode, code);
        assert_eq!(children.len(), 200);
        // Two more than without the pipe that they wait at.
        assert!(
            children.iter().all(|&drops| drops == 2 * 100 + 4),
            "{children:?}"
        );
    }
}

#[test]
fn a_storm_of_forks() {
    let test = "a_storm_of_forks";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    // Children and their children, none of which lives long.
    let code = "
for _ in range(400):
    if os.fork() == 0:
        if os.fork() == 0:
            churn(5)
            os._exit(0)
        churn(5)
        os._exit(0)
try:
    while True:
        os.waitpid(-1, 0)
except ChildProcessError:
    pass
";
    let children = children_of(&python, Mode::Events, code);
    assert_eq!(children.len(), 800);
    assert!(
        children
            .iter()
            .all(|&drops| drops == 2 * 5 + 2 || drops == 2 * 5 + 3),
        "{children:?}"
    );
}

#[test]
fn what_is_not_there_is_refused() {
    let Some(_turn) = machine::tracing("what_is_not_there_is_refused") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let refused = |target: Target| {
        let error = record(&target, &options(&output, Mode::Events), &mut Silent).unwrap_err();
        assert!(!output.exists(), "{error}");
        assert!(!error.is_about_this_machine(), "{error}");
        error
    };
    let name = "gilbuild-no-such-container";
    let error = refused(Target::Container(name.to_owned()));
    assert!(
        matches!(error, RecordError::NoSuchContainer { .. }),
        "{error}"
    );
    let error = refused(Target::Cgroup(format!("/{name}").into()));
    assert!(matches!(error, RecordError::NoSuchCgroup { .. }), "{error}");
    if let Some(group) = Group::create() {
        let error = refused(Target::Cgroup(group.0.clone()));
        assert!(
            matches!(error, RecordError::NoneWithMarkers { .. }),
            "{error}"
        );
    }
    let bpftrace = Options {
        backend: Backend::Bpftrace,
        ..options(&output, Mode::Events)
    };
    let error = record(&Target::All, &bpftrace, &mut Silent).unwrap_err();
    assert!(
        matches!(error, RecordError::NeedsNative { what: "--all" }),
        "{error}"
    );
}
