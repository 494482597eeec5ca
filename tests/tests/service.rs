//! The deploy examples: manifests that Kubernetes would take, and the service started by podman and recorded under load.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gil_tests::containers::{attempt, gilbuild_with_kept_caches, tool};
use gil_tests::{against_json_schema, gilbuild, long_tests, not_run, run, text, why_no_tracing};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Container, Namespace, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn containers(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../containers")
        .join(name)
}

/// The documents of a manifest.
fn documents(name: &str) -> Vec<Value> {
    let manifest = fs_err::read_to_string(containers(name)).unwrap();
    serde_saphyr::from_multiple(&manifest).unwrap()
}

/// Demands that a document is one of Kubernetes's own type, with nothing in it that the type does not know.
fn check<T: DeserializeOwned + Serialize>(name: &str, document: &Value) {
    let typed: T = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{name}: {error}: {document:#}"));
    let known = serde_json::to_value(typed).unwrap();
    known_to(name, document, &known);
}

/// What the type does not know is not there when it is written again.
fn known_to(path: &str, document: &Value, known: &Value) {
    match (document, known) {
        (Value::Object(document), Value::Object(known)) => {
            for (key, value) in document {
                let path = format!("{path}.{key}");
                let known = known.get(key);
                // What is empty may be left out.
                let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty);
                assert!(
                    known.is_some() || is_empty,
                    "{path} is unknown to Kubernetes"
                );
                known_to(&path, value, known.unwrap_or(value));
            }
        }
        (Value::Array(document), Value::Array(known)) => {
            assert_eq!(document.len(), known.len(), "{path}");
            for (index, (document, known)) in document.iter().zip(known).enumerate() {
                known_to(&format!("{path}[{index}]"), document, known);
            }
        }
        _ => assert_eq!(document, known, "{path}"),
    }
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    for name in ["kubernetes/service.yaml", "kubernetes/recorder.yaml"] {
        let documents = documents(name);
        assert!(documents.len() > 1, "{name}");
        for document in &documents {
            match document["kind"].as_str().unwrap() {
                "Deployment" => check::<Deployment>(name, document),
                "DaemonSet" => check::<DaemonSet>(name, document),
                "Service" => check::<Service>(name, document),
                "Namespace" => check::<Namespace>(name, document),
                kind => panic!("{name}: {kind} is not checked"),
            }
        }
    }
    // `kubectl debug --custom` takes a container without its name.
    let name = "kubernetes/debug-container.yaml";
    let [mut document] = <[Value; 1]>::try_from(documents(name)).unwrap();
    document["name"] = "debugger".into();
    check::<Container>(name, &document);
}

