//! Containers of Docker and of containerd alone, each found by what its engine calls it and recorded from the host. The daemons are the test's own:
//! they end with it and keep everything in its folder.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use gil_tests::{gilbuild, long_tests, not_run, prefix, text, why_no_tracing, workload};
use serde_json::Value;

/// Docker and its containerd need so long to start.
const START: Duration = Duration::from_secs(60);
/// What the interpreter needs of the host, beside its own folder: the images hold nothing.
const SHARED: [&str; 3] = ["/usr", "/lib", "/lib64"];

/// A Docker daemon with a containerd of its own.
struct Daemon {
    process: Child,
    folder: PathBuf,
}

impl Daemon {
    /// Starts both in a folder; why not where that cannot be.
    fn start(folder: &Path) -> Result<Self, String> {
        let log = fs_err::File::create(folder.join("log")).unwrap();
        let process = Command::new("dockerd")
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", folder.join("socket").display()))
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .args(["--storage-driver", "vfs"])
            .args(["--default-ulimit", "nofile=20000:20000"])
            .stdout(log.file().try_clone().unwrap())
            .stderr(log.into_parts().0)
            .spawn()
            .map_err(|error| format!("dockerd is not installed ({error})"))?;
        let daemon = Self {
            process,
            folder: folder.to_owned(),
        };
        let begin = Instant::now();
        while !daemon.docker(&["version"]).status.success() {
            if begin.elapsed() > START {
                let log = fs_err::read_to_string(folder.join("log")).unwrap();
                let last = log.lines().last().unwrap_or_default();
                return Err(format!("dockerd does not start here: {last}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(daemon)
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("docker")
            .env("DOCKER_HOST", self.host())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn ctr(&self, arguments: &[&str]) -> Output {
        Command::new("ctr")
            .arg("--address")
            .arg(self.folder.join("exec/containerd/containerd.sock"))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Records a container by a name, and demands that the trace has the threads of the workload.
    fn record(&self, container: &str) {
        let trace = self.folder.join("gil.arrow");
        let output = Command::new(gilbuild())
            .env("DOCKER_HOST", self.host())
            .args([
                "record",
                "--container",
                container,
                "--duration",
                "3s",
                "--force",
                "-o",
            ])
            .arg(&trace)
            .output()
            .unwrap();
        assert!(output.status.success(), "{container}: {}", text(&output));
        let report = Command::new(gilbuild())
            .args(["report", "--format", "json"])
            .arg(&trace)
            .output()
            .unwrap();
        assert!(report.status.success(), "{container}: {}", text(&report));
        let json: Value = serde_json::from_slice(&report.stdout).unwrap();
        let threads = json["sessions"][0]["gils"][0]["threads"]
            .as_array()
            .unwrap();
        let names: Vec<&str> = threads
            .iter()
            .map(|thread| thread["name"].as_str().unwrap())
            .collect();
        for name in ["metrics", "io-1", "io-2"] {
            assert!(names.contains(&name), "{container}: {names:?}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its containerd, whose containers have been removed by then, when it is asked to.
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let _ = self.process.wait();
    }
}

fn demand(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn containers_of_docker_and_of_containerd_are_recorded_from_the_host() {
    let test = "containers_of_docker_and_of_containerd_are_recorded_from_the_host";
    if !long_tests(test) {
        return;
    }
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = match Daemon::start(folder.path()) {
        Ok(daemon) => daemon,
        Err(reason) => return not_run(test, &reason),
    };
    let hog = workload("hog.py");
    let python = prefix.join("bin/python3").display().to_string();
    let mut shared: Vec<String> = SHARED.map(str::to_owned).to_vec();
    shared.push(prefix.display().to_string());
    shared.push(hog.parent().unwrap().display().to_string());
    let hog = hog.display().to_string();
    let command = [&python, "-B", &hog, "--seconds", "120"];

    // Docker's, by its name, its id and the beginning of that.
    let nothing = folder.path().join("nothing.tar");
    fs_err::write(&nothing, [0; 1024]).unwrap();
    demand(&daemon.docker(&["import", &nothing.to_string_lossy(), "nothing"]));
    let volumes: Vec<String> = shared
        .iter()
        .map(|path| format!("{path}:{path}:ro"))
        .collect();
    let mut arguments = vec!["run", "--detach", "--network", "none", "--name", "web"];
    for volume in &volumes {
        arguments.extend(["--volume", volume]);
    }
    arguments.push("nothing");
    arguments.extend(command);
    let id = demand(&daemon.docker(&arguments));
    for name in ["web", &id, &id[..12]] {
        daemon.record(name);
    }
    demand(&daemon.docker(&["rm", "--force", "web"]));

    // containerd's, which has a name and nothing else.
    let root = folder.path().join("root");
    fs_err::create_dir(&root).unwrap();
    let mounts: Vec<String> = shared
        .iter()
        .map(|path| format!("type=bind,src={path},dst={path},options=rbind:ro"))
        .collect();
    let mut arguments = vec!["run", "--detach", "--rootfs"];
    for mount in &mounts {
        arguments.extend(["--mount", mount]);
    }
    let root = root.display().to_string();
    arguments.extend([root.as_str(), "giltest-web"]);
    arguments.extend(command);
    demand(&daemon.ctr(&arguments));
    daemon.record("giltest-web");
    demand(&daemon.ctr(&["task", "rm", "--force", "giltest-web"]));
    demand(&daemon.ctr(&["container", "rm", "giltest-web"]));
}
