//! Real sources: Debian's source packages, and the real archives that they hold.
//!
//! What needs Debian's archive is not run where apt-get or the network is missing, and says so.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use gilbuild::build::patching::supported;
use gilbuild::sources::{
    self, Checked, FetchError, FetchOptions, Material, Places, Progress, ProviderName, Request,
    Silent, Source, SourceChoice, Table,
};

fn places(folder: &Path) -> Places {
    Places {
        cache: folder.join("cache"),
        source_folders: None,
        // Nothing listens there, so python.org counts as out of reach, at once.
        python_org: Some("http://127.0.0.1:9".into()),
    }
}

fn fetch(places: &Places, wanted: &str, source: SourceChoice) -> Result<Source, FetchError> {
    let request = Request::parse(wanted, &supported()).unwrap();
    let options = FetchOptions {
        source,
        sha256: None,
        supported: &supported(),
    };
    sources::fetch_from(places, &request, &options, &mut Silent)
}

/// Whether it is this machine, not gilbuild, that cannot have it; then it says so on stderr.
fn is_out_of_reach(error: &FetchError) -> bool {
    let FetchError::NoneServes { wanted, refusals } = error else {
        return false;
    };
    let refusal = refusals.last().unwrap();
    assert_eq!(refusal.provider, ProviderName::Debian);
    let reason = refusal.reason.to_string();
    let is_machine = ["on this machine", "knows no archive", "cannot be reached"]
        .iter()
        .any(|part| reason.contains(part));
    if is_machine {
        gil_tests::not_run(&format!("{wanted} from Debian"), &reason);
    }
    is_machine
}

fn unless_out_of_reach(outcome: Result<Source, FetchError>) -> Option<Source> {
    match outcome {
        Ok(source) => Some(source),
        Err(error) if is_out_of_reach(&error) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Byte counts never go back within a step, and end at the total.
#[derive(Default)]
struct Watching {
    steps: Vec<String>,
    last: u64,
    total: Option<u64>,
}

impl Progress for Watching {
    fn step(&mut self, description: &str) {
        self.steps.push(description.to_owned());
        self.last = 0;
    }

    fn bytes(&mut self, done: u64, total: Option<u64>) {
        assert!(done >= self.last);
        self.last = done;
        self.total = total;
    }
}

#[test]
fn debian_serves_3_13_5_as_upstream_released_it() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    let outcome = fetch(&places, "3.13.5", SourceChoice::Auto);
    let Some(source) = unless_out_of_reach(outcome) else {
        return;
    };
    assert_eq!(source.provider, ProviderName::Debian);
    let refused: Vec<_> = source
        .refusals
        .iter()
        .map(|refusal| refusal.provider)
        .collect();
    assert_eq!(
        refused,
        [
            ProviderName::Local,
            ProviderName::Cache,
            ProviderName::PythonOrg
        ]
    );
    let table = Table::bundled().unwrap();
    let known = table.release(source.version).unwrap().tar_xz.unwrap();
    let Material::Archive {
        path,
        sha256,
        checked,
    } = &source.material
    else {
        panic!("a folder");
    };
    assert_eq!((*sha256, *checked), (known.sha256, Checked::Table));
    assert_eq!(Some(std::fs::metadata(path).unwrap().len()), known.size);

    // The second build needs no network.
    let again = fetch(&places, "3.13", SourceChoice::Auto).unwrap();
    assert_eq!(
        (again.provider, again.version),
        (ProviderName::Cache, source.version)
    );

    let mut watching = Watching::default();
    let destination = folder.path().join("work/tree");
    let tree = sources::unpack(&again, &destination, &mut watching).unwrap();
    assert_eq!(tree.version, source.version);
    assert_eq!(Some(watching.last), watching.total);
    assert_eq!(watching.steps.len(), 1);
    assert_same_as_tar(path, &destination);
}

/// GNU tar, an independent unpacker, lays down the same files.
fn assert_same_as_tar(archive: &Path, tree: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .args(["--strip-components=1", "-xf"])
        .arg(archive)
        .arg("-C")
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let status = Command::new("diff")
        .arg("-r")
        .args([folder.path(), tree])
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(listing(folder.path()), listing(tree));
}

/// Path, time and whether it can be executed, of every file.
fn listing(root: &Path) -> BTreeSet<String> {
    let executable = ["-perm", "-100", "-printf", "%P %Ts x\n"];
    let output = Command::new("find")
        .arg(root)
        .args(["-type", "f", "("])
        .args(executable)
        .args(["-o", "-printf", "%P %Ts\n", ")"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn debian_serves_a_tgz_under_the_sum_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    let outcome = fetch(&places, "3.11", SourceChoice::Debian);
    let Some(source) = unless_out_of_reach(outcome) else {
        return;
    };
    assert_eq!(source.version.to_string(), "3.11.2");
    let Material::Archive { path, checked, .. } = source.material else {
        panic!("a folder");
    };
    assert_eq!(checked, Checked::Table);
    assert_eq!(path, places.cache.join("Python-3.11.2.tgz"));
}

/// No suite ever shipped 3.12.5 in a release: the refusal names what each suite has instead.
#[test]
fn debian_says_what_its_suites_have() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&places(folder.path()), "3.12.5", SourceChoice::Debian).unwrap_err();
    if is_out_of_reach(&error) {
        return;
    }
    let message = error.to_string();
    let start = "debian has no CPython 3.12.5: trixie has no python3.12";
    assert!(message.starts_with(start), "{message}");
    for suite in ["bullseye", "bookworm", "forky", "sid"] {
        assert!(message.contains(&format!("; {suite} ")), "{message}");
    }
    assert!(message.contains("GILBUILD_SOURCE_DIR"), "{message}");
}
