//! Archives of an interpreter: the same bytes each time, usable wherever they are unpacked, and what uv, pyenv, virtualenv and tox make
//! of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use gil_tests::{gilbuild, not_run, prefix, text, tools};
use serde_json::Value;
use tempfile::TempDir;

/// A packaged interpreter, and how many seconds since 1970 its files say.
struct Packaged {
    folder: TempDir,
    prefix: PathBuf,
}

const TIME: &str = "1750000000";

impl Packaged {
    fn new(test: &str, format: &str) -> Option<Self> {
        let Some(prefix) = prefix("3.13", "nop") else {
            not_run(test, "3.13 was not built");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        package(&prefix, folder.path(), format);
        Some(Self { folder, prefix })
    }

    fn file(&self, ending: &str) -> PathBuf {
        let is_it = |path: &PathBuf| path.to_string_lossy().ends_with(ending);
        let mut files = fs_err::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files.find(is_it).unwrap()
    }

    /// Unpacks it elsewhere: the folder that becomes the prefix.
    fn unpack(&self, into: &Path) -> PathBuf {
        run(Command::new("tar")
            .arg("-xzf")
            .arg(self.file(".tar.gz"))
            .arg("-C")
            .arg(into));
        into.join("python")
    }
}

fn package(prefix: &Path, folder: &Path, format: &str) -> String {
    run(Command::new(gilbuild())
        .arg("package")
        .arg(prefix)
        .args(["--strip", "--format", format, "--output"])
        .arg(folder)
        .env("SOURCE_DATE_EPOCH", TIME))
}

/// Runs a command that must succeed, and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_same_prefix_gives_the_same_bytes() {
    let Some(packaged) = Packaged::new("the_same_prefix_gives_the_same_bytes", "tar.gz,tar.zst")
    else {
        return;
    };
    let again = tempfile::tempdir().unwrap();
    package(&packaged.prefix, again.path(), "tar.gz,tar.zst");
    let sums = |folder: &Path| fs_err::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(packaged.folder.path()), sums(again.path()));
    assert_eq!(
        sums(again.path()).lines().count(),
        3,
        "two archives and a list"
    );
    run(Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(again.path()));
}

#[test]
fn it_works_wherever_it_is_unpacked() {
    let Some(packaged) = Packaged::new("it_works_wherever_it_is_unpacked", "tar.gz") else {
        return;
    };
    let listed = run(Command::new("tar")
        .arg("-tzf")
        .arg(packaged.file(".tar.gz")));
    let mut sorted: Vec<&str> = listed
        .lines()
        .map(|name| name.trim_end_matches('/'))
        .collect();
    assert!(sorted.iter().all(|name| name.starts_with("python/")));
    assert!(!listed.contains("/test/") && !listed.contains(".pyc"));
    let before = sorted.clone();
    sorted.sort_by(|one, other| Path::new(one).cmp(Path::new(other)));
    assert_eq!(before, sorted, "sorted");

    let elsewhere = tempfile::tempdir().unwrap();
    let moved = packaged.unpack(elsewhere.path());
    let program = "import sys, ssl, sqlite3, ctypes, sysconfig as s; print(sys.prefix); print(s.get_path('include')); \
                   print(open('/proc/self/maps').read())";
    let said = run(Command::new(moved.join("bin/python3")).args(["-I", "-c", program]));
    let mut lines = said.lines();
    assert_eq!(lines.next(), moved.to_str());
    assert!(lines.next().unwrap().starts_with(moved.to_str().unwrap()));
    assert!(!said.contains(packaged.prefix.to_str().unwrap()), "{said}");
    // Its scripts, and the one that tells compilers where things are.
    let pip = run(Command::new(moved.join("bin/pip3")).arg("--version"));
    assert!(pip.contains(moved.to_str().unwrap()), "{pip}");
    let flags =
        run(Command::new(moved.join("bin/python3-config")).args(["--includes", "--ldflags"]));
    assert!(flags.contains(moved.to_str().unwrap()), "{flags}");
    // No text names a path of the machine that made it.
    let home = packaged.prefix.parent().unwrap().to_str().unwrap();
    let found = Command::new("grep")
        .args(["-rIl", home])
        .arg(&moved)
        .output()
        .unwrap();
    assert_eq!(text(&found), "", "these name {home}");
    for name in [
        "build.json",
        "markers.json",
        "sbom.spdx.json",
        "licenses/LICENSE.cpython.txt",
    ] {
        assert!(moved.join("share/gilbuild").join(name).exists(), "{name}");
    }
    let verified = gil_tests::run(&["verify", moved.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified));
}

