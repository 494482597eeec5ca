//! The chain of providers, with small source archives and a server on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;
use crate::build::patching::supported;
use crate::sources::progress::Silent;
use crate::sources::source::Checked;
use crate::sources::unpack::{UnpackError, unpack};

const VERSION: &str = "3.12.5";

struct Fixture {
    folder: TempDir,
    places: Places,
    table: Table,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Nothing listens on the discard port: whoever asks python.org here is refused at once.
        let places = Places {
            cache: folder.path().join("cache"),
            source_folders: None,
            python_org: Some("http://127.0.0.1:9".into()),
        };
        Self {
            folder,
            places,
            table: Table::default(),
        }
    }

    /// Makes the sum of these bytes the known one for the release's .tgz.
    fn know(&mut self, version: &str, bytes: &[u8]) {
        let sum = Sha256::of_reader(bytes).unwrap();
        let text = format!(
            "[[release]]\nversion = \"{version}\"\nfrom = \"a test\"\ntgz = {{ sha256 = \"{sum}\" }}\n"
        );
        self.table = Table::parse(&text).unwrap();
    }

    fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, bytes).unwrap();
        path
    }

    fn offer(&mut self, folder: &str) {
        self.places.source_folders = Some(self.folder.path().join(folder).into());
    }

    fn serve(&mut self, bytes: Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.places.python_org = Some(format!("http://{}", listener.local_addr().unwrap()).into());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines();
                lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .for_each(drop);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    bytes.len()
                );
                let _ = stream.write_all(&[head.as_bytes(), &bytes].concat());
            }
        });
    }

    fn fetch(
        &self,
        wanted: &str,
        source: SourceChoice,
        sha256: Option<Sha256>,
    ) -> Result<Source, FetchError> {
        let request = Request::parse(wanted, &supported()).unwrap();
        let options = FetchOptions {
            source,
            sha256,
            supported: &supported(),
        };
        let job = Job {
            wanted: &request.wanted,
            given: options.sha256,
            table: &self.table,
            cache: &Cache::new(self.places.cache.clone()),
        };
        let mut providers = providers(&self.places, &options);
        // What Debian answers depends on the machine and the network: the integration tests ask it.
        providers.retain(|provider| provider.name() != ProviderName::Debian);
        ask_in_turn(&providers, &job, &options, &mut Silent)
    }

    fn refused(&self, wanted: &str, source: SourceChoice) -> String {
        self.fetch(wanted, source, None).unwrap_err().to_string()
    }
}

