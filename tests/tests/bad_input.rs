//! Input that cannot work: one clear line with the way out, the right exit status, nothing half-written.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use gil_tests::{gilbuild, not_run, text, why_no_tracing};
use tempfile::TempDir;

/// Runs gilbuild in an empty folder, with empty folders of its own, and without a network.
fn run(arguments: &[&str]) -> (Output, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), arguments).output().unwrap();
    (output, folder)
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(gilbuild());
    command
        .args(arguments)
        .current_dir(folder)
        .env("GILBUILD_HOME", folder.join("home"))
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("GILBUILD_PYTHON_ORG", "http://127.0.0.1:1")
        .env_remove("GILBUILD_SOURCE_DIR");
    command
}

#[track_caller]
fn refused(output: &Output, status: i32, reason: &str, way_out: &str) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(reason), "no {reason:?} in:\n{said}");
    assert!(said.contains(way_out), "no {way_out:?} in:\n{said}");
    assert!(
        output.stdout.is_empty() || !said.contains("panicked"),
        "{said}"
    );
}

/// The files below a folder, apart from empty folders and locks.
fn files(folder: &Path) -> Vec<String> {
    let output = Command::new("find")
        .arg(folder)
        .args([
            "-type",
            "f",
            "-not",
            "-path",
            "*/locks/*",
            "-not",
            "-name",
            "*.lock",
        ])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn an_unknown_version() {
    for wanted in ["3.8", "3.16", "2.7", "3.16.1"] {
        let (output, folder) = run(&["build", wanted]);
        refused(
            &output,
            2,
            &format!("CPython {wanted} is not supported"),
            "supported are",
        );
        assert_eq!(files(folder.path()), [""; 0]);
    }
    let (output, _) = run(&["build", "pypy3"]);
    refused(&output, 2, "`pypy3` is neither a version", "write a series");
}

#[test]
fn no_network() {
    let (output, folder) = run(&["build", "3.12.4", "--source", "python.org"]);
    refused(
        &output,
        1,
        "python.org has no CPython 3.12.4: cannot reach",
        "GILBUILD_SOURCE_DIR",
    );
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn a_corrupt_archive() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("Python-3.13.5.tar.xz");
    for content in [
        b"".as_slice(),
        b"not an archive",
        b"\xfd7zXZ\x00\x00\x04cut off",
    ] {
        fs_err::write(&archive, content).unwrap();
        let output = command(folder.path(), &["build", "Python-3.13.5.tar.xz"])
            .output()
            .unwrap();
        refused(&output, 1, "Python-3.13.5.tar.xz", "get it again");
        assert_eq!(files(folder.path()).len(), 1, "{:?}", files(folder.path()));
    }
}

#[test]
fn a_wrong_checksum() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("Python-3.13.5.tar.xz"), "not it").unwrap();
    let sum = "0".repeat(64);
    let arguments = ["build", "Python-3.13.5.tar.xz", "--sha256", &sum];
    let output = command(folder.path(), &arguments).output().unwrap();
    refused(&output, 1, "Python-3.13.5.tar.xz", &sum);
    let output = command(folder.path(), &["build", "3.13.5", "--sha256", "abc"])
        .output()
        .unwrap();
    refused(
        &output,
        2,
        "`abc` is not a SHA-256 sum",
        "64 hexadecimal digits",
    );
}

#[test]
fn a_patch_that_is_not_there() {
    let (output, _) = run(&["build", "3.13", "--patch", "mine.patch"]);
    refused(&output, 1, "mine.patch", "No such file");
}

#[test]
fn a_file_without_markers() {
    let (output, _) = run(&["verify", "/bin/ls"]);
    refused(&output, 1, "it has no GIL markers", "gilbuild build 3.13");
}

#[test]
fn what_cannot_be_verified() {
    let (output, _) = run(&["verify", "nothing"]);
    refused(
        &output,
        1,
        "nothing is no prefix, no file, no process id and no image",
        "name one of them",
    );
    let (output, _) = run(&["verify", "4194305"]);
    refused(&output, 1, "there is no process 4194305", "pgrep");
    let (output, _) = run(&["verify", "/etc/passwd"]);
    refused(&output, 1, "/etc/passwd is not a readable ELF file", "");
    let (output, _) = run(&["verify", "."]);
    refused(&output, 1, "there is no Python in .", "lib/libpython3");
}

#[test]
fn a_process_that_cannot_be_recorded() {
    if let Some(reason) = why_no_tracing() {
        return not_run("a_process_that_cannot_be_recorded", &reason);
    }
    let (output, folder) = run(&["record", "--pid", "4194305"]);
    refused(&output, 1, "there is no process 4194305", "pgrep");
    assert_eq!(files(folder.path()), [""; 0]);
    let own = std::process::id().to_string();
    let (output, folder) = run(&["record", "--pid", &own]);
    refused(
        &output,
        1,
        "does not run Python",
        "no file with GIL markers",
    );
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn a_trace_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for content in [
        b"".as_slice(),
        b"hello\nworld\n",
        b"\x7fELF\x02\x01\x01\x00\xff\xfe",
        &[0; 4096],
    ] {
        fs_err::write(folder.path().join("trace"), content).unwrap();
        let output = command(folder.path(), &["report", "trace"])
            .output()
            .unwrap();
        refused(&output, 1, "trace: ", "record");
    }
    let output = command(folder.path(), &["report", "missing"])
        .output()
        .unwrap();
    refused(&output, 1, "missing", "No such file");
}

