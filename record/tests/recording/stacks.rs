//! Native stacks at the end of long holds: the C function that kept the GIL is named, whatever has become of the process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gil_record::{
    Backend, Mode, Options, RecordError, Recording, Silent, StopReason, Target, record,
};
use gil_report::summary::Frame;
use gil_report::{Kind, Report};

use crate::machine;
use crate::trace::Trace;

/// A module with two functions that keep the GIL: one lets go of it itself, one does not.
const HOG: &str = r#"
#include <Python.h>
#include <time.h>

static void
spin(long long nanoseconds)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for (volatile int turn = 0; turn < 100000; turn++) {
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000000000LL + now.tv_nsec - begin.tv_nsec < nanoseconds);
}

static PyObject *
burn_and_release(PyObject *self, PyObject *unused)
{
    spin(250000000);
    Py_BEGIN_ALLOW_THREADS
    clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, 1000000}, NULL);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
burn(PyObject *self, PyObject *unused)
{
    spin(250000000);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"burn_and_release", burn_and_release, METH_NOARGS, NULL}, {"burn", burn, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "hog", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC
PyInit_hog(void)
{
    return PyModule_Create(&module);
}
"#;

/// Nothing but the module keeps the GIL for so long, not even a thread that the machine takes its processor from.
const LONG: Duration = Duration::from_millis(240);

/// Builds the module for an interpreter. The reason when that cannot be done.
fn build(python: &OsString, folder: &Path) -> Result<PathBuf, String> {
    let source = folder.join("hog.c");
    fs_err::write(&source, HOG).unwrap();
    let include = Command::new(python)
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('include'), end='')",
        ])
        .output()
        .unwrap();
    let module = folder.join("hog.so");
    let compiled = Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-O2",
            "-fno-omit-frame-pointer",
            "-Wl,--build-id",
            "-o",
        ])
        .arg(&module)
        .arg(&source)
        .arg(format!("-I{}", String::from_utf8_lossy(&include.stdout)))
        .output();
    match compiled {
        Ok(output) if output.status.success() => Ok(module),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("there is no C compiler ({error})")),
    }
}

fn record_stacks(
    command: Vec<OsString>,
    output: &Path,
    mode: Mode,
) -> Result<Recording, RecordError> {
    let options = Options {
        backend: Backend::Native,
        mode,
        stacks: Some(LONG),
        output: Some(output.to_owned()),
        ..Options::default()
    };
    record(&Target::Command(command), &options, &mut Silent)
}

fn report(output: &Path) -> Report {
    let file = fs_err::File::open(output).unwrap();
    gil_report::analyse(file, &gil_report::Options::default()).unwrap()
}

/// The functions in which the long holds ended.
fn functions(report: &Report) -> Vec<&str> {
    let gils = report
        .summary
        .sessions
        .iter()
        .flat_map(|session| &session.gils);
    gils.flat_map(|gil| &gil.longest_holds)
        .filter(|hold| u128::from(hold.duration_ns) >= LONG.as_nanos())
        .map(|hold| hold.function.as_deref().unwrap())
        .collect()
}

fn script(python: &OsString, flags: &[&str], folder: &Path, code: &str) -> Vec<OsString> {
    let code = format!(
        "import sys; sys.path.insert(0, {:?}); import hog\n{code}",
        folder.display().to_string()
    );
    let mut command = vec![python.clone()];
    command.extend(flags.iter().map(OsString::from));
    command.extend(["-c".into(), code.into()]);
    command
}

#[test]
fn the_function_that_kept_the_gil_and_then_released_it_is_named() {
    let test = "the_function_that_kept_the_gil_and_then_released_it_is_named";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let module = match build(&python, folder.path()) {
        Ok(module) => module,
        Err(reason) => return machine::not_run(test, &reason),
    };
    // Both forms of a trace, both modes that have one; the process is gone when its functions are named.
    for (name, mode) in [
        ("x.trace", Mode::Events),
        ("x.arrow", Mode::Slow(Duration::from_millis(5))),
    ] {
        let output = folder.path().join(name);
        let command = script(
            &python,
            &[],
            folder.path(),
            "for _ in range(3): hog.burn_and_release()",
        );
        let recording = record_stacks(command, &output, mode).unwrap();
        assert_eq!((recording.reason, recording.lost), (StopReason::Exit, 0));
        let report = report(&output);
        assert_eq!(functions(&report), ["burn_and_release (hog.so)"; 3]);

        let gil = &report.summary.sessions[0].gils[0];
        let [stack] = gil.stacks.as_slice() else {
            panic!("one stack: {:?}", gil.stacks);
        };
        assert_eq!(stack.holds, 3);
        let held: u64 = gil.longest_holds[..3]
            .iter()
            .map(|hold| hold.duration_ns)
            .sum();
        assert_eq!(stack.hold_ns, held);
        let names: Vec<_> = stack
            .frames
            .iter()
            .filter_map(|frame| frame.function.as_deref())
            .collect();
        let at = |name: &str| names.iter().position(|known| known.starts_with(name));
        // From the marker to the first function of all.
        assert!(
            at("burn_and_release") < at("_PyEval_EvalFrameDefault"),
            "{names:?}"
        );
        assert!(
            at("_PyEval_EvalFrameDefault") < at("Py_RunMain"),
            "{names:?}"
        );
        let file = stack
            .frames
            .iter()
            .find(|frame| frame.function.as_deref() == Some("burn_and_release"));
        assert_eq!(file.unwrap().file.as_deref(), module.to_str());

        // What was known before it had names was written at once, with what a file is known by later.
        let trace = Trace::read(&output);
        let facts: Vec<_> = trace
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                Kind::Module { facts, .. } => Some(facts),
                _ => None,
            })
            .collect();
        let image = gil_probes::elf::read(&module).unwrap();
        let fact = format!(
            "path={} build_id={}",
            module.display(),
            image.build_id.unwrap()
        );
        assert!(facts.iter().any(|facts| ***facts == *fact), "{facts:?}");
    }
}