/// A tree of two files, packed as upstream packs.
fn archive(version: &str, filler: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let patchlevel = format!("#define PY_VERSION \"{version}\"\n");
    for (name, content) in [("configure", filler), ("Include/patchlevel.h", &patchlevel)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(
                &mut header,
                format!("Python-{version}/{name}"),
                content.as_bytes(),
            )
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn sum(bytes: &[u8]) -> Sha256 {
    Sha256::of_reader(bytes).unwrap()
}

fn checked(source: &Source) -> Checked {
    match source.material {
        Material::Archive { checked, .. } => checked,
        Material::Folder(_) => panic!("a folder"),
    }
}

#[test]
fn python_org_serves_then_the_cache_and_each_says_who_refused() {
    let mut fixture = Fixture::new();
    let bytes = archive(VERSION, "x");
    fixture.know(VERSION, &bytes);
    fixture.serve(bytes);
    let source = fixture.fetch("3.12", SourceChoice::Auto, None).unwrap();
    assert_eq!(source.provider, ProviderName::PythonOrg);
    assert!(
        source
            .origin
            .ends_with("/ftp/python/3.12.5/Python-3.12.5.tgz"),
        "{}",
        source.origin
    );
    let refusals: Vec<String> = source.refusals.iter().map(ToString::to_string).collect();
    assert_eq!(refusals[0], "local: GILBUILD_SOURCE_DIR is not set");
    assert!(
        refusals[1].starts_with("cache: nothing fitting in"),
        "{}",
        refusals[1]
    );

    fixture.places.python_org = Some("http://127.0.0.1:9".into());
    let source = fixture.fetch("3.12.5", SourceChoice::Auto, None).unwrap();
    assert_eq!(
        (source.provider, checked(&source)),
        (ProviderName::Cache, Checked::Table)
    );
    let destination = fixture.folder.path().join("tree");
    let tree = unpack(&source, &destination, &mut Silent).unwrap();
    assert_eq!(tree.version.to_string(), VERSION);
    assert_eq!(fs_err::read(destination.join("configure")).unwrap(), b"x");
}

#[test]
fn a_broken_cached_file_is_removed_and_fetched_again() {
    let mut fixture = Fixture::new();
    let bytes = archive(VERSION, "x");
    fixture.know(VERSION, &bytes);
    let cached = fixture.write("cache/Python-3.12.5.tgz", b"broken");
    let message = fixture.refused("3.12.5", SourceChoice::Auto);
    assert!(
        message.contains("wrong SHA-256 and was removed"),
        "{message}"
    );
    assert!(!cached.exists());
    fixture.write("cache/Python-3.12.5.tgz", b"broken");
    fixture.serve(bytes.clone());
    let source = fixture.fetch("3.12.5", SourceChoice::Auto, None).unwrap();
    assert_eq!(source.provider, ProviderName::PythonOrg);
    let refusal = source.refusals[1].to_string();
    assert!(
        refusal.contains("wrong SHA-256 and was removed"),
        "{refusal}"
    );
    assert_eq!(fs_err::read(cached).unwrap(), bytes);
}

#[test]
fn a_release_outside_of_the_table_needs_its_sum() {
    let mut fixture = Fixture::new();
    let bytes = archive(VERSION, "x");
    fixture.serve(bytes.clone());
    let message = fixture.refused("3.12.5", SourceChoice::PythonOrg);
    assert!(
        message
            .contains("the table does not know 3.12.5; give the sum of its .tar.xz with --sha256"),
        "{message}"
    );
    let source = fixture
        .fetch("3.12.5", SourceChoice::PythonOrg, Some(sum(&bytes)))
        .unwrap();
    assert_eq!(checked(&source), Checked::Given);
    assert!(source.origin.ends_with(".tar.xz"));
    // From now on the cache vouches for it.
    let source = fixture.fetch("3.12.5", SourceChoice::Auto, None).unwrap();
    assert_eq!(
        (source.provider, checked(&source)),
        (ProviderName::Cache, Checked::Kept)
    );

    let wrong = Some(sum(b"other"));
    let message = fixture
        .fetch("3.12.5", SourceChoice::PythonOrg, wrong)
        .unwrap_err()
        .to_string();
    assert!(message.contains("expected is"), "{message}");
    assert!(
        fixture.fetch("3.12.5", SourceChoice::Auto, None).is_ok(),
        "a wrong --sha256 costs the cache nothing"
    );
}

#[test]
fn a_sum_must_belong_to_one_known_archive() {
    let mut fixture = Fixture::new();
    let error = fixture
        .fetch("3.12", SourceChoice::Auto, Some(sum(b"x")))
        .unwrap_err();
    assert!(matches!(error, FetchError::SumOfSeries(_)), "{error}");
    fixture.know(VERSION, b"x");
    fixture.table = Table::bundled().unwrap();
    let error = fixture
        .fetch("3.12.5", SourceChoice::Auto, Some(sum(b"y")))
        .unwrap_err();
    assert!(matches!(error, FetchError::SumOfKnown { .. }), "{error}");
}

#[test]
fn folders_on_the_machine_come_first_and_the_newest_release_in_them() {
    let mut fixture = Fixture::new();
    fixture.write("here/Python-3.12.4.tgz", &archive("3.12.4", "x"));
    fixture.write(
        "here/python3.12_3.12.5.orig.tar.gz",
        &archive("3.12.5", "x"),
    );
    fixture.write("here/Python-3.12.6rc1.tgz", &archive("3.12.6rc1", "x"));
    fixture.write("here/Python-3.13.0.tgz", &archive("3.13.0", "x"));
    fixture.offer("here");
    let served = |wanted| fixture.fetch(wanted, SourceChoice::Auto, None).unwrap();
    let source = served("3.12");
    assert_eq!(
        (source.version.to_string().as_str(), checked(&source)),
        ("3.12.5", Checked::Nothing)
    );
    assert_eq!(source.provider, ProviderName::Local);
    assert_eq!(served("3.12.4").version.to_string(), "3.12.4");
    assert_eq!(served("3.12.6rc1").version.to_string(), "3.12.6rc1");
}

#[test]
fn a_wrong_sum_in_a_folder_is_refused_but_not_if_the_file_is_named() {
    let mut fixture = Fixture::new();
    let path = fixture.write("here/Python-3.12.5.tgz", &archive(VERSION, "repacked"));
    fixture.know(VERSION, &archive(VERSION, "original"));
    fixture.offer("here");
    let message = fixture.refused("3.12.5", SourceChoice::Auto);
    assert!(
        message.contains("name it with --source if it is meant to differ"),
        "{message}"
    );
    let source = fixture
        .fetch("3.12", SourceChoice::Path(path.clone()), None)
        .unwrap();
    assert_eq!(checked(&source), Checked::Nothing);
    let given = Some(sum(&archive(VERSION, "repacked")));
    let source = fixture
        .fetch("3.12", SourceChoice::Path(path.clone()), given)
        .unwrap();
    assert_eq!(checked(&source), Checked::Given);
    let wrong = Some(sum(b"other"));
    let message = fixture
        .fetch("3.12", SourceChoice::Path(path), wrong)
        .unwrap_err()
        .to_string();
    assert!(message.contains("not"), "{message}");
}

#[test]
fn a_named_tree_is_copied_and_never_changed() {
    let fixture = Fixture::new();
    let tree = fixture.write(
        "tree/Include/patchlevel.h",
        b"#define PY_VERSION \"3.12.5+\"\n",
    );
    let root = tree.parent().unwrap().parent().unwrap().to_owned();
    for (wanted, choice) in [
        ("3.12", SourceChoice::Path(root.clone())),
        (root.to_str().unwrap(), SourceChoice::Auto),
    ] {
        let source = fixture.fetch(wanted, choice, None).unwrap();
        assert_eq!(source.material, Material::Folder(root.clone()));
        let work = tempfile::tempdir().unwrap();
        let unpacked = unpack(&source, &work.path().join("tree"), &mut Silent).unwrap();
        fs_err::write(unpacked.root.join("Include/patchlevel.h"), "patched").unwrap();
        assert_ne!(fs_err::read(&tree).unwrap(), b"patched");
    }
    let message = fixture.refused("3.11", SourceChoice::Path(root));
    assert!(message.contains("holds CPython 3.12.5"), "{message}");
}

#[test]
fn paths_that_hold_nothing_usable_are_told_plainly() {
    let fixture = Fixture::new();
    let empty = fixture.folder.path().join("empty");
    fs_err::create_dir(&empty).unwrap();
    let message = fixture.refused(empty.to_str().unwrap(), SourceChoice::Auto);
    assert!(
        message.contains("is not a CPython source tree: it has no Include/patchlevel.h"),
        "{message}"
    );
    let message = fixture.refused("3.12", SourceChoice::Path(empty));
    assert!(message.contains("nothing fitting in"), "{message}");
    let missing = fixture.folder.path().join("Python-3.12.5.tar.xz");
    let message = fixture.refused(missing.to_str().unwrap(), SourceChoice::Auto);
    assert!(message.contains("does not exist"), "{message}");
    let broken = fixture.write("Python-3.12.5.tgz", &archive(VERSION, "x")[..60]);
    let message = fixture.refused(broken.to_str().unwrap(), SourceChoice::Auto);
    assert!(message.contains("is corrupt"), "{message}");
    let page = fixture.write("Python-3.12.6.tgz", b"<html>");
    let message = fixture.refused(page.to_str().unwrap(), SourceChoice::Auto);
    assert!(
        message.contains("is neither a .tar.xz nor a .tar.gz archive"),
        "{message}"
    );
    let old = fixture.write("old.tgz", &archive("3.8.20", "x"));
    let message = fixture.refused(old.to_str().unwrap(), SourceChoice::Auto);
    assert!(
        message.contains(
            "CPython 3.8.20 is not supported; supported are 3.9, 3.11, 3.12, 3.13, 3.14 and 3.15"
        ),
        "{message}"
    );
}

#[test]
fn when_all_refuse_each_is_listed_with_the_way_out() {
    let mut fixture = Fixture::new();
    fixture.know("3.12.5", b"x");
    let message = fixture.refused("3.12.5", SourceChoice::Auto);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "no place has CPython 3.12.5:");
    assert_eq!(lines[1], "  local: GILBUILD_SOURCE_DIR is not set");
    assert!(
        lines[2].starts_with("  cache: nothing fitting in `"),
        "{message}"
    );
    assert!(lines[3].starts_with(
        "  python.org: cannot reach http://127.0.0.1:9/ftp/python/3.12.5/Python-3.12.5.tgz: "
    ));
    assert!(
        lines[4].contains("GILBUILD_SOURCE_DIR") && lines[4].contains("--source PATH"),
        "{message}"
    );
}

#[test]
fn what_is_unpacked_must_be_what_was_promised() {
    let mut fixture = Fixture::new();
    fixture.write("here/Python-3.12.5.tgz", &archive("3.12.4", "x"));
    fixture.offer("here");
    let source = fixture.fetch("3.12", SourceChoice::Auto, None).unwrap();
    let destination = fixture.folder.path().join("work/tree");
    let error = unpack(&source, &destination, &mut Silent).unwrap_err();
    assert!(matches!(error, UnpackError::OtherVersion { .. }), "{error}");
    let left: Vec<_> = fs_err::read_dir(destination.parent().unwrap())
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let error = unpack(&source, fixture.folder.path(), &mut Silent).unwrap_err();
    assert!(
        matches!(error, UnpackError::DestinationExists(_)),
        "{error}"
    );
}