#[test]
fn a_manifest_with_a_slip_is_noticed() {
    let mut document = documents("kubernetes/service.yaml").remove(0);
    document["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] =
        serde_json::json!({"a": 1});
    let checked = std::panic::catch_unwind(|| check::<Deployment>("slip", &document));
    assert!(checked.is_err());
}

#[test]
fn the_compose_file_is_what_compose_takes() {
    let test = "the_compose_file_is_what_compose_takes";
    let schema = "vendor.compose-spec";
    if let Some(fault) = against_json_schema(test, schema, &containers("compose.yaml")) {
        panic!("{fault}");
    }
}

/// A pod that podman has started from a manifest; taken down with this.
struct Pod(PathBuf);

impl Pod {
    fn start(test: &str, manifest: &str, port: u16, folder: &Path) -> Option<Self> {
        // The same manifest with a port that is free here.
        let kube = fs_err::read_to_string(containers(manifest)).unwrap();
        let file = folder.join("pod.yaml");
        fs_err::write(
            &file,
            kube.replace("--port=8000", &format!("--port={port}")),
        )
        .unwrap();
        let path = file.to_string_lossy().into_owned();
        let play = ["kube", "play", "--network=host", &path];
        let output = attempt("podman", &play).unwrap();
        let pod = Self(file);
        if text_has(&output, "finding pause binary") {
            not_run(
                test,
                "podman needs catatonit for pods (Debian: package catatonit)",
            );
            return None;
        }
        assert!(output.status.success(), "{}", gil_tests::text(&output));
        Some(pod)
    }
}

/// What podman-compose calls the service's container.
const COMPOSE_CONTAINER: &str = "gil-service_service_1";

/// What podman-compose has started from the Compose file; taken down with this.
struct Project(PathBuf);

impl Project {
    fn start(test: &str, port: u16, folder: &Path) -> Option<Self> {
        // The same file with a port that is free here.
        let compose = fs_err::read_to_string(containers("compose.yaml")).unwrap();
        let file = folder.join("compose.yaml");
        let mapping = "127.0.0.1:8000:8000";
        assert!(compose.contains(mapping));
        let free = format!("127.0.0.1:{port}:8000");
        fs_err::write(&file, compose.replace(mapping, &free)).unwrap();
        let project = Self(file);
        match project.compose(&["up", "--detach", "service"]) {
            Ok(output) => {
                assert!(output.status.success(), "{}", text(&output));
                // It says that all is well, whatever podman says.
                let exists = ["container", "exists", COMPOSE_CONTAINER];
                if !attempt("podman", &exists).is_ok_and(|output| output.status.success()) {
                    not_run(
                        test,
                        &format!(
                            "the Compose file: podman starts no container with a network of its own here: {}",
                            text(&output)
                        ),
                    );
                    return None;
                }
            }
            Err(error) => {
                not_run(
                    test,
                    &format!("the Compose file: podman-compose is not installed ({error})"),
                );
                return None;
            }
        }
        Some(project)
    }

    fn compose(&self, arguments: &[&str]) -> std::io::Result<Output> {
        let file = self.0.to_string_lossy();
        let all = [
            &["--file", &file, "--project-name", "gil-service"],
            arguments,
        ]
        .concat();
        attempt("podman-compose", &all)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.compose(&["down"]);
    }
}

fn text_has(output: &Output, what: &str) -> bool {
    text(output).contains(what)
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = attempt("podman", &["kube", "down", &self.0.to_string_lossy()]);
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Asks a page of the service until it answers.
fn ask(port: u16, page: &str) -> String {
    use std::io::{Read as _, Write as _};
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = std::net::TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            write!(stream, "GET {page} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        match answer {
            Ok(answer) if !answer.is_empty() => return answer,
            answer => assert!(Instant::now() < end, "{page}: {answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Records the service under load, and returns the report as JSON.
fn recorded(folder: &Path, port: u16, pid: &str, hog: bool) -> Value {
    let trace = folder.join(format!("{port}-{hog}.trace"));
    let mut load = Command::new("python3");
    // Six clients alone keep a slow machine's processors so busy that the service's threads do wait for one another.
    let clients = if hog { 6 } else { 2 };
    load.arg(containers("service/load.py"))
        .arg(format!("http://127.0.0.1:{port}"))
        .args(["--seconds=120", &format!("--clients={clients}")]);
    let page = if hog { "/statement" } else { "/" };
    if hog {
        load.arg("--hog");
    }
    let mut load = load.spawn().unwrap();
    // From the first answer on, there is load.
    let counted = format!("http_requests_total{{path=\"{page}\",");
    while !ask(port, "/metrics").contains(&counted) {
        assert!(load.try_wait().unwrap().is_none(), "the load ended");
    }
    let output = Command::new(gilbuild())
        .args(["record", "--pid", pid, "--duration=5s", "-o"])
        .arg(&trace)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(load.try_wait().unwrap().is_none(), "the load ended");
    load.kill().unwrap();
    load.wait().unwrap();
    let report = run(&["report", "--format=json", &trace.to_string_lossy()]);
    assert!(report.status.success(), "{}", text(&report));
    serde_json::from_slice(&report.stdout).unwrap()
}

/// The image of the service, on an image of ours; removed with this.
struct ServiceImage;

impl ServiceImage {
    fn build(test: &str, folder: &Path) -> Option<Self> {
        let archive = folder.join("python.tar");
        let output = gilbuild_with_kept_caches()
            .args(["image", "3.13", "--optimize=none"])
            .arg(format!(
                "--output=docker-archive:{}:gilbuild-test/python:1",
                archive.display()
            ))
            .output()
            .unwrap();
        if output.status.code() == Some(3) {
            not_run(test, &text(&output));
            return None;
        }
        assert!(output.status.success(), "{}", text(&output));
        let load = ["load", "--input", &archive.to_string_lossy()];
        tool(test, "podman", &load)?;
        let service = containers("service");
        let build = [
            "build",
            "--isolation=chroot",
            "--build-arg=PYTHON=gilbuild-test/python:1",
            "--tag=gil-service:1",
            &service.to_string_lossy(),
        ];
        tool(test, "podman", &build)?;
        Some(Self)
    }
}

impl Drop for ServiceImage {
    fn drop(&mut self) {
        let images = ["rmi", "gil-service:1", "gilbuild-test/python:1"];
        let _ = attempt("podman", &images);
    }
}

/// Puts load on the service in that container and demands that it is judged rightly, whatever it is asked for.
fn judged_rightly(test: &str, folder: &Path, port: u16, container: &str) {
    assert!(ask(port, "/healthz").ends_with("ok\n"));
    let format = "--format={{.State.Pid}}";
    let pid = tool(test, "podman", &["inspect", format, container]).unwrap();
    let pid = pid.trim();
    for (hog, kind) in [(false, "not_the_gil"), (true, "gil_bound")] {
        let report = recorded(folder, port, pid, hog);
        let verdict = &report["verdict"];
        assert_eq!(verdict["kind"], kind, "{verdict:#}");
        assert!(report.to_string().contains("worker_0"), "no thread names");
    }
    let metrics = ask(port, "/metrics");
    for line in [
        "http_requests_total{path=\"/statement\",status=\"200\"}",
        "http_request_duration_seconds_bucket{le=\"+Inf\"}",
        "service_threads 8",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let _ = tool(test, "podman", &["healthcheck", "run", container]);
}

#[test]
fn the_service_is_judged_rightly_under_load() {
    let test = "the_service_is_judged_rightly_under_load";
    if !long_tests(test) {
        return;
    }
    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(_image) = ServiceImage::build(test, folder) else {
        return;
    };
    let port = free_port();
    if let Some(_pod) = Pod::start(test, "kubernetes/service.yaml", port, folder) {
        judged_rightly(test, folder, port, "gil-service-pod-0-service");
    }
    let port = free_port();
    if let Some(_project) = Project::start(test, port, folder) {
        judged_rightly(test, folder, port, COMPOSE_CONTAINER);
    }
}
