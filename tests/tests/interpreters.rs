//! The interpreters that `tests/run` has built: their markers, and that they are the stock interpreter in every other way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gil_probes::catalogue;
use gil_tests::{is_free_threaded, not_run, prefix, prefixes, run, text, tools, why_no_tracing};

/// The prefixes with markers; says so when there are none.
fn marked(test: &str) -> Vec<PathBuf> {
    let marked: Vec<PathBuf> = prefixes()
        .into_iter()
        .filter(|prefix| !prefix.to_string_lossy().contains("-gil-none-"))
        .collect();
    if marked.is_empty() {
        not_run(test, "no interpreter was built: run it by ./dev test");
    }
    marked
}

fn verify(arguments: &[&str], prefix: &Path) -> Output {
    let prefix = prefix.to_str().unwrap();
    run(&[&["verify"], arguments, &[prefix]].concat())
}

#[test]
fn every_marker_keeps_the_contract() {
    for prefix in marked("every_marker_keeps_the_contract") {
        let output = verify(&["--json"], &prefix);
        assert!(output.status.success(), "{}", text(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut contract: Vec<_> = [
            &catalogue::MARKERS[..],
            &catalogue::FUNCTIONS,
            &catalogue::NAMES,
        ]
        .concat();
        if is_free_threaded(&prefix) {
            contract.extend(catalogue::FREE_THREADING);
        }
        let found = json["markers"].as_array().unwrap();
        let found: BTreeSet<_> = found.iter().map(|marker| marker["name"].as_str()).collect();
        let contract: BTreeSet<_> = contract.iter().map(|marker| Some(marker.name)).collect();
        assert_eq!(found, contract, "{json:#}");
    }
}

#[test]
fn every_marker_fires() {
    if let Some(reason) = why_no_tracing() {
        return not_run("every_marker_fires", &reason);
    }
    for prefix in marked("every_marker_fires") {
        let output = verify(&["--fire"], &prefix);
        assert!(output.status.success(), "{}", text(&output));
        assert!(
            text(&output).contains("fired: gil__claim"),
            "{}",
            text(&output)
        );
        assert!(
            text(&output).contains(", thread__name ")
                && text(&output).contains(", gil__drop with a function "),
            "{}",
            text(&output)
        );
        assert_eq!(
            text(&output).contains(", mutex__wait "),
            is_free_threaded(&prefix),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn an_interpreter_without_markers_says_so() {
    let Some(prefix) = prefix("3.13", "none") else {
        return not_run(
            "an_interpreter_without_markers_says_so",
            "3.13 without markers was not built",
        );
    };
    let output = verify(&[], &prefix);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("it has no GIL markers"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_same_inputs_are_done_at_once() {
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run("the_same_inputs_are_done_at_once", "3.13 was not built");
    };
    let home = prefix.parent().and_then(Path::parent).unwrap();
    let output = Command::new(gil_tests::gilbuild())
        .args(["build", "3.13"])
        .env("GILBUILD_HOME", home)
        .output()
        .unwrap();
    assert!(
        text(&output).contains("built before from the same inputs"),
        "{}",
        text(&output)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        printed,
        format!("{}\n", prefix.display()),
        "the prefix, alone, on stdout"
    );
}

#[test]
fn a_prefix_can_be_moved() {
    let Some(prefix) = marked("a_prefix_can_be_moved").into_iter().next() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let moved = folder.path().join("elsewhere");
    let copied = Command::new("cp")
        .arg("-r")
        .args([&prefix, &moved])
        .status()
        .unwrap();
    assert!(copied.success());
    let program = "import sys, ssl, sqlite3, ctypes; print(sys.prefix); print(open('/proc/self/maps').read())";
    let output = Command::new(moved.join("bin/python3"))
        .args(["-I", "-c", program])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    assert_eq!(said.lines().next(), moved.to_str());
    assert!(
        !said.contains(prefix.to_str().unwrap()),
        "it still uses its old place:\n{said}"
    );
    let pip = Command::new(moved.join("bin/pip3"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(
        text(&pip).contains(moved.to_str().unwrap()),
        "{}",
        text(&pip)
    );
}

/// Interpreters with markers, each with the same one without; says so when there are none.
fn pairs(test: &str) -> Vec<(PathBuf, PathBuf)> {
    let pairs: Vec<_> = prefixes()
        .into_iter()
        .filter(|with| with.to_string_lossy().contains("-gil-nop-none-"))
        .filter_map(|with| Some((with.clone(), prefix(&gil_tests::series(&with), "none")?)))
        .collect();
    if pairs.is_empty() {
        not_run(test, "no version was built with and without markers");
    }
    pairs
}

#[test]
fn the_markers_export_no_symbol() {
    for (with, without) in pairs("the_markers_export_no_symbol") {
        assert_eq!(exported(&with), exported(&without));
    }
}

fn libpython(prefix: &Path) -> PathBuf {
    let series = gil_tests::series(prefix);
    prefix.join(format!("lib/libpython{series}.so.1.0"))
}

#[test]
fn the_markers_change_no_structure() {
    let test = "the_markers_change_no_structure";
    if Command::new("gdb").arg("--version").output().is_err() {
        return not_run(
            test,
            "gdb, which reads structures from debug information, is not installed",
        );
    }
    for (with, without) in pairs(test) {
        let (names, others) = (structures(&with), structures(&without));
        let own: BTreeSet<&String> = names.difference(&others).collect();
        assert!(
            own.iter().all(|name| name.contains("gil_markers_")),
            "{own:?}"
        );
        assert!(others.is_subset(&names), "{:?}", others.difference(&names));
        assert!(
            others.len() > 500 && others.contains("struct _ts"),
            "{}",
            others.len()
        );
        let (layouts, other_layouts) = (layouts(&with, &others), layouts(&without, &others));
        for (one, other) in layouts.lines().zip(other_layouts.lines()) {
            assert_eq!(one, other, "{}", with.display());
        }
        assert_eq!(layouts.lines().count(), other_layouts.lines().count());
        assert!(layouts.contains("/* total size"), "{layouts}");
    }
}

/// Runs gdb's commands on an interpreter's file.
fn gdb(prefix: &Path, commands: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("commands");
    fs_err::write(
        &script,
        format!("set width 0\nset pagination off\nset max-value-size unlimited\n{commands}"),
    )
    .unwrap();
    let output = Command::new("gdb")
        .args(["-q", "-nx", "-batch", "-x"])
        .arg(&script)
        .arg(libpython(prefix))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The names of all structures and unions of an interpreter.
fn structures(prefix: &Path) -> BTreeSet<String> {
    gdb(prefix, "info types -q .\n")
        .lines()
        .filter_map(|line| {
            let declared = line.split_once("struct ")?.1.strip_suffix(';')?;
            let (kind, name) = match declared.strip_prefix("{...} ") {
                Some(name) => ("", name),
                None => ("struct ", declared),
            };
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            plain.then(|| format!("{kind}{name}"))
        })
        .collect()
}

/// Sizes and offsets of these structures, and what the interpreter itself tells of them to programs that look into it.
fn layouts(prefix: &Path, names: &BTreeSet<String>) -> String {
    let mut commands = String::new();
    for name in names {
        commands.extend(["ptype /o ", name, "\n"]);
    }
    if names.iter().any(|name| name.ends_with("_Py_DebugOffsets")) {
        commands += "print _PyRuntime.debug_offsets\n";
    }
    gdb(prefix, &commands)
}

fn exported(prefix: &Path) -> BTreeSet<String> {
    let output = Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=just-symbols"])
        .arg(libpython(prefix))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let symbols: BTreeSet<String> = text(&output).lines().map(str::to_owned).collect();
    assert!(symbols.len() > 1000);
    symbols
}

#[test]
fn cpythons_own_tests_pass() {
    let mut prefixes = marked("cpythons_own_tests_pass");
    if std::env::var("GILBUILD_TEST_ALL").as_deref() != Ok("yes") {
        prefixes.truncate(1);
    }
    for prefix in prefixes {
        let output = own_tests(&prefix);
        if output.status.success() {
            continue;
        }
        // Where this machine fails a test, the unpatched interpreter must fail the same ones.
        let Some(stock) = gil_tests::prefix(&gil_tests::series(&prefix), "none") else {
            panic!("{}", text(&output));
        };
        assert_eq!(
            failed(&output),
            failed(&own_tests(&stock)),
            "{}",
            text(&output)
        );
    }
}

fn own_tests(prefix: &Path) -> Output {
    // Whoever starts tests in the background starts them with SIGINT ignored; CPython's tests wait for it.
    Command::new("env")
        .arg("--default-signal=INT")
        .arg(prefix.join("bin/python3"))
        // `-w`: a test that fails on a busy machine gets a second try, alone.
        .args(["-m", "test", "-w", "-j2", "--timeout", "300"])
        .args([
            "test_threading",
            "test_gc",
            "test_sys",
            "test_concurrent_futures",
        ])
        .output()
        .unwrap()
}

/// The names of the tests that failed, from regrtest's summary.
fn failed(output: &Output) -> BTreeSet<String> {
    text(output)
        .lines()
        .filter_map(|line| {
            line.strip_prefix("FAIL: ")
                .or_else(|| line.strip_prefix("ERROR: "))
        })
        .map(|line| line.split_whitespace().next().unwrap_or(line).to_owned())
        .collect()
}

#[test]
fn py_spy_reads_every_interpreter() {
    let test = "py_spy_reads_every_interpreter";
    let prefixes = marked(test);
    let Some(python) = prefixes.first().map(|prefix| prefix.join("bin/python3")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let Some(programs) = tools(test, &python, &folder.path().join("venv"), &["py-spy"]) else {
        return;
    };
    for prefix in prefixes {
        if is_free_threaded(&prefix) {
            // Nor an unpatched one.
            not_run(test, "py-spy knows no free-threaded build");
            continue;
        }
        let said = seen_asleep(&prefix, |pid| {
            Command::new(programs.join("py-spy"))
                .args(["dump", "--pid", pid])
                .output()
                .unwrap()
        });
        assert!(said.contains(ASLEEP), "{}: {said}", prefix.display());
    }
}

#[test]
fn the_sampling_profiler_of_the_library_reads_every_interpreter_that_has_it() {
    let test = "the_sampling_profiler_of_the_library_reads_every_interpreter_that_has_it";
    let has_it = |prefix: &PathBuf| {
        let module = ["-c", "import profiling.sampling"];
        let output = Command::new(prefix.join("bin/python3"))
            .args(module)
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let prefixes: Vec<_> = marked(test).into_iter().filter(has_it).collect();
    if prefixes.is_empty() {
        return not_run(test, "no interpreter of 3.15 or later was built");
    }
    for prefix in prefixes {
        let said = seen_asleep(&prefix, |pid| {
            Command::new(prefix.join("bin/python3"))
                .args(["-m", "profiling.sampling", "dump", pid])
                .output()
                .unwrap()
        });
        assert!(said.contains(ASLEEP), "{}: {said}", prefix.display());
    }
}

/// The function that a profiler has to see.
const ASLEEP: &str = "sleeps_to_be_seen";

/// What a profiler says of a program of an interpreter, once it says that it has seen its function, or has been asked often enough.
fn seen_asleep(prefix: &Path, ask: impl Fn(&str) -> Output) -> String {
    let program = format!("import time\ndef {ASLEEP}():\n    time.sleep(60)\n{ASLEEP}()");
    let mut program = Command::new(prefix.join("bin/python3"))
        .args(["-c", &program])
        .spawn()
        .unwrap();
    let pid = program.id().to_string();
    let mut said = String::new();
    // The program needs a moment until it is where it shall be seen.
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(250));
        said = text(&ask(&pid));
        if said.contains(ASLEEP) {
            break;
        }
    }
    program.kill().unwrap();
    program.wait().unwrap();
    said
}

#[test]
fn a_selftest_compares_two_interpreters() {
    let Some((with, without)) = pairs("a_selftest_compares_two_interpreters").pop() else {
        return;
    };
    let selftest = |tests: &[&str]| {
        let prefixes = ["selftest", with.to_str().unwrap(), "--against"];
        run(&[&prefixes, [without.to_str().unwrap()].as_slice(), tests].concat())
    };
    let output = selftest(&["test_gc", "test_thread"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("test_gc") && said.contains("2 files"),
        "{said}"
    );
    let output = selftest(&["test_that_nobody_has"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("nothing was tested with test_that_nobody_has"),
        "{}",
        text(&output)
    );
}
