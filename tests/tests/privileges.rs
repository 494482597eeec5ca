//! What recording takes of a machine: the rights that are documented, and no more; without them, or on a kernel that cannot, a clear line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use gil_tests::{gilbuild, not_run, prefix, text, why_no_tracing};
use serde_json::Value;
use tempfile::TempDir;

/// Nobody in particular.
const USER: &str = "65534";

/// A Python with markers that sleeps and wakes, until it is dropped.
struct Python(Child);

impl Python {
    fn start(program: &Path) -> Self {
        let code = "import time\nprint(flush=True)\nwhile True: time.sleep(0.01)";
        let mut child = Command::new(program)
            .args(["-c", code])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a test needs: a process to record, and a folder that anybody may use, with gilbuild in it.
fn prepare(test: &str) -> Option<(Python, TempDir)> {
    if let Some(reason) = why_no_tracing() {
        not_run(test, &reason);
        return None;
    }
    let Some(prefix) = prefix("3.13", "nop") else {
        not_run(test, "3.13 was not built: run it by ./dev test");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    fs_err::copy(gilbuild(), folder.path().join("gilbuild")).unwrap();
    Some((Python::start(&prefix.join("bin/python3")), folder))
}

/// Runs gilbuild as that user with these capabilities and no others; `None` where that cannot be had.
fn with_capabilities(
    test: &str,
    folder: &Path,
    capabilities: &[&str],
    arguments: &[&str],
) -> Option<Output> {
    let list = std::iter::once("-all".to_owned())
        .chain(capabilities.iter().map(|one| format!("+{one}")))
        .collect::<Vec<_>>()
        .join(",");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        .args([
            format!("--bounding-set={list}"),
            format!("--inh-caps={list}"),
            format!("--ambient-caps={list}"),
        ])
        .arg(folder.join("gilbuild"))
        .args(arguments)
        .current_dir(folder);
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            not_run(test, &format!("setpriv is not installed ({error})"));
            None
        }
    }
}

/// Those that a recorder on a node and one beside a pod have, as setpriv calls them.
fn capabilities_of_the_manifests() -> Vec<String> {
    let read = |name: &str, place: &str| -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../containers/kubernetes");
        let manifest = fs_err::read_to_string(folder.join(name)).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&manifest).unwrap();
        let added = documents
            .iter()
            .find_map(|document| document.pointer(place));
        let added = added.unwrap().as_array().unwrap().iter();
        added
            .map(|name| name.as_str().unwrap().to_lowercase())
            .collect()
    };
    let context = "securityContext/capabilities/add";
    let node = read(
        "recorder.yaml",
        &format!("/spec/template/spec/containers/0/{context}"),
    );
    let pod = read("debug-container.yaml", &format!("/{context}"));
    assert_eq!(node, pod);
    node
}

#[track_caller]
fn refused(output: &Output, status: i32, reason: &str, way_out: &str) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(reason), "no {reason:?} in:\n{said}");
    assert!(said.contains(way_out), "no {way_out:?} in:\n{said}");
}

#[test]
fn the_documented_capabilities_are_enough_for_anybody() {
    let test = "the_documented_capabilities_are_enough_for_anybody";
    let Some((python, folder)) = prepare(test) else {
        return;
    };
    let pid = python.pid();
    let trace = folder.path().join("x.trace");
    let arguments = [
        "record",
        "--pid",
        &pid,
        "--duration",
        "1s",
        "--stacks",
        "--over",
        "0ms",
        "-o",
        "x.trace",
    ];
    let all = capabilities_of_the_manifests();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let Some(output) = with_capabilities(test, folder.path(), &all, &arguments) else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output));
    assert!(!text(&output).contains("bpftrace"), "{}", text(&output));
    let written = fs_err::read_to_string(&trace).unwrap();
    let count = |word: &str| {
        let lines = written.lines();
        lines
            .filter(|line| line.split(' ').nth(1) == Some(word))
            .count()
    };
    assert!(count("drop") > 20 && count("stack") > 20, "{written}");
    assert!(written.contains(":time_sleep"), "functions have names");
    assert_eq!(count("process"), 1);
    fs_err::remove_file(&trace).unwrap();

    for (capabilities, missing, way_out) in [
        (&[][..], "needs root", "sudo"),
        (
            &["perfmon", "sys_ptrace", "dac_read_search"],
            "lacks CAP_BPF",
            "sudo",
        ),
        (
            &["bpf", "sys_ptrace", "dac_read_search"],
            "lacks CAP_PERFMON",
            "sudo",
        ),
        (
            &["bpf", "perfmon"],
            &format!("cannot look into process {pid}"),
            "CAP_SYS_PTRACE",
        ),
    ] {
        let output = with_capabilities(test, folder.path(), capabilities, &arguments).unwrap();
        refused(&output, 3, missing, way_out);
        assert!(!trace.exists(), "{capabilities:?}");
        let top = ["top", "--pid", &pid];
        let output = with_capabilities(test, folder.path(), capabilities, &top).unwrap();
        refused(&output, 3, missing, way_out);
    }
}