#[test]
fn a_trace_that_was_cut_off_is_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let trace = "# gil-trace 1 clock=monotonic pid=10 start_ns=0\n\
        5 thread 10 10 10 140000000000000 MainThread\n\
        1000000 drop 10 7f00 0 900000 0\n\
        2000000 drop 10 7f00 0 900";
    fs_err::write(folder.path().join("trace"), trace).unwrap();
    let output = command(folder.path(), &["report", "trace"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("cut off"), "{}", text(&output));
}

#[test]
fn a_trace_in_either_form_gives_the_same_answer_and_may_be_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/hog.trace");
    let report = |arguments: &[&str]| {
        let arguments = [&["report"], arguments].concat();
        let output = command(folder.path(), &arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let kept = kept.to_str().unwrap();
    report(&[
        kept,
        "--format",
        "arrow",
        "--rows",
        "events",
        "-o",
        "hog.arrow",
    ]);
    assert_eq!(report(&["hog.arrow"]), report(&[kept]));

    let stream = fs_err::read(folder.path().join("hog.arrow")).unwrap();
    fs_err::write(
        folder.path().join("cut.arrow"),
        &stream[..stream.len() - 100],
    )
    .unwrap();
    assert!(report(&["cut.arrow"]).contains("cut off"));
    fs_err::write(
        folder.path().join("damaged.arrow"),
        // To the end and beyond: wherever a message ends, what follows is none.
        [&stream[..4000], &vec![7; stream.len()][..]].concat(),
    )
    .unwrap();
    for arguments in [["report", "damaged.arrow"], ["merge", "damaged.arrow"]] {
        let output = command(folder.path(), &arguments).output().unwrap();
        refused(&output, 1, "damaged.arrow: message ", "cut off there");
    }
}

#[test]
fn an_answer_that_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/hog.trace");
    let kept = kept.to_str().unwrap();
    fs_err::create_dir(folder.path().join("folder")).unwrap();
    for format in ["text", "json", "html", "arrow", "parquet"] {
        for place in ["missing/answer", "folder"] {
            let arguments = ["report", kept, "--format", format, "-o", place];
            let output = command(folder.path(), &arguments).output().unwrap();
            refused(&output, 1, place, "-o");
            assert!(!text(&output).contains(".gilbuild-"), "{}", text(&output));
        }
    }
    assert!(files(folder.path()).is_empty());
    for format in [
        "text", "json", "html", "perfetto", "firefox", "arrow", "parquet", "csv",
    ] {
        let arguments = ["report", kept, "--format", format];
        let full = fs_err::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = command(folder.path(), &arguments)
            .stdout(full.into_file())
            .output()
            .unwrap();
        refused(&output, 1, "cannot write stdout", "No space left");
        let arguments = [&arguments[..], &["-o", "/dev/full"]].concat();
        let output = command(folder.path(), &arguments).output().unwrap();
        refused(&output, 1, "cannot write /dev/full", "No space left");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["nonsense"][..],
        &["build"],
        &["record"],
        &["build", "3.13", "--markers", "many"],
        &["build", "3.13", "3.12", "--prefix", "x"],
        &["record", "--pid", "x"],
        &["report", "x", "--rows", "events"],
        &["report", "x", "y", "--rows", "events", "--format", "csv"],
    ] {
        let (output, _) = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn a_patch_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let patch = "--- a/Python/ceval.c\n+++ b/Python/ceval.c\n@@ -1,3 +1,3 @@\n not\n-there\n+here\n at all\n";
    fs_err::write(folder.path().join("mine.patch"), patch).unwrap();
    let output = Command::new(gilbuild())
        .args(["build", "3.13", "--patch", "mine.patch"])
        .current_dir(folder.path())
        .env("GILBUILD_HOME", folder.path().join("home"))
        .output()
        .unwrap();
    if text(&output).contains("no place has") {
        return not_run(
            "a_patch_that_does_not_fit",
            "no place that this machine can reach has CPython 3.13",
        );
    }
    refused(
        &output,
        1,
        "the patch mine.patch does not fit",
        "Python/ceval.c hunk 1 (line 1)",
    );
    let rejected: Vec<String> = files(folder.path())
        .into_iter()
        .filter(|file| file.ends_with("tree/Python/ceval.c.rej"))
        .collect();
    assert_eq!(rejected.len(), 1, "the tree is left for a look");
    let installed = files(&folder.path().join("home/pythons"));
    assert_eq!(installed, [""; 0]);
}
