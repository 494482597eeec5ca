//! What all tests share: saying that a test could not run, and finding what `tests/run` has prepared.
//!
//! A test that cannot run where it is must not look like one that passed. It calls [`not_run`] and returns; `tests/run`
//! prints the list of those at its end.

pub mod containers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Names the file that collects which tests did not run, and why.
const NOT_RUN: &str = "GILBUILD_NOT_RUN";
/// Names the prefixes that `tests/run` has built, separated by colons.
const PREFIXES: &str = "GILBUILD_TEST_PREFIXES";

/// Says that a test could not run, and why.
///
/// # Panics
/// When `tests/run` asked for the list and it cannot be written: a silent skip would look like a pass.
pub fn not_run(test: &str, reason: &str) {
    let line = format!("NOT RUN: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(NOT_RUN) {
        let written = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(PathBuf::from(path))
            .and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "cannot note {line}: {written:?}");
    }
}

/// What a test needs beside a kernel: `None` when this process may load eBPF programs and bpftrace is there, else why not.
#[must_use]
pub fn why_no_tracing() -> Option<String> {
    let may = Command::new("id").arg("-u").output();
    if !may.is_ok_and(|output| output.stdout.starts_with(b"0\n")) {
        return Some("loading eBPF programs needs root".to_owned());
    }
    let bpftrace = Command::new("bpftrace").arg("--version").output();
    if bpftrace.is_err() {
        return Some("bpftrace is not installed".to_owned());
    }
    None
}

/// The `gilbuild` program beside the running test.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn gilbuild() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.parent().and_then(Path::parent);
    let program = folder.map(|folder| folder.join("gilbuild"));
    program
        .filter(|program| program.is_file())
        .unwrap_or_else(|| panic!("gilbuild is not built: run `cargo build` with the tests' profile first, or tests/run"))
}

/// Runs `gilbuild` with arguments and returns all that it said.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn run(arguments: &[&str]) -> Output {
    Command::new(gilbuild())
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run gilbuild: {error}"))
}

/// Whether tests that take minutes are wanted; says that the test did not run where they are not.
#[must_use]
pub fn long_tests(test: &str) -> bool {
    let wanted = std::env::var("GILBUILD_TEST_ALL").as_deref() == Ok("yes");
    if !wanted {
        not_run(test, "it takes minutes: ./dev test --all runs it");
    }
    wanted
}

/// The prefix of that series (`3.13`, `3.13t`) with these markers (`nop`, `nop5`, `none`) among those that `tests/run` has built.
#[must_use]
pub fn prefix(series: &str, markers: &str) -> Option<PathBuf> {
    let middle = format!("-gil-{markers}-");
    prefixes().into_iter().find(|prefix| {
        let name = prefix.file_name().unwrap_or_default().to_string_lossy();
        self::series(prefix) == series && name.contains(&middle)
    })
}

/// A virtual environment of a Python in a folder of its own; its programs.
///
/// # Panics
/// When Python cannot make one.
#[must_use]
pub fn environment(python: &Path, folder: &Path) -> PathBuf {
    let made = Command::new(python)
        .args(["-m", "venv"])
        .arg(folder)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", python.display()));
    assert!(made.status.success(), "{}", text(&made));
    folder.join("bin")
}

/// What pip says to `pip install ARGUMENTS` in the environment with these programs.
///
/// # Panics
/// When there is no pip.
#[must_use]
pub fn pip_install(programs: &Path, arguments: &[&str]) -> Output {
    Command::new(programs.join("pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run pip: {error}"))
}

/// Programs from `PyPI`, in an environment of the interpreter's own; `None`, with a word, where pip cannot get them.
#[must_use]
pub fn tools(test: &str, python: &Path, folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let programs = environment(python, folder);
    if pip_install(&programs, names).status.success() {
        return Some(programs);
    }
    not_run(
        test,
        &format!("pip cannot install {} here", names.join(" and ")),
    );
    None
}

/// Whether a prefix that `tests/run` has built is a free-threaded interpreter.
#[must_use]
pub fn is_free_threaded(prefix: &Path) -> bool {
    series(prefix).ends_with('t')
}

/// The shared library of a prefix that `tests/run` has built, which holds the interpreter.
#[must_use]
pub fn library(prefix: &Path) -> PathBuf {
    let series = series(prefix);
    let minor = series.trim_end_matches('t');
    let suffix = if is_free_threaded(prefix) { "t" } else { "" };
    prefix.join(format!("lib/libpython{minor}{suffix}.so.1.0"))
}

/// All prefixes that `tests/run` has built.
#[must_use]
pub fn prefixes() -> Vec<PathBuf> {
    let Some(list) = std::env::var_os(PREFIXES) else {
        return Vec::new();
    };
    std::env::split_paths(&list)
        .filter(|path| !path.as_os_str().is_empty())
        .collect()
}

/// A Python program of `tests/workloads`.
#[must_use]
pub fn workload(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("workloads")
        .join(name)
}

/// The series of a prefix that `tests/run` has built: `3.13`, or `3.13t`.
#[must_use]
pub fn series(prefix: &Path) -> String {
    let name = prefix.file_name().unwrap_or_default().to_string_lossy();
    let version = name.trim_start_matches("cpython-");
    let version = version.split('-').next().unwrap_or(version);
    let series = version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let free_threaded = if version.ends_with('t') { "t" } else { "" };
    series + free_threaded
}

/// What is wrong with a file by one of the schemas that check-jsonschema brings; says that the test did not run where that is missing.
///
/// # Panics
/// When Python cannot be run.
#[must_use]
pub fn against_json_schema(test: &str, schema: &str, file: &Path) -> Option<String> {
    let Some(python) = std::env::var_os("GILBUILD_TEST_PYTHON") else {
        not_run(
            test,
            "no Python with check-jsonschema: run it by ./dev test",
        );
        return None;
    };
    let checked = Command::new(&python)
        .args(["-m", "check_jsonschema", "--builtin-schema", schema])
        .arg(file)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", python.display()));
    let said = text(&checked);
    if said.contains("No module named") {
        not_run(
            test,
            "check-jsonschema is not installed for GILBUILD_TEST_PYTHON",
        );
        return None;
    }
    (!checked.status.success()).then_some(said)
}

/// All that a program said, its stdout first.
#[must_use]
pub fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{stdout}{stderr}")
}