/// The kernel that is here, seen as one that lacks something.
#[test]
fn a_kernel_that_cannot_is_named_with_what_it_lacks() {
    let test = "a_kernel_that_cannot_is_named_with_what_it_lacks";
    let Some((python, folder)) = prepare(test) else {
        return;
    };
    let pid = python.pid();
    let gilbuild = folder.path().join("gilbuild");
    let record = [
        "record",
        "--backend",
        "native",
        "--pid",
        &pid,
        "--duration",
        "1s",
        "-o",
        "x.trace",
    ];

    let old = Command::new("setarch")
        .args([std::env::consts::ARCH, "--uname-2.6"])
        .arg(&gilbuild)
        .args(record)
        .current_dir(folder.path())
        .output();
    match old {
        Ok(output) => refused(
            &output,
            3,
            "needs Linux 5.12 or newer, and this is 2.6",
            "--backend bpftrace",
        ),
        Err(error) => not_run(test, &format!("setarch is not installed ({error})")),
    }

    let hidden = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let without = Command::new("unshare")
        .args(["--mount", "sh", "-c", hidden, "sh"])
        .arg(&gilbuild)
        .args(record)
        .current_dir(folder.path())
        .output();
    match without {
        Ok(output) if !text(&output).contains("mount:") => {
            refused(
                &output,
                3,
                "no /sys/kernel/btf/vmlinux",
                "--backend bpftrace",
            );
        }
        other => not_run(
            test,
            &format!("no mount namespace can be made here ({other:?})"),
        ),
    }
    assert!(!folder.path().join("x.trace").exists());
}

#[test]
fn what_cannot_be_recorded_says_why_and_what_to_do() {
    let test = "what_cannot_be_recorded_says_why_and_what_to_do";
    let Some((python, folder)) = prepare(test) else {
        return;
    };
    let pid = python.pid();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(gilbuild());
        command
            .arg("record")
            .args(arguments)
            .current_dir(folder.path());
        command.output().unwrap()
    };
    // Not even root writes there.
    for place in ["missing/x.trace", "/sys/kernel/x.arrow"] {
        let output = run(&["--pid", &pid, "-o", place]);
        refused(&output, 1, "cannot write the trace", place);
    }
    fs_err::write(folder.path().join("x.arrow"), "precious").unwrap();
    let output = run(&["--pid", &pid, "-o", "x.arrow"]);
    refused(&output, 1, "x.arrow exists", "--force");
    assert_eq!(
        fs_err::read(folder.path().join("x.arrow")).unwrap(),
        b"precious"
    );

    let output = run(&["--container", "gilbuild-no-such-container"]);
    refused(&output, 1, "there is no running container", "podman ps");
    let output = run(&["--build-id", "0123456789"]);
    refused(
        &output,
        1,
        "build id that begins with 0123456789",
        "gilbuild verify",
    );
    let output = run(&["--pid", &pid, "--mode", "summary", "--stacks"]);
    refused(&output, 2, "`--stacks` needs a trace", "--mode slow");
    for wrong in ["x", "0123", "01234g"] {
        let output = run(&["--build-id", wrong]);
        refused(
            &output,
            2,
            "hexadecimal digits are wanted",
            "gilbuild verify",
        );
    }

    if Path::new("/usr/bin/python3").exists() {
        let other = Python::start(Path::new("/usr/bin/python3"));
        let output = run(&["--pid", &other.pid()]);
        refused(&output, 1, "without GIL markers", "gilbuild build");
        assert!(
            text(&output).contains("gilbuild image"),
            "{}",
            text(&output)
        );
    }
}
