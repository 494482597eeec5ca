//! What a team builds: the commented example, the cells as CI takes them, and building them here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gil_tests::{against_json_schema, gilbuild, not_run, prefix, run, text};
use serde_json::Value;

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

#[test]
fn the_commented_example_is_a_matrix() {
    let example = project("docs/gilbuild.toml");
    let output = run(&["matrix", "--config", example.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output));
    let cells: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = cells
        .iter()
        .map(|cell| cell["name"].as_str().unwrap())
        .collect();
    let expected = [
        "3.12-bookworm-nop",
        "3.12-trixie-nop",
        "3.13-bookworm-nop",
        "3.13-trixie-nop",
        "3.13t-trixie-nop",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        cells[4]["tags"][0],
        "registry.example/team/python:3.13t-trixie"
    );
}

#[test]
fn without_a_file_it_is_every_supported_series() {
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(gilbuild())
        .args(["matrix", "--format=github", "--markers=nop,nop5"])
        .current_dir(empty.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let matrix: Value = serde_json::from_str(line.strip_prefix("matrix=").unwrap()).unwrap();
    let cells = matrix["include"].as_array().unwrap();
    let of = |python: &str| cells.iter().filter(|cell| cell["python"] == python).count();
    assert_eq!(of("3.11"), 2, "{line}");
    assert_eq!(of("3.13"), 2, "{line}");
}

#[test]
fn bad_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gilbuild.toml");
    fs_err::write(&path, "distributons = [\"bookworm\"]\n").unwrap();
    let file = path.to_str().unwrap();
    for (arguments, code, said) in [
        (vec!["--config", file], 2, "did you mean `distributions`?"),
        (
            vec!["--config", "/nowhere/gilbuild.toml"],
            1,
            "/nowhere/gilbuild.toml",
        ),
        (
            vec!["--cell", "3.13"],
            2,
            "there is no cell `3.13`; there are",
        ),
        (vec!["--run", "--format=github"], 2, "--run"),
        (vec!["--jobs=2"], 2, "--run"),
    ] {
        let output = run(&[vec!["matrix"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(said), "{}", text(&output));
    }
}

/// A folder with a matrix of two cells: an interpreter for this machine, and an image of a base that is not there.
struct Team {
    folder: tempfile::TempDir,
    home: PathBuf,
}

impl Team {
    fn new(prefix: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = prefix.file_name().unwrap().to_string_lossy();
        let version = name.split('-').nth(1).unwrap();
        let file = format!(
            "versions = [{version:?}]\ndistributions = [\"oci:nowhere\", \"host\"]\noptimize = \"none\"\n"
        );
        fs_err::write(folder.path().join("gilbuild.toml"), file).unwrap();
        let home = prefix.parent().and_then(Path::parent).unwrap().to_owned();
        Self { folder, home }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(gilbuild())
            .args(["matrix", "--run", "--jobs=2"])
            .args(arguments)
            .current_dir(self.folder.path())
            // Where the interpreter is ready.
            .env("GILBUILD_HOME", &self.home)
            .output()
            .unwrap()
    }
}

#[test]
fn a_cell_that_fails_stops_no_other_and_what_is_done_is_not_done_again() {
    let test = "a_cell_that_fails_stops_no_other_and_what_is_done_is_not_done_again";
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    let team = Team::new(&prefix);
    for expected in ["built", "ready"] {
        let output = team.run(&["--format=json"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let ended: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(ended[0]["result"], "failed", "{ended:?}");
        let why = ended[0]["said"][0].as_str().unwrap();
        assert!(why.contains("nowhere"), "{why}");
        assert_eq!(ended[1]["result"], expected, "{ended:?}");
        assert_eq!(ended[1]["said"][0].as_str(), prefix.to_str());
        let archive = Path::new(ended[1]["said"][1].as_str().unwrap());
        assert!(archive.is_file(), "{archive:?}");
        assert!(archive.with_file_name("downloads.json").is_file());
        assert!(text(&output).contains("1 of 2 could not be built"));
    }
    let cell = format!(
        "{}-host-nop",
        prefix
            .file_name()
            .unwrap()
            .to_string_lossy()
            .split('-')
            .nth(1)
            .unwrap()
    );
    let output = team.run(&["--cell", &cell]);
    assert!(output.status.success(), "{}", text(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.starts_with(&format!("{cell}  ready")), "{table}");
    let log = team
        .folder
        .path()
        .join("gilbuild-matrix")
        .join(format!("{cell}.log"));
    let log = fs_err::read_to_string(log).unwrap();
    assert!(log.contains("Ready") && log.contains("Packaging"), "{log}");
}

/// The action's steps that are commands, by name.
fn step(name: &str) -> String {
    let action = fs_err::read_to_string(project("action.yml")).unwrap();
    let action: Value = serde_saphyr::from_str(&action).unwrap();
    let steps = action["runs"]["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == name).unwrap();
    step["run"].as_str().unwrap().to_owned()
}

#[test]
fn the_action_lists_cells_for_the_workflow() {
    let folder = tempfile::tempdir().unwrap();
    let github_output = folder.path().join("output");
    let program = gilbuild();
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let act = |command: &str, cell: &str| {
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &step("Cells")])
            .env("PATH", &path)
            .env("GITHUB_OUTPUT", &github_output)
            .env("COMMAND", command)
            .env("CONFIG", project("docs/gilbuild.toml"))
            .env("CELL", cell)
            .env("FOLDER", folder.path())
            .env("PUSH", "false")
            .output()
            .unwrap()
    };
    let output = act("list", "");
    assert!(output.status.success(), "{}", text(&output));
    let written = fs_err::read_to_string(&github_output).unwrap();
    let matrix: Value = serde_json::from_str(written.strip_prefix("matrix=").unwrap()).unwrap();
    assert_eq!(matrix["include"].as_array().unwrap().len(), 5);
    assert_eq!(act("build", "nothing").status.code(), Some(2));
    assert_eq!(act("destroy", "").status.code(), Some(2));
}

#[test]
fn action_and_workflow_are_what_github_takes() {
    let test = "action_and_workflow_are_what_github_takes";
    for (schema, file) in [
        ("vendor.github-actions", "action.yml"),
        ("vendor.github-workflows", ".github/workflows/images.yml"),
    ] {
        if let Some(fault) = against_json_schema(test, schema, &project(file)) {
            panic!("{fault}");
        }
    }
}
