//! A process in a container of podman, recorded from the host.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use gil_record::{
    Backend, Interpreter, Mode, Observer, Options, RecordError, Silent, StopReason, Target, record,
};

use crate::machine;
use crate::trace::Trace;

/// A container, until it is dropped.
struct Container {
    name: String,
    configuration: tempfile::NamedTempFile,
}

impl Container {
    /// Runs a program of the host's in a container that has nothing but the host's libraries, in pid and network namespaces of its own.
    /// The reason when podman cannot.
    fn run(root: &Path, prefix: &Path, command: &[&str]) -> Result<Self, String> {
        for folder in ["usr", "proc", "sys", "dev", "tmp", "etc", "run"] {
            fs_err::create_dir(root.join(folder)).unwrap();
        }
        for folder in ["lib", "lib64", "bin"] {
            symlink(format!("usr/{folder}"), root.join(folder)).unwrap();
        }
        let configuration = tempfile::NamedTempFile::new().unwrap();
        // Root may lack the right to raise limits, and runc takes every layout of control groups.
        fs_err::write(
            configuration.path(),
            "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n[engine]\nruntime = \"runc\"\n",
        )
        .unwrap();
        let container = Self {
            name: format!("gilbuild-test-{}", std::process::id()),
            configuration,
        };
        let volume = format!("{0}:{0}:ro", prefix.display());
        let mut podman = container.podman();
        podman
            .args([
                "run",
                "--detach",
                "--network",
                "none",
                "--cpus",
                "1.5",
                "--name",
            ])
            .arg(&container.name)
            .args(["--volume", "/usr:/usr:ro", "--volume", &volume, "--rootfs"])
            .arg(root)
            .args(command);
        match podman.output() {
            Ok(output) if output.status.success() => Ok(container),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("podman is not installed ({error})")),
        }
    }

    fn podman(&self) -> Command {
        let mut podman = Command::new("podman");
        podman.env("CONTAINERS_CONF", self.configuration.path());
        podman
    }

    fn id(&self) -> String {
        let mut podman = self.podman();
        podman.args(["inspect", "--format", "{{.Id}}", &self.name]);
        let output = podman.output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What it has printed so far.
    fn printed(&self) -> String {
        let output = self.podman().args(["logs", &self.name]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_for_lines(&self, count: usize) {
        let begin = Instant::now();
        while self.printed().lines().count() < count && begin.elapsed() < Duration::from_secs(30) {
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&self) {
        let killed = self.podman().args(["kill", &self.name]).output().unwrap();
        assert!(killed.status.success(), "{killed:?}");
    }
}

/// Kills it once the tracer is attached.
struct Kill<'a>(&'a Container);

impl Observer for Kill<'_> {
    fn attached(&mut self, _interpreters: &[Interpreter]) {
        self.0.kill();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self
            .podman()
            .args(["rm", "--force", "--time", "0", &self.name])
            .output();
    }
}

#[test]
fn a_container_is_recorded_from_the_host() {
    let test = "a_container_is_recorded_from_the_host";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    // A virtual environment's is a link.
    let python = fs_err::canonicalize(python).unwrap();
    let prefix = python.parent().and_then(Path::parent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs_err::create_dir(&root).unwrap();
    let code = "
import os, threading, time
def work():
    print('worker', threading.get_native_id(), os.getpid(), flush=True)
    while True:
        time.sleep(0.005)
thread = threading.Thread(target=work, name='worker')
thread.start()
open(f'/proc/self/task/{thread.native_id}/comm', 'w').write('worker')
if os.fork() == 0:
    work()
";
    let command = [python.to_str().unwrap(), "-c", code];
    let container = match Container::run(&root, prefix, &command) {
        Ok(container) => container,
        Err(reason) => return machine::not_run(test, &reason),
    };
    container.wait_for_lines(2);
    let id = container.id();
    // By its name, which podman knows, and by the beginning of its id.
    for name in [container.name.as_str(), &id[..12]] {
        let output = folder.path().join(format!("{name}.trace"));
        let options = Options {
            backend: Backend::Native,
            mode: Mode::Events,
            duration: Some(Duration::from_secs(1)),
            output: Some(output.clone()),
            ..Options::default()
        };
        record(&Target::Container(name.to_owned()), &options, &mut Silent).unwrap();
        names_and_numbers_are_right(&container, &output);
        the_report_knows_the_container(&id, &output);
    }

    // It goes while it is recorded, and then is not there any more.
    let options = Options {
        backend: Backend::Native,
        mode: Mode::Summary,
        ..Options::default()
    };
    let target = Target::Container(container.name.clone());
    let recording = record(&target, &options, &mut Kill(&container)).unwrap();
    assert_eq!(recording.reason, StopReason::Exit);
    let error = record(&target, &options, &mut Silent).unwrap_err();
    assert!(
        matches!(
            error,
            RecordError::ContainerNotRunning {
                engine: "podman",
                ..
            }
        ),
        "{error}"
    );
}

/// The threads are those that the container's program has printed.
fn names_and_numbers_are_right(container: &Container, output: &Path) {
    let trace = Trace::read(output);
    let threads = trace.by_thread();
    for line in container.printed().lines() {
        let [_, tid, pid] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let inner = |thread: &crate::trace::Sums| thread.native_id.to_string() == tid;
        let (host_tid, thread) = threads.iter().find(|(_, thread)| inner(thread)).unwrap();
        let status = fs_err::read_to_string(format!("/proc/{host_tid}/status")).unwrap();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let numbers: Vec<_> = numbers.unwrap().split_ascii_whitespace().collect();
        assert_eq!(numbers, [&*host_tid.to_string(), tid], "host's and its own");
        assert!(thread.drops > 0);
        let is_first = pid == "1";
        assert_eq!(
            thread.names.last().unwrap() == "worker",
            is_first,
            "{thread:?}"
        );
    }
}

fn the_report_knows_the_container(id: &str, output: &Path) {
    let report = gil_report::analyse(
        fs_err::File::open(output).unwrap(),
        &gil_report::Options::default(),
    )
    .unwrap();
    let session = &report.summary.sessions[0];
    assert_eq!(session.target, Some(format!("container:{id}")));
    assert_eq!(session.processes.len(), 2);
    for process in &session.processes {
        assert_eq!(process.container.as_deref(), Some(id));
        assert_eq!(process.cpu_limit.as_deref(), Some("1.5"));
    }
    let inner: Vec<_> = session
        .processes
        .iter()
        .map(|process| process.inner_pid)
        .collect();
    assert!(inner.contains(&Some(1)), "{inner:?}");
}
