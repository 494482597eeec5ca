//! Application images: the interpreter exchanged and nothing else, taken back again, refused where it cannot work.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gil_containers::configuration::Configuration;
use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::{Compression, Snapshot};
use gil_containers::layout::Layout;
use gil_containers::output::Output as Place;
use gil_containers::platform::Platform;
use gil_tests::containers::{Container, gilbuild_with_kept_caches, tool};
use gil_tests::{gilbuild, long_tests, not_run, prefix, run, text, why_no_tracing};
use serde_json::{Value, json};

fn layer_options() -> LayerOptions {
    LayerOptions {
        newest_s: 1_700_000_000,
        compression: Compression::None,
        created_by: "test".to_owned(),
    }
}

/// An image of what is in a folder.
fn image_of(root: &Path, folder: &Path) -> String {
    let layout = Layout::create(&folder.join("layout")).unwrap();
    let mut image = Image::empty(&Platform::host());
    let all = Snapshot::empty().changes_to(&Snapshot::of(root).unwrap());
    image
        .add_layer(&layout, root, &all, &layer_options())
        .unwrap();
    let archive = format!("oci-archive:{}", folder.join("image.tar").display());
    let place: Place = archive.parse().unwrap();
    place.write(&layout, &image, None).unwrap();
    archive
}

/// The parts of a prefix that tell what it is.
fn copy_parts(prefix: &Path, to: &Path) {
    let script = r#"
cd "$1" && mkdir -p "$2" && cp -a --parents bin/python3 bin/python3.13 lib/libpython3.13.so.1.0 lib/python3.13/_sysconfigdata* "$2"
"#;
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([prefix, to])
        .status();
    assert!(status.unwrap().success());
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs_err::read(file).unwrap();
    change(&mut bytes);
    fs_err::write(file, bytes).unwrap();
}

fn put_onto(image: &str, folder: &Path) -> Output {
    let output = format!("oci:{}", folder.join("out").display());
    run(&["image", "--onto", image, "--output", &output])
}