#[test]
fn uv_installs_it_and_runs_a_project() {
    let test = "uv_installs_it_and_runs_a_project";
    let Some(packaged) = Packaged::new(test, "tar.gz") else {
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let python = packaged.prefix.join("bin/python3");
    let Some(bin) = tools(test, &python, &work.path().join("tools"), &["uv"]) else {
        return;
    };
    let list = format!("file://{}", packaged.file("downloads.json").display());
    let project = work.path().join("project");
    fs_err::create_dir(&project).unwrap();
    let uv = |arguments: &[&str]| {
        run(Command::new(bin.join("uv"))
            .args(arguments)
            .current_dir(&project)
            .env("UV_PYTHON_DOWNLOADS_JSON_URL", &list)
            .env("UV_PYTHON_INSTALL_DIR", work.path().join("pythons"))
            .env("UV_CACHE_DIR", work.path().join("cache"))
            .env("UV_PYTHON_PREFERENCE", "only-managed")
            .env_remove("VIRTUAL_ENV"))
    };
    uv(&["python", "install", "--no-bin", "3.13"]);
    uv(&["init", "--bare", "--name", "demo", "--python", "3.13"]);
    let program =
        "import sys, sysconfig; print(sys.base_prefix); print(sysconfig.get_config_var('LIBDIR'))";
    let said = uv(&["run", "python", "-c", program]);
    let pythons = work.path().join("pythons");
    for line in said.lines() {
        assert!(line.starts_with(pythons.to_str().unwrap()), "{said}");
    }
    let venv = work.path().join("venv");
    uv(&["venv", "--python", "3.13", venv.to_str().unwrap()]);
    let base =
        run(Command::new(venv.join("bin/python"))
            .args(["-c", "import sys; print(sys.base_prefix)"]));
    let verified = gil_tests::run(&["verify", base.trim()]);
    assert!(verified.status.success(), "{}", text(&verified));
}

#[test]
fn virtualenv_and_tox_work_on_it() {
    let test = "virtualenv_and_tox_work_on_it";
    let Some(packaged) = Packaged::new(test, "tar.gz") else {
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let moved = packaged.unpack(work.path());
    let python = moved.join("bin/python3");
    let Some(bin) = tools(
        test,
        &python,
        &work.path().join("tools"),
        &["virtualenv", "tox"],
    ) else {
        return;
    };
    let print_base = "import sys; print(sys.base_prefix)";
    let environment = work.path().join("environment");
    run(Command::new(bin.join("virtualenv"))
        .args(["--quiet", "--no-download", "--python"])
        .arg(&python)
        .arg(&environment));
    let base = run(Command::new(environment.join("bin/python")).args(["-c", print_base]));
    assert_eq!(base.trim(), moved.to_str().unwrap());

    let tox = work.path().join("tox.ini");
    let settings =
        format!("[tox]\nskipsdist = true\n[testenv]\ncommands = python -c \"{print_base}\"\n");
    fs_err::write(&tox, settings).unwrap();
    let said = run(Command::new(bin.join("tox"))
        .args(["-e", "py313", "--discover"])
        .arg(&python)
        .current_dir(work.path()));
    assert!(said.contains(moved.to_str().unwrap()), "{said}");
}

#[test]
fn the_lists_say_what_is_there_and_keep_what_was() {
    let test = "the_lists_say_what_is_there_and_keep_what_was";
    let Some(packaged) = Packaged::new(test, "tar.gz") else {
        return;
    };
    let folder = packaged.folder.path();
    let list = folder.join("downloads.json");
    let mut downloads: Value = serde_json::from_slice(&fs_err::read(&list).unwrap()).unwrap();
    let key = downloads
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    assert!(
        key.starts_with("cpython-3.13.") && key.ends_with("-gnu"),
        "{key}"
    );
    let entry = downloads[&key].clone();
    let archive = packaged.file(".tar.gz");
    let sum = run(Command::new("sha256sum").arg(&archive));
    assert!(sum.starts_with(entry["sha256"].as_str().unwrap()));
    let definition = fs_err::read_dir(folder.join("pyenv"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let definition = fs_err::read_to_string(definition.path()).unwrap();
    assert!(
        definition.contains(entry["sha256"].as_str().unwrap()),
        "{definition}"
    );

    // Another interpreter's entry stays, and another address can be told.
    downloads["cpython-3.12.0-linux-x86_64-gnu"] = entry;
    fs_err::write(&list, downloads.to_string()).unwrap();
    let output = gil_tests::run(&[
        "package",
        packaged.prefix.to_str().unwrap(),
        "--strip",
        "--output",
        folder.to_str().unwrap(),
        "--url",
        "http://127.0.0.1:8000/pythons/",
    ]);
    assert!(output.status.success(), "{}", gil_tests::text(&output));
    let downloads: Value = serde_json::from_slice(&fs_err::read(&list).unwrap()).unwrap();
    assert_eq!(downloads.as_object().unwrap().len(), 2, "{downloads:#}");
    let url = downloads[&key]["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:8000/pythons/cpython-3.13."),
        "{url}"
    );

    fs_err::write(&list, "[]").unwrap();
    let output = gil_tests::run(&[
        "package",
        packaged.prefix.to_str().unwrap(),
        "--strip",
        "--output",
        folder.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(gil_tests::text(&output).contains("is no list of downloads"));
}

#[test]
fn what_cannot_be_packaged_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for (subject, reason) in [
        (folder.path().to_str().unwrap(), "was not made by gilbuild"),
        ("3.99", "no interpreter of that version was built"),
    ] {
        let output = Command::new(gilbuild())
            .args(["package", subject, "--output"])
            .arg(folder.path())
            .env("GILBUILD_HOME", folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(reason), "{}", text(&output));
        assert!(!folder.path().join("downloads.json").exists());
    }
}
