//! The programs that fire known sequences of markers, and what they say about them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;

/// A firing program, waiting for its start. Killed when dropped.
pub(crate) struct Fire {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(crate) ready: Ready,
}

/// The first line that it prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) pid: u32,
    pub(crate) semaphore: Option<u64>,
}

/// The last line that it prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Truth {
    pub(crate) threads: Vec<ThreadTruth>,
}

/// What one of its threads did.
#[derive(Debug, Deserialize)]
pub(crate) struct ThreadTruth {
    pub(crate) name: String,
    /// What tracers call it: more than the operating system keeps.
    pub(crate) full_name: String,
    /// Where in Python code it says that it is.
    pub(crate) function: Option<String>,
    pub(crate) line: Option<u64>,
    /// Of how many drops it says so.
    #[serde(default)]
    pub(crate) located: u64,
    pub(crate) tid: u32,
    pub(crate) ident: u64,
    gil: String,
    pub(crate) claims: u64,
    pub(crate) acquired: u64,
    pub(crate) drops: u64,
    pub(crate) forced: u64,
    pub(crate) requests: u64,
    pub(crate) waits: u64,
    pub(crate) hold_ns: u64,
    pub(crate) wait_ns: u64,
}

impl ThreadTruth {
    pub(crate) fn gil(&self) -> u64 {
        u64::from_str_radix(&self.gil, 16).unwrap()
    }
}

impl Fire {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self {
            child,
            lines,
            ready,
        }
    }

    /// Tells it to start.
    pub(crate) fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn truth(mut self) -> Truth {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(&line).unwrap()
    }

    /// How many tracers its markers think are attached.
    pub(crate) fn semaphore(&self) -> u16 {
        use std::os::unix::fs::FileExt as _;
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.ready.pid)).unwrap();
        let mut bytes = [0; 2];
        memory
            .read_exact_at(&mut bytes, self.ready.semaphore.unwrap())
            .unwrap();
        u16::from_le_bytes(bytes)
    }
}

impl Drop for Fire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `gil-fire-c` or `gil-fire-rust`, built where this test was built. They are programs of another crate, which cargo does not
/// build for the tests of this one.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile_folder = test.parent().and_then(Path::parent).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "gil-probes",
            "--bin",
            name,
            "--target-dir",
        ])
        .arg(profile_folder.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_folder.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(
        cargo.status().unwrap().success(),
        "cargo could not build {name}"
    );
    profile_folder.join(name)
}