/// Changes made to a copy of a prefix, where the copy stands in the image, and what is then said.
type Case<'a> = (&'a str, &'a Path, &'a dyn Fn(&Path), &'a str);

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let test = "what_cannot_work_is_refused_with_its_reason";
    let (Some(none), Some(nop)) = (prefix("3.13", "none"), prefix("3.13", "nop")) else {
        return not_run(test, "3.13 was not built: run it by ./dev test");
    };
    let library = "lib/libpython3.13.so.1.0";
    let nothing = |_: &Path| {};
    let musl = |prefix: &Path| {
        change(&prefix.join("bin/python3.13"), |bytes| {
            let old = b"/lib64/ld-linux-x86-64.so.2\0";
            let new = b"/lib/ld-musl-x86_64.so.1\0\0\0\0";
            let place = bytes.windows(old.len()).position(|window| window == old);
            let place = place.unwrap();
            bytes[place..place + new.len()].copy_from_slice(new);
        });
    };
    let without_loader = |prefix: &Path| {
        // A program header of type 3 (PT_INTERP) names the loader; type 0 names nothing.
        change(&prefix.join("bin/python3.13"), |bytes| {
            let header = (64..64 + 56 * 16)
                .step_by(56)
                .find(|at| bytes[*at..at + 4] == [3, 0, 0, 0]);
            bytes[header.unwrap()] = 0;
        });
    };
    // e_machine 183 is AArch64.
    let arm = |prefix: &Path| change(&prefix.join(library), |bytes| bytes[18] = 183);
    let foreign = |prefix: &Path| {
        let module = prefix.join("lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py");
        let variables = fs_err::read_to_string(&module).unwrap();
        let changed = variables.replace("'--with-ensurepip'", "'--with-openssl=/tools/deps'");
        assert_ne!(variables, changed);
        fs_err::write(&module, changed).unwrap();
    };
    let silent = |prefix: &Path| {
        let module = prefix.join("lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py");
        fs_err::write(&module, "build_time_vars = {'CC': 'gcc'}\n").unwrap();
    };
    let local = "usr/local";
    let cases: [Case<'_>; 7] = [
        (local, &nop, &nothing, "has GIL markers already"),
        ("usr", &none, &nothing, "the distribution's own Python"),
        (local, &none, &musl, "its C library is musl"),
        (local, &none, &without_loader, "linked statically"),
        (local, &none, &arm, "it is for aarch64"),
        (
            local,
            &none,
            &foreign,
            "--with-openssl=/tools/deps, which is not in the image",
        ),
        (local, &none, &silent, "has no variable CONFIG_ARGS"),
    ];
    for (place, prefix, change, said) in cases {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let copy = root.join(place);
        copy_parts(prefix, &copy);
        change(&copy);
        let output = put_onto(&image_of(&root, folder.path()), folder.path());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(said), "{said}: {}", text(&output));
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn an_image_without_python_or_without_the_layer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs_err::create_dir_all(root.join("usr/local/bin")).unwrap();
    // Where a link leads out of the image, there is nothing.
    std::os::unix::fs::symlink(
        "../../../../usr/bin/python3",
        root.join("usr/local/bin/python3"),
    )
    .unwrap();
    let image = image_of(&root, folder.path());
    let output = put_onto(&image, folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("no CPython on its PATH"),
        "{}",
        text(&output)
    );
    let output = run(&["image", "revert", &image]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("nothing to take back"),
        "{}",
        text(&output)
    );

    let output = run(&["image", "3.13", "--onto", &image, "--output", "oci:out"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let output = run(&["image", "--onto", &image]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("no place for the image"),
        "{}",
        text(&output)
    );
}

/// What the application answers: it must be the same before and after.
const ANSWER: &str = "
import ctypes, decimal, hashlib, json, lzma, sqlite3, ssl, sys, sysconfig, zlib
rows = sqlite3.connect(':memory:').execute('select sqlite_version(), 6 * 7').fetchall()
print(json.dumps([sys.version_info[:], sys.prefix, sys.path, rows, ssl.OPENSSL_VERSION, hashlib.sha256(b'x').hexdigest(),
    sysconfig.get_config_var('CONFIG_ARGS'), sysconfig.get_config_var('SOABI'), zlib.crc32(b'x'), str(decimal.Decimal(2) / 3),
    [module.__file__ for module in sys.modules.values() if getattr(module, '__file__', None)]]))
";

/// A stock image with an application put onto it, which runs as somebody else than root.
fn application(stock: &Path, folder: &Path) -> Image {
    let from = Layout::open(stock).unwrap();
    let found = from.find(None).unwrap();
    let mut image = Image::load(&from, &found, &Platform::host()).unwrap();
    let layout = Layout::create(&folder.join("application")).unwrap();
    image.copy(&from, &layout).unwrap();
    let root = folder.join("added");
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("../containers/service/service.py");
    fs_err::create_dir_all(root.join("app")).unwrap();
    fs_err::copy(service, root.join("app/service.py")).unwrap();
    fs_err::write(root.join("app/answer.py"), ANSWER).unwrap();
    let added = Snapshot::empty().changes_to(&Snapshot::of(&root).unwrap());
    image
        .add_layer(&layout, &root, &added, &layer_options())
        .unwrap();
    let mut document = Value::Object(image.configuration.as_json().clone());
    document["config"]["User"] = json!("1000:1000");
    document["config"]["Entrypoint"] = json!(["python3", "-B"]);
    document["config"]["Cmd"] = json!(["/app/answer.py"]);
    document["config"]["Labels"]["application"] = json!("service");
    image.configuration = Configuration::parse(document.to_string().as_bytes()).unwrap();
    let descriptor = image.store(&layout).unwrap();
    layout.list(&descriptor, Some("1")).unwrap();
    let archive = format!(
        "docker-archive:{}:gilbuild-test/application:1",
        folder.join("application.tar").display()
    );
    let place: Place = archive.parse().unwrap();
    place.write(&layout, &image, None).unwrap();
    image
}

fn load(layout: &Path) -> Image {
    let layout = Layout::open(layout).unwrap();
    Image::load(&layout, &layout.find(None).unwrap(), &Platform::host()).unwrap()
}

fn unpacked(layout: &Path, to: &Path) -> Snapshot {
    fs_err::create_dir(to).unwrap();
    load(layout)
        .unpack(&Layout::open(layout).unwrap(), to)
        .unwrap();
    Snapshot::of(to).unwrap()
}

/// A configuration without what a new layer adds to it.
fn without_layers(image: &Image) -> Value {
    let mut document = Value::Object(image.configuration.as_json().clone());
    document["history"] = Value::Null;
    document["rootfs"] = Value::Null;
    let labels = document["config"]["Labels"].as_object_mut().unwrap();
    labels.retain(|name, _| !name.starts_with("gilbuild."));
    document
}

#[test]
fn an_application_gets_markers_and_nothing_else_changes() {
    let test = "an_application_gets_markers_and_nothing_else_changes";
    if !long_tests(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let stock = gilbuild_with_kept_caches()
        .args(["image", "3.13", "--optimize", "none", "--markers", "none"])
        .arg(format!("--output=oci:{}", path("stock").display()))
        .output()
        .unwrap();
    if stock.status.code() == Some(3) {
        return not_run(test, &text(&stock));
    }
    assert!(stock.status.success(), "{}", text(&stock));
    let before = application(&path("stock"), folder.path());

    let output = gilbuild_with_kept_caches()
        .args(["image", "--onto"])
        .arg(format!("oci:{}:1", path("application").display()))
        .arg(format!("--output=oci:{}:1", path("marked").display()))
        .arg(format!(
            "--output=docker-archive:{}:gilbuild-test/marked:1",
            path("marked.tar").display()
        ))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let after = load(&path("marked"));

    // One layer more, and the same to do.
    let count = before.layers().len();
    assert_eq!(&after.layers()[..count], before.layers());
    assert_eq!(after.layers().len(), count + 1);
    assert_eq!(without_layers(&after), without_layers(&before));

    // Only what is said differs.
    let changes = unpacked(&path("application"), &path("root-before"))
        .changes_to(&unpacked(&path("marked"), &path("root-after")));
    assert!(changes.removed.is_empty(), "{:?}", changes.removed);
    let (description, replaced): (BTreeSet<_>, BTreeSet<_>) = changes
        .written
        .into_iter()
        .partition(|path| path.starts_with("usr/local/share/gilbuild"));
    // The program only calls the library: built again, it is the same.
    let expected = ["usr/local/lib/libpython3.13.so.1.0"];
    assert_eq!(replaced, expected.map(PathBuf::from).into());
    for path in expected {
        assert!(
            text(&output).contains(&format!("Replaced /{path}")),
            "{}",
            text(&output)
        );
    }
    for path in description {
        // What the stock image had of it, as build.json, is another one now.
        let verbs = ["Added", "Replaced"].map(|verb| format!("{verb} /{}", path.display()));
        assert!(
            verbs.iter().any(|said| text(&output).contains(said)),
            "{path:?}"
        );
    }
    let verified = run(&["verify", &format!("oci:{}:1", path("marked").display())]);
    assert!(verified.status.success(), "{}", text(&verified));

    // And back.
    let reverted = run(&[
        "image",
        "revert",
        &format!("oci:{}:1", path("marked").display()),
        &format!("--output=oci:{}:1", path("reverted").display()),
    ]);
    assert!(reverted.status.success(), "{}", text(&reverted));
    let layer = after.layers()[count].digest().to_string();
    assert!(text(&reverted).contains(&layer), "{}", text(&reverted));
    let digest = |layout: &str| {
        let found = Layout::open(&path(layout)).unwrap().find(None).unwrap();
        found.digest().to_string()
    };
    assert_eq!(digest("reverted"), digest("application"));

    answers_and_is_recorded(test, folder.path());
}

/// Both images are started; the new one is recorded from outside.
fn answers_and_is_recorded(test: &str, folder: &Path) {
    let archive = |name: &str| folder.join(name).display().to_string();
    let names = ["gilbuild-test/application:1", "gilbuild-test/marked:1"];
    for file in ["application.tar", "marked.tar"] {
        if tool(test, "podman", &["load", "--input", &archive(file)]).is_none() {
            return;
        }
    }
    let [before, after] =
        names.map(|name| tool(test, "podman", &["run", "--rm", "--network=none", name]).unwrap());
    assert_eq!(before, after);
    assert!(after.contains("[3, 13, "), "{after}");

    if let Some(reason) = why_no_tracing() {
        return not_run(test, &reason);
    }
    let service = ["--network=none", names[1], "/app/service.py", "--threads=3"];
    let container = Container::start(test, &service).unwrap();
    let trace = archive("container.trace");
    // Each thread of a pool begins when there is something to do for it.
    let ask = "
import threading, time, urllib.request
def ask():
    urllib.request.urlopen('http://127.0.0.1:8000/').read()
end = time.monotonic() + 60
while True:
    try:
        ask()
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.1)
threads = [threading.Thread(target=lambda: [ask() for _ in range(100)]) for _ in range(3)]
[thread.start() for thread in threads]
print('it answers', flush=True)";
    let mut load = Command::new("nsenter")
        .args(["--net", "--target", &container.pid()])
        .args(["python3", "-c", ask])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = String::new();
    BufReader::new(load.stdout.take().unwrap())
        .read_line(&mut answers)
        .unwrap();
    assert_eq!(answers, "it answers\n", "{}", container.log());
    let recorded = Command::new(gilbuild())
        .args([
            "record",
            "--pid",
            &container.pid(),
            "--duration=3s",
            "-o",
            &trace,
        ])
        .output()
        .unwrap();
    assert!(recorded.status.success(), "{}", text(&recorded));
    let _ = load.wait();
    let report = run(&["report", &trace]);
    assert!(report.status.success(), "{}", text(&report));
    for name in ["worker_0", "worker_1", "worker_2"] {
        assert!(text(&report).contains(name), "{name}: {}", text(&report));
    }
    drop(container);
    for name in names {
        let _ = tool(test, "podman", &["rmi", name]);
    }
}
