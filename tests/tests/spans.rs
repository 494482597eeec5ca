//! Spans as they are told, by the example of an extension module in Rust and by the Python package: names and trace ids of every form, recorded and
//! reported.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use gil_probes::catalogue::{SPANS, TEXT_BYTES};
use gil_probes::{check, elf};
use gil_tests::{gilbuild, not_run, prefix, run, text, why_no_tracing, workload};
use serde::Deserialize;
use serde_json::Value;

/// A request, as the program that served it knows it.
#[derive(Debug, Deserialize)]
struct Served {
    trace: String,
    name: Vec<u32>,
}

impl Served {
    /// Its name as tracers see it.
    fn told(&self) -> String {
        let mut told = String::new();
        for &number in &self.name {
            // None is a lone surrogate: as UTF-8 would have it, three bytes, none of which is any.
            let (character, times) = match char::from_u32(number) {
                Some(character) if is_plain(character) => (character, 1),
                Some(_) => ('\u{fffd}', 1),
                None => ('\u{fffd}', 3),
            };
            for _ in 0..times {
                if told.len() + character.len_utf8() > TEXT_BYTES {
                    return told;
                }
                told.push(character);
            }
        }
        told
    }
}

fn is_plain(character: char) -> bool {
    !character.is_control() && character != '\u{2028}' && character != '\u{2029}'
}

/// Builds the example for an interpreter; the folder from which it can be imported. What was built before is kept.
fn example(test: &str, python: &Path, folder: &Path) -> Option<PathBuf> {
    let manifest =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../probes/examples/pyo3-module/Cargo.toml");
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).arg("--manifest-path").arg(&manifest);
        cargo.env("PYO3_PYTHON", python);
        cargo.output().unwrap()
    };
    let fetched = cargo(&["fetch", "--locked"]);
    if !fetched.status.success() {
        let said = text(&fetched);
        let last = said.trim().lines().last().unwrap_or_default();
        not_run(test, &format!("cargo cannot fetch PyO3 here: {last}"));
        return None;
    }
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/pyo3-module");
    let built = cargo(&["build", "--locked", "--offline", "--target-dir", target]);
    assert!(built.status.success(), "{}", text(&built));
    let library = Path::new(target).join("debug/libprimes.so");
    fs_err::copy(library, folder.join("primes.so")).unwrap();
    Some(folder.to_owned())
}

fn record(python: &OsStr, module: Option<&Path>, trace: &Path) -> Vec<Served> {
    let served = trace.with_extension("json");
    let output = Command::new(gilbuild())
        .args(["record", "--spans", "-o"])
        .arg(trace)
        .args([
            "--",
            "sh",
            "-c",
            "served=$1; shift; exec \"$@\" >\"$served\"",
            "sh",
        ])
        .args([served.as_os_str(), python, OsStr::new("-B")])
        .arg(workload("spans_told.py"))
        .args(module)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&fs_err::read(&served).unwrap()).unwrap()
}

/// Every request is reported under its trace and its name, and nowhere is anything that a terminal or a browser would obey.
fn reported(served: &[Served], trace: &Path) -> BTreeMap<String, Value> {
    let trace = trace.to_string_lossy();
    let report = |format: &str| {
        let output = run(&["report", "--format", format, &trace]);
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&report("json")).unwrap();
    let requests = &json["sessions"][0]["requests"];
    assert_eq!(requests["cut"], 0, "{requests:#}");
    let worst = requests["worst"].as_array().unwrap();
    let by_trace: BTreeMap<String, Value> = worst
        .iter()
        .map(|request| {
            (
                request["trace"].as_str().unwrap().to_owned(),
                request.clone(),
            )
        })
        .collect();
    // Those with a wrong id are none, and parts are none.
    assert_eq!((worst.len(), by_trace.len()), (served.len(), served.len()));
    for request in served {
        let found = &by_trace[&request.trace];
        assert_eq!(found["name"], request.told(), "{request:?}");
        let number = |key: &str| found[key].as_u64().unwrap();
        assert!(number("hold_ns") > 0, "{found:#}");
        assert!(number("hold_ns") <= number("duration_ns"), "{found:#}");
    }
    let said = report("text");
    assert!(said.contains("GET /plain"), "{said}");
    let obeyed = |character: char| character.is_control() && character != '\n';
    assert!(!said.contains(obeyed), "{said:?}");
    assert!(!report("html").contains("<script>alert"));
    by_trace
}

#[test]
fn an_extension_module_in_rust_tells_which_request_it_works_for() {
    let test = "an_extension_module_in_rust_tells_which_request_it_works_for";
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "no CPython 3.13 with markers: run it by ./dev test");
    };
    let folder = tempfile::tempdir().unwrap();
    let python = prefix.join("bin/python3");
    let Some(module) = example(test, &python, folder.path()) else {
        return;
    };
    let image = elf::read(&module.join("primes.so")).unwrap();
    assert_eq!(check::check_spans(&image).faults, []);

    let trace = folder.path().join("rust.arrow");
    let served = record(python.as_os_str(), Some(&module), &trace);
    let requests = reported(&served, &trace);
    let counts = requests
        .values()
        .filter(|request| request["name"] == "primes.count");
    assert_eq!(counts.count(), 2);
}

#[test]
fn gilprobe_tells_names_of_every_form_while_it_is_traced() {
    let test = "gilprobe_tells_names_of_every_form_while_it_is_traced";
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let Some(python) = std::env::var_os("GILBUILD_TEST_PYTHON") else {
        return not_run(test, "no Python with gilprobe: run it by ./dev test");
    };
    let imports = "import gilprobe; assert gilprobe.HAS_MARKERS";
    let imported = Command::new(&python)
        .args(["-c", imports])
        .output()
        .unwrap();
    if !imported.status.success() {
        return not_run(
            test,
            &format!("gilprobe is not installed: {}", text(&imported)),
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("gilprobe.arrow");
    let served = record(&python, None, &trace);
    reported(&served, &trace);
}

/// It finds markers in others, and some of its crates can fire them: it must not have any itself.
#[test]
fn gilbuild_itself_has_no_markers() {
    let image = elf::read(&gilbuild()).unwrap();
    let is_span = |name: &str| SPANS.iter().any(|marker| marker.name == name);
    assert!(!image.notes.iter().any(|note| is_span(&note.name)));
}
