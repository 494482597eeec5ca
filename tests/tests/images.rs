//! Images: verified without running them, and, with `./dev test --all`, built, checked by others' tools, started, pushed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::{Compression, Snapshot};
use gil_containers::layout::Layout;
use gil_containers::output::Output as Place;
use gil_containers::platform::Platform;
use gil_tests::containers::tool;
use gil_tests::{gilbuild, not_run, prefix, run, text};

/// An image whose `/usr/local` is a prefix that was built on this machine: good for looking at, not for running.
fn image_of(prefix: &Path, folder: &Path) -> String {
    let root = folder.join("root");
    fs_err::create_dir_all(root.join("usr")).unwrap();
    let copied = Command::new("cp")
        .arg("--archive")
        .arg(prefix)
        .arg(root.join("usr/local"))
        .status()
        .unwrap();
    assert!(copied.success());
    let layout = Layout::create(&folder.join("layout")).unwrap();
    let mut image = Image::empty(&Platform::host());
    let all = Snapshot::empty().changes_to(&Snapshot::of(&root).unwrap());
    let options = LayerOptions {
        newest_s: 1_700_000_000,
        compression: Compression::Gzip,
        created_by: "test".to_owned(),
    };
    image.add_layer(&layout, &root, &all, &options).unwrap();
    let archive = format!("oci-archive:{}", folder.join("image.tar").display());
    let place: Place = archive.parse().unwrap();
    place.write(&layout, &image, None).unwrap();
    archive
}

