//! Containers and images for tests: other programs that take them, and images that are built once for several tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::NamedTempFile;

use crate::{gilbuild, not_run, text};

/// Runs a tool and returns what it wrote to stdout; `None` where it is not installed.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn tool(test: &str, program: &str, arguments: &[&str]) -> Option<String> {
    match attempt(program, arguments) {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program} {arguments:?}: {}",
                text(&output)
            );
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            not_run(test, &format!("{program} is not installed ({error})"));
            None
        }
    }
}

/// Runs a tool and returns how it ended.
///
/// # Errors
/// When it is not installed.
pub fn attempt(program: &str, arguments: &[&str]) -> std::io::Result<Output> {
    let configuration = podman_configuration()?;
    Command::new(program)
        .args(arguments)
        .env("CONTAINERS_CONF", configuration.path())
        .output()
}

/// Runs a `gilbuild image`, with the engine that `GILBUILD_TEST_ENGINE` names: so the same tests judge each of them.
///
/// # Errors
/// When it cannot be run.
pub fn build_image(command: &mut Command) -> std::io::Result<Output> {
    let configuration = podman_configuration()?;
    if let Ok(engine) = std::env::var("GILBUILD_TEST_ENGINE") {
        command.args(["--engine", &engine]);
    }
    command
        .env("CONTAINERS_CONF", configuration.path())
        .output()
}

/// Root may lack the right to raise limits, and runc takes every layout of control groups.
fn podman_configuration() -> std::io::Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    fs_err::write(
        file.path(),
        "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n[engine]\nruntime = \"runc\"\n",
    )?;
    Ok(file)
}

/// A container that runs in the background, removed with this.
#[derive(Debug)]
pub struct Container(String);

impl Container {
    /// Starts one with podman; `None` where that is not installed.
    #[must_use]
    pub fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        let all = [&["run", "--detach"], arguments].concat();
        let id = tool(test, "podman", &all)?;
        Some(Self(id.trim().to_owned()))
    }

    /// The process of the container's command, as this machine numbers it.
    ///
    /// # Panics
    /// When podman does not say.
    #[must_use]
    pub fn pid(&self) -> String {
        let format = "--format={{.State.Pid}}";
        let output = attempt("podman", &["inspect", format, &self.0]);
        let output = output.unwrap_or_else(|error| panic!("podman inspect: {error}"));
        let pid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(
            pid.parse::<u32>().is_ok_and(|pid| pid > 0),
            "the container does not run: {}{}",
            text(&output),
            self.log()
        );
        pid
    }

    /// All that it has written.
    #[must_use]
    pub fn log(&self) -> String {
        attempt("podman", &["logs", &self.0])
            .map_or_else(|error| error.to_string(), |output| text(&output))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = attempt("podman", &["rm", "--force", "--time=2", &self.0]);
    }
}

/// `gilbuild` with caches that tests share and keep: what one has compiled, the next finds there.
#[must_use]
pub fn gilbuild_with_kept_caches() -> Command {
    let mut command = Command::new(gilbuild());
    let kept = kept();
    command
        .env("XDG_CACHE_HOME", kept.join("cache"))
        .env("GILBUILD_HOME", kept.join("home"));
    command
}

fn kept() -> PathBuf {
    // Beside the tests, in the build's own folder.
    let program = gilbuild();
    let target = program.parent().and_then(Path::parent);
    target.unwrap_or(Path::new("target")).join("tmp/images")
}
