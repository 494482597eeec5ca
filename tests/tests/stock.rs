//! An instrumented interpreter is the stock one in every other way: what it exports, how its structures are laid out, which wheels and which
//! tools work with it. Held against a build without markers, made of the same source by the same compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gil_tests::{library, long_tests, not_run, prefix, series, text};

/// The versions that may have been built in both forms.
const SERIES: [&str; 2] = ["3.13", "3.11"];

/// Structures that extension modules, debuggers and profilers look into, by the names that debug information has for them.
const STRUCTURES: [&str; 10] = [
    "PyObject",
    "PyTypeObject",
    "PyCodeObject",
    "PyFrameObject",
    "PyFunctionObject",
    "PyGenObject",
    "PyThreadState",
    "PyInterpreterState",
    "_PyRuntimeState",
    "struct _gil_runtime_state",
];

/// Each series that was built with markers and without, as (with, without).
fn pairs(test: &str) -> Vec<(PathBuf, PathBuf)> {
    let pairs: Vec<_> = SERIES
        .iter()
        .filter_map(|series| Some((prefix(series, "nop")?, prefix(series, "none")?)))
        .collect();
    if pairs.is_empty() {
        not_run(
            test,
            "no version was built with markers and without: run it by ./dev test",
        );
    }
    pairs
}

/// What a program prints; `None`, with a word, where it is not installed.
fn printed(test: &str, program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {}", text(&output));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            not_run(test, &format!("{program} is not installed ({error})"));
            None
        }
    }
}

#[test]
fn it_exports_what_the_stock_one_exports() {
    let test = "it_exports_what_the_stock_one_exports";
    for (with, without) in pairs(test) {
        let symbols = |prefix: &Path| {
            let file = library(prefix).display().to_string();
            let listed = printed(test, "nm", &["--dynamic", "--defined-only", &file])?;
            // "0000000000123456 T PyObject_Call": where it lies may change.
            let names: Vec<String> = listed
                .lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(_, symbol)| symbol.to_owned())
                .collect();
            assert!(names.len() > 1000, "{}: {}", file, names.len());
            Some(names)
        };
        let (Some(with), Some(without)) = (symbols(&with), symbols(&without)) else {
            return;
        };
        assert_eq!(with, without);
    }
}

#[test]
fn no_structure_is_laid_out_otherwise() {
    let test = "no_structure_is_laid_out_otherwise";
    for (with, without) in pairs(test) {
        let layouts = |prefix: &Path| {
            let file = library(prefix).display().to_string();
            let questions: Vec<String> = STRUCTURES
                .iter()
                .map(|name| format!("ptype /o {name}"))
                // What tools outside of the process go by, since 3.13; the cookie and the version come first.
                .chain(
                    has_debug_offsets(prefix).then(|| "print _PyRuntime.debug_offsets".to_owned()),
                )
                .collect();
            let mut arguments = vec!["--nx", "--batch"];
            for question in &questions {
                arguments.extend(["-ex", question]);
            }
            arguments.push(&file);
            printed(test, "gdb", &arguments)
        };
        let (Some(with_markers), Some(stock)) = (layouts(&with), layouts(&without)) else {
            return;
        };
        let sizes = stock.matches("total size (bytes):").count();
        assert!(sizes >= STRUCTURES.len(), "{sizes} sizes: {stock}");
        if has_debug_offsets(&with) {
            assert!(stock.contains("interpreter_state"), "{stock}");
        }
        assert!(with_markers == stock, "{with_markers}\n----\n{stock}");
    }
}

fn has_debug_offsets(prefix: &Path) -> bool {
    series(prefix)
        .split_once('.')
        .and_then(|(_, minor)| minor.trim_end_matches('t').parse::<u32>().ok())
        .is_some_and(|minor| minor >= 13)
}

/// Wheels with much C in them, each with a few lines that use it.
const WHEELS: [(&str, &str); 8] = [
    (
        "numpy",
        "import numpy; assert numpy.arange(10.0).sum() == 45; assert numpy.linalg.det(numpy.eye(3)) == 1",
    ),
    (
        "pandas",
        "import pandas; assert pandas.DataFrame({'a': [1, 2, 2]}).groupby('a').size().tolist() == [1, 2]",
    ),
    (
        "cryptography",
        "from cryptography.fernet import Fernet; box = Fernet(Fernet.generate_key()); assert box.decrypt(box.encrypt(b'gil')) == b'gil'",
    ),
    (
        "lxml",
        "from lxml import etree; assert etree.fromstring('<a><b/></a>').xpath('count(//b)') == 1",
    ),
    (
        "psycopg[binary]",
        "import psycopg; from psycopg import pq, sql; assert pq.__impl__ == 'binary'; assert sql.SQL('a').as_string(None) == 'a'",
    ),
    (
        "uvloop",
        "import asyncio, uvloop; assert uvloop.run(asyncio.sleep(0.01, result=7)) == 7",
    ),
    (
        "gevent",
        "import gevent; jobs = [gevent.spawn(lambda: gevent.sleep(0.01) or 7) for _ in range(9)]; gevent.joinall(jobs); assert jobs[8].value == 7",
    ),
    (
        "memray",
        "import memray, os, tempfile; name = os.path.join(tempfile.mkdtemp(), 'memory')\nwith memray.Tracker(name): kept = [bytearray(1 << 20) for _ in range(20)]\n\
         with memray.FileReader(name) as reader: assert reader.metadata.peak_memory > 20 << 20",
    ),
];

#[test]
fn wheels_install_and_work() {
    let test = "wheels_install_and_work";
    if !long_tests(test) {
        return;
    }
    for name in SERIES {
        let Some(prefix) = prefix(name, "nop") else {
            not_run(test, &format!("{name} was not built: run it by ./dev test"));
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let environment = folder.path().join("environment");
        let made = Command::new(prefix.join("bin/python3"))
            .args(["-m", "venv"])
            .arg(&environment)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        for (wheel, program) in WHEELS {
            let pip = Command::new(environment.join("bin/pip"))
                .args([
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--only-binary",
                    ":all:",
                ])
                .arg(wheel)
                .output()
                .unwrap();
            if !pip.status.success() {
                not_run(test, &format!("{wheel} on {name}: pip: {}", text(&pip)));
                continue;
            }
            let output = Command::new(environment.join("bin/python3"))
                .args(["-c", program])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{wheel} on {name}: {}",
                text(&output)
            );
        }
    }
}