#[test]
fn the_markers_of_an_image_are_read_without_running_it() {
    let test = "the_markers_of_an_image_are_read_without_running_it";
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    let folder = tempfile::tempdir().unwrap();
    let image = image_of(&prefix, folder.path());
    let output = run(&["verify", "--json", &image]);
    assert!(output.status.success(), "{}", text(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["markers"].as_array().unwrap().len(), 4, "{json:#}");
    let file = json["file"].as_str().unwrap();
    assert!(file.starts_with("/usr/local/lib/libpython3.13"), "{file}");
}

#[test]
fn an_image_without_markers_or_without_python_fails() {
    let test = "an_image_without_markers_or_without_python_fails";
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("empty")).unwrap();
    let image = image_of(&folder.path().join("empty"), folder.path());
    let output = run(&["verify", &image]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("has no Python"), "{}", text(&output));

    let Some(prefix) = prefix("3.13", "none") else {
        return not_run(test, "3.13 without markers was not built");
    };
    let folder = tempfile::tempdir().unwrap();
    let image = image_of(&prefix, folder.path());
    let output = run(&["verify", &image]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn what_cannot_be_a_base_or_an_output_is_refused_at_once() {
    for (arguments, said) in [
        (
            ["--base", "bokworm", "--output", "oci:out"],
            "there is no base `bokworm`",
        ),
        (
            ["--base", "bookworm", "--output", "out"],
            "is no place for an image",
        ),
        (
            ["--compression", "lzma", "--output", "oci:out"],
            "say gzip, zstd or none",
        ),
    ] {
        let output = run(&[&["image", "3.13"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(said), "{}", text(&output));
    }
}

/// The image that the long tests share, built once; `None` where it cannot be built here.
fn built(test: &str) -> Option<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if std::env::var("GILBUILD_TEST_ALL").as_deref() != Ok("yes") {
        not_run(
            test,
            "builds an image, which takes minutes: ./dev test --all",
        );
        return None;
    }
    let built = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        let output = build(&folder, &folder.join("image"));
        if output.status.code() == Some(3) {
            return Err(text(&output));
        }
        assert!(output.status.success(), "{}", text(&output));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        fs_err::write(folder.join("printed"), printed).unwrap();
        Ok(folder)
    });
    match built {
        Ok(folder) => Some(folder),
        Err(reason) => {
            not_run(test, reason);
            None
        }
    }
}

/// Builds into a layout, with caches of its own.
fn build(folder: &Path, layout: &Path) -> Output {
    Command::new(gilbuild())
        .args(["image", "3.13", "--optimize", "none", "--base", "bookworm"])
        .arg("--output")
        .arg(format!("oci:{}:test", layout.display()))
        .arg("--output")
        .arg(format!(
            "docker-archive:{}.tar:gilbuild/test:1",
            layout.display()
        ))
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("GILBUILD_HOME", folder.join("home"))
        .output()
        .unwrap()
}

#[test]
fn an_image_is_what_others_take_and_start() {
    let test = "an_image_is_what_others_take_and_start";
    let Some(folder) = built(test) else { return };
    let source = format!("oci:{}:test", folder.join("image").display());
    let printed = fs_err::read_to_string(folder.join("printed")).unwrap();
    if let Some(inspected) = tool(test, "skopeo", &["inspect", &source]) {
        let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
        let digest = inspected["Digest"].as_str().unwrap();
        assert!(printed.contains(digest), "{printed}");
        assert_eq!(inspected["Labels"]["gilbuild.contract"], "1");
    }
    let archive = format!("{}.tar", folder.join("image").display());
    if tool(test, "podman", &["load", "--input", &archive]).is_none() {
        return;
    }
    let program = "import bz2, ctypes, curses, dbm.gnu, lzma, readline, sqlite3, ssl, sys, uuid, zlib; print(sys.version_info[:2], sys.prefix)";
    let arguments = ["run", "--rm", "--network=none", "gilbuild/test:1"];
    let run = [&arguments[..], &["python", "-c", program]].concat();
    let said = tool(test, "podman", &run).unwrap();
    assert_eq!(said, "(3, 13) /usr/local\n");
    let run = [&arguments[..], &["pip", "--version"]].concat();
    assert!(tool(test, "podman", &run).unwrap().starts_with("pip "));
    let _ = tool(test, "podman", &["rmi", "gilbuild/test:1"]);
}

#[test]
fn an_image_tells_what_is_in_it() {
    let test = "an_image_tells_what_is_in_it";
    let Some(folder) = built(test) else { return };
    let image = format!("oci:{}:test", folder.join("image").display());
    let output = run(&["verify", "--json", &image]);
    assert!(output.status.success(), "{}", text(&output));

    let layout = Layout::open(&folder.join("image")).unwrap();
    let found = layout.find(Some("test")).unwrap();
    let image = Image::load(&layout, &found, &Platform::host()).unwrap();
    let root = tempfile::tempdir().unwrap();
    image.unpack(&layout, root.path()).unwrap();
    let inside = |name: &str| root.path().join(name);
    let description = |name: &str| {
        let path = inside("usr/local/share/gilbuild").join(name);
        let value: serde_json::Value =
            serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
        value
    };
    let verified: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(description("markers.json"), verified);
    let sbom = description("sbom.spdx.json");
    let names: Vec<&str> = sbom["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    for name in ["cpython", "pip", "libc6", "libssl3", "ca-certificates"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    // What official slim images leave out, and what apt leaves behind.
    for name in [
        "usr/local/lib/python3.13/test",
        "usr/local/lib/python3.13/os.pyc",
        "usr/bin/gcc",
        "etc/resolv.conf",
        "var/log/dpkg.log",
        "var/cache/apt/pkgcache.bin",
    ] {
        assert!(!inside(name).exists(), "{name}");
    }
    for name in ["python", "pip", "idle", "pydoc", "python-config"] {
        assert!(inside("usr/local/bin").join(name).is_symlink(), "{name}");
    }
}

#[test]
fn an_image_built_twice_in_different_folders_is_the_same() {
    let test = "an_image_built_twice_in_different_folders_is_the_same";
    let Some(folder) = built(test) else { return };
    let again = tempfile::tempdir().unwrap();
    let output = build(again.path(), &again.path().join("image"));
    assert!(output.status.success(), "{}", text(&output));
    let digest = |printed: &str| printed.split('@').nth(1).map(|rest| rest[..71].to_owned());
    let first = fs_err::read_to_string(folder.join("printed")).unwrap();
    let second = String::from_utf8_lossy(&output.stdout);
    assert!(digest(&first).is_some());
    assert_eq!(digest(&first), digest(&second));
}
