//! Images: verified without running them, and, with `./dev test --all`, built, checked by others' tools, started, pushed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::{Changes, Compression, Snapshot};
use gil_containers::layout::Layout;
use gil_containers::output::Output as Place;
use gil_containers::platform::Platform;
use gil_probes::catalogue;
use gil_tests::containers::{attempt, build_image, gilbuild_with_kept_caches, tool};
use gil_tests::{gilbuild, long_tests, not_run, prefix, run, text};

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
    let markers = catalogue::MARKERS.len() + catalogue::FUNCTIONS.len() + catalogue::NAMES.len();
    assert_eq!(
        json["markers"].as_array().unwrap().len(),
        markers,
        "{json:#}"
    );
    let file = json["file"].as_str().unwrap();
    assert!(file.starts_with("/usr/local/lib/libpython3.13"), "{file}");

    // The prefix alone: without scripts.
    let to = folder.path().join("scripts");
    let output = run(&["script", "export", "--from", &image, to.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("has no scripts"),
        "{}",
        text(&output)
    );
    assert!(!to.exists());
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
        (
            ["--engine", "kaniko", "--output", "oci:out"],
            "say native, docker, podman or buildah",
        ),
    ] {
        let output = run(&[&["image", "3.13"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(said), "{}", text(&output));
    }
}

#[test]
fn an_engine_that_is_not_here_is_named_before_anything_is_fetched() {
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(gilbuild())
        .args(["image", "3.13", "--engine", "docker", "--output", "oci:out"])
        .current_dir(empty.path())
        .env("PATH", empty.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("--engine native"), "{said}");
    assert!(!said.contains("Source"), "{said}");
}

/// What the installer says in a container, without an image: into a folder that is laid out like a prefix.
#[test]
fn an_image_brings_gilprobe() {
    let test = "an_image_brings_gilprobe";
    let Some(prefix) = prefix("3.13", "nop") else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    let folder = tempfile::tempdir().unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Laid out as the image's build has it.
    let package = folder.path().join("gilprobe");
    fs_err::create_dir(&package).unwrap();
    for (from, to) in [
        ("containers/install-gilprobe", "install-gilprobe"),
        ("probes/include", "include"),
        ("probes/python/pyproject.toml", "pyproject.toml"),
        ("probes/python/core", "core"),
        ("probes/python/src", "src"),
    ] {
        let copied = Command::new("cp")
            .arg("--recursive")
            .arg(project.join(from))
            .arg(package.join(to))
            .status();
        assert!(copied.unwrap().success());
    }
    let staged = folder.path().join("staged");
    let library = staged.join("lib/python3.13");
    let packages = library.join("site-packages");
    fs_err::create_dir_all(&packages).unwrap();
    let link = |inside: &str| {
        fs_err::os::unix::fs::symlink(prefix.join(inside), staged.join(inside)).unwrap();
    };
    link("lib/python3.13/lib-dynload");
    link("include");
    let install = || {
        Command::new("sh")
            .arg(package.join("install-gilprobe"))
            .arg(&staged)
            .output()
            .unwrap()
    };
    let module = packages.join("gilprobe/_gilprobe.cpython-313-x86_64-linux-gnu.so");
    let [first, second] = [(); 2].map(|()| {
        let output = install();
        assert!(output.status.success(), "{}", text(&output));
        fs_err::read(&module).unwrap()
    });
    assert!(first == second, "the module is another one each time");

    let python = |arguments: &[&str]| {
        let output = Command::new(prefix.join("bin/python3"))
            .args(arguments)
            .env("PYTHONPATH", &packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let program = "
import gilprobe
with gilprobe.span('checkout'):
    print(gilprobe.HAS_MARKERS, gilprobe.__file__)";
    let said = python(&["-c", program]);
    assert!(said.contains("True"), "{said}");
    assert!(said.contains(&*packages.to_string_lossy()), "{said}");
    let listed = python(&["-m", "pip", "list", "--path", &packages.to_string_lossy()]);
    assert!(listed.contains("gilprobe"), "{listed}");
    let files = python(&["-m", "pip", "show", "--files", "gilprobe"]);
    assert!(files.contains("_gilprobe.cpython-313"), "{files}");

    // A folder that is no prefix is left as it is, with a word.
    let empty = folder.path().join("empty");
    fs_err::create_dir(&empty).unwrap();
    let output = Command::new("sh")
        .arg(package.join("install-gilprobe"))
        .arg(&empty)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("holds no lib"), "{}", text(&output));
}

/// The image that the long tests share, built once; `None` where it cannot be built here.
fn built(test: &str) -> Option<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if !long_tests(test) {
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
    let mut command = Command::new(gilbuild());
    command
        .args(["image", "3.13", "--optimize", "none", "--base", "bookworm"])
        .arg("--output")
        .arg(format!("oci:{}:test", layout.display()))
        .arg("--output")
        .arg(format!(
            "docker-archive:{}.tar:gilbuild/test:1",
            layout.display()
        ))
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("GILBUILD_HOME", folder.join("home"));
    build_image(&mut command).unwrap()
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
    let program = "import bz2, ctypes, curses, dbm.gnu, lzma, readline, sqlite3, ssl, sys, uuid, zlib, gilprobe; print(sys.version_info[:2], sys.prefix, gilprobe.HAS_MARKERS)";
    let arguments = ["run", "--rm", "--network=none", "gilbuild/test:1"];
    let run = [&arguments[..], &["python", "-c", program]].concat();
    let said = tool(test, "podman", &run).unwrap();
    assert_eq!(said, "(3, 13) /usr/local True\n");
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

    let scripts = tempfile::tempdir().unwrap();
    let [own, of_image] = ["own", "image"].map(|name| scripts.path().join(name));
    let exported = run(&["script", "export", own.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", text(&exported));
    let to = of_image.to_str().unwrap();
    let exported = run(&["script", "export", to, "--from", &image]);
    assert!(exported.status.success(), "{}", text(&exported));
    let changes = Snapshot::of(&own)
        .unwrap()
        .changes_to(&Snapshot::of(&of_image).unwrap());
    assert_eq!(changes, Changes::default());

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
    for name in [
        "cpython",
        "pip",
        "gilprobe",
        "libc6",
        "libssl3",
        "ca-certificates",
    ] {
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

/// The total of an image's layers as they are sent.
fn size(layout: &Path) -> u64 {
    let layout = Layout::open(layout).unwrap();
    let image = Image::load(&layout, &layout.find(None).unwrap(), &Platform::host()).unwrap();
    image.size()
}

#[test]
fn markers_make_an_image_hardly_larger() {
    let test = "markers_make_an_image_hardly_larger";
    let Some(folder) = built(test) else { return };
    let without = tempfile::tempdir().unwrap();
    let without = without.path().join("image");
    let output = gilbuild_with_kept_caches()
        .args(["image", "3.13", "--optimize", "none", "--markers", "none"])
        .arg(format!("--output=oci:{}", without.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let (with, without) = (size(&folder.join("image")), size(&without));
    assert!(
        with * 10 <= without * 11,
        "{with} bytes instead of {without}"
    );
}

/// The image under a name of its own in podman's store, for one test.
struct Loaded(String);

impl Loaded {
    fn new(test: &str, folder: &Path) -> Option<Self> {
        let name = format!("gilbuild/{}:1", test.replace('_', "-"));
        let from = format!("oci:{}:test", folder.join("image").display());
        let to = format!("containers-storage:{name}");
        tool(test, "skopeo", &["copy", "--quiet", &from, &to])?;
        Some(Self(name))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = attempt("podman", &["rmi", "--force", &self.0]);
    }
}

#[test]
fn an_image_takes_extension_modules_from_pip() {
    let test = "an_image_takes_extension_modules_from_pip";
    let Some(folder) = built(test) else { return };
    let Some(image) = Loaded::new(test, folder) else {
        return;
    };
    // pip finds wheels as it does on this machine.
    let mut arguments: Vec<String> = ["run", "--rm", "--network=host"].map(str::to_owned).into();
    for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("PIP_")) {
        if Path::new(&value).is_absolute() && Path::new(&value).exists() {
            arguments.push(format!("--volume={value}:{value}:ro"));
        }
        arguments.push(format!("--env={name}={value}"));
    }
    let workload = "
import numpy, threading
def compute(results, seed):
    matrix = numpy.random.default_rng(seed).random((300, 300))
    results[seed] = numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(300))
results = {}
threads = [threading.Thread(target=compute, args=(results, seed)) for seed in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(results.items()))";
    let install = "pip install --quiet --root-user-action=ignore numpy || exit 9; python -c \"$0\"";
    arguments.extend([image.0.clone(), "sh".to_owned(), "-c".to_owned()]);
    arguments.extend([install.to_owned(), workload.to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = attempt("podman", &arguments).unwrap();
    if output.status.code() == Some(9) {
        return not_run(
            test,
            &format!("pip cannot install numpy here: {}", text(&output)),
        );
    }
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "[(0, True), (1, True), (2, True), (3, True)]");
}

#[test]
fn an_image_passes_cpythons_own_tests() {
    let test = "an_image_passes_cpythons_own_tests";
    let Some(folder) = built(test) else { return };
    let Some(image) = Loaded::new(test, folder) else {
        return;
    };
    // The image has no tests: they come from the source that it was built from.
    let sources = folder.join("cache/gilbuild/sources");
    let archive = fs_err::read_dir(sources)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".tar.xz"))
        .unwrap();
    let unpacked = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .args(["--strip-components=2", "--wildcards", "--extract", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(unpacked.path())
        .arg("*/Lib/test")
        .status();
    assert!(status.unwrap().success());
    let tests = unpacked.path().join("test");
    let volume = format!(
        "--volume={}:/usr/local/lib/python3.13/test:ro",
        tests.display()
    );
    // Two tests of test_ctypes look for libraries by means of gcc and ld, and fail without them in official slim images as well. They
    // are installed for the tests, in the container only.
    let script = "
{ apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev; } >/tmp/apt.log 2>&1 || { tail /tmp/apt.log; exit 9; }
exec python -B -m test test_ssl test_sqlite3 test_ctypes test_venv";
    let run = [
        "run",
        "--rm",
        "--network=host",
        &volume,
        &image.0,
        "sh",
        "-c",
        script,
    ];
    let output = attempt("podman", &run).unwrap();
    if output.status.code() == Some(9) {
        return not_run(test, &format!("gcc cannot be installed: {}", text(&output)));
    }
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("Result: SUCCESS"),
        "{}",
        text(&output)
    );
}
