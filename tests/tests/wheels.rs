//! Wheels from `PyPI`, made for the stock interpreter, install and work on an instrumented one.

use std::process::Command;

use gil_tests::{environment, long_tests, not_run, pip_install, prefix, text};

/// The versions that it is tried on.
const SERIES: [&str; 2] = ["3.13", "3.11"];

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
        let programs = environment(&prefix.join("bin/python3"), &folder.path().join("venv"));
        for (wheel, program) in WHEELS {
            let pip = pip_install(&programs, &["--only-binary", ":all:", wheel]);
            if !pip.status.success() {
                not_run(test, &format!("{wheel} on {name}: pip: {}", text(&pip)));
                continue;
            }
            let output = Command::new(programs.join("python3"))
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