/// A function that never lets go: its thread gives the GIL up when it is back in Python's own evaluation. What it was in before, a look at it has seen,
/// because somebody waits. On a busy machine the one who waits may get no processor to ask for the GIL in time, and then several calls are one hold, or
/// nobody has looked: so it is called until the GIL has changed hands often enough.
#[test]
fn a_function_that_never_releases_is_named_while_somebody_waits() {
    let test = "a_function_that_never_releases_is_named_while_somebody_waits";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = build(&python, folder.path()) {
        return machine::not_run(test, &reason);
    }
    let code = "
import threading, time
turns = 0
def work():
    changes, seen = 0, turns
    while changes < 6:
        hog.burn()
        changes, seen = changes + (turns != seen), turns
thread = threading.Thread(target=work)
thread.start()
while thread.is_alive():
    time.sleep(0.001)
    turns += 1
";
    for (flags, expected) in [
        (&[][..], "Python code"),
        (&["-X", "perf"], "work (<string>)"),
    ] {
        let output = folder.path().join(format!("{}.trace", flags.len()));
        let command = script(&python, flags, folder.path(), code);
        record_stacks(command, &output, Mode::Events).unwrap();
        let report = report(&output);
        let functions = functions(&report);
        // One of the changes may have come before the first call.
        assert!(functions.len() >= 5, "{functions:?}");
        assert!(
            functions.iter().all(|function| *function == expected),
            "{functions:?}"
        );
        let gil = &report.summary.sessions[0].gils[0];
        let within: Vec<_> = gil.longest_holds[..functions.len()]
            .iter()
            .filter_map(|hold| hold.within.as_deref())
            .collect();
        assert!(within.len() >= 3, "{within:?}");
        assert!(
            within.iter().all(|function| *function == "burn (hog.so)"),
            "{within:?}"
        );
        // Nearly all of the time counts for the stacks that were seen meanwhile.
        let burnt = |frame: &Frame| frame.function.as_deref() == Some("burn");
        let stacks = gil
            .stacks
            .iter()
            .filter(|stack| stack.frames.iter().any(burnt));
        let held: u64 = stacks.map(|stack| stack.hold_ns).sum();
        assert!(held >= 3 * 250_000_000, "{held} ns");
    }
}

/// As in a container: the module's path leads nowhere outside of it, and nowhere at all once its processes are gone.
#[test]
fn a_function_of_another_mount_namespace_is_named_when_it_is_gone() {
    let test = "a_function_of_another_mount_namespace_is_named_when_it_is_gone";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let module = match build(&python, folder.path()) {
        Ok(module) => module,
        Err(reason) => return machine::not_run(test, &reason),
    };
    let inside = folder.path().join("inside");
    fs_err::create_dir(&inside).unwrap();
    let mut command: Vec<OsString> = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1\" && shift 2 && exec \"$@\"",
        "sh",
    ]
    .map(Into::into)
    .to_vec();
    command.extend([inside.clone().into_os_string(), module.into_os_string()]);
    command.extend(script(
        &python,
        &[],
        &inside,
        "hog.burn_and_release(); import time; time.sleep(1)",
    ));
    let output = folder.path().join("x.arrow");
    let recording = record_stacks(command, &output, Mode::Slow(Duration::from_millis(5))).unwrap();
    if !recording.command_status.unwrap().success() {
        return machine::not_run(test, "no mount namespace can be made here");
    }
    assert_eq!(functions(&report(&output)), ["burn_and_release (hog.so)"]);
}

#[test]
fn stacks_need_a_trace_and_the_native_tracer() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let refused = |mode, backend| {
        let options = Options {
            backend,
            mode,
            stacks: Some(Duration::from_millis(5)),
            output: Some(output.clone()),
            ..Options::default()
        };
        let error =
            record(&Target::Process(std::process::id()), &options, &mut Silent).unwrap_err();
        assert!(!output.exists());
        error
    };
    assert!(matches!(
        refused(Mode::Summary, Backend::Native),
        RecordError::NeedsTrace { .. }
    ));
    let error = refused(Mode::Events, Backend::Bpftrace);
    assert!(
        matches!(error, RecordError::NeedsNative { what: "--stacks" }),
        "{error}"
    );
}
