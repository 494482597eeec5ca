//! Layers and archives that want out of the folder they are unpacked into, or want too much.

#![expect(
    clippy::unwrap_used,
    reason = "what a test needs and does not get is a failure"
)]

use std::path::Path;

use gil_containers::archive::open_oci_archive;
use gil_containers::docker_archive::open_docker_archive;
use gil_containers::image::{Image, LayerOptions};
use gil_containers::layer::{Compression, LayerReader, Limits, Snapshot, UnpackError, unpack};
use gil_containers::layout::Layout;
use gil_containers::platform::Platform;
use tar::{EntryType, Header};

/// An archive's entry, with its name as it is: the tar crate itself refuses to write what these tests need.
struct Forged {
    name: &'static str,
    kind: EntryType,
    link: &'static str,
    content: &'static str,
}

fn file(name: &'static str, content: &'static str) -> Forged {
    Forged {
        name,
        kind: EntryType::Regular,
        link: "",
        content,
    }
}

fn link(name: &'static str, link: &'static str) -> Forged {
    Forged {
        name,
        kind: EntryType::Symlink,
        link,
        content: "",
    }
}

fn folder(name: &'static str) -> Forged {
    Forged {
        name,
        kind: EntryType::Directory,
        link: "",
        content: "",
    }
}

fn archive(entries: &[Forged]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(entry.content.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        gnu.linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        if matches!(entry.kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(8).unwrap();
            header.set_device_minor(0).unwrap();
        }
        header.set_cksum();
        archive.append(&header, entry.content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn unpack_bytes(bytes: &[u8], root: &Path) -> Result<(), UnpackError> {
    let reader = LayerReader::new(bytes, Limits::default())?;
    unpack(reader, root).map(drop)
}

/// A folder `root` beside a file `victim`, to see what is touched outside of the root.
fn arena() -> tempfile::TempDir {
    let arena = tempfile::tempdir().unwrap();
    fs_err::create_dir(arena.path().join("root")).unwrap();
    fs_err::create_dir(arena.path().join("outside")).unwrap();
    fs_err::write(arena.path().join("outside/victim"), "untouched").unwrap();
    arena
}

fn untouched(arena: &tempfile::TempDir) {
    let outside = Snapshot::of(&arena.path().join("outside")).unwrap();
    let other = self::arena();
    assert_eq!(
        outside,
        Snapshot::of(&other.path().join("outside")).unwrap()
    );
    let mut names: Vec<_> = fs_err::read_dir(arena.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["outside", "root"]);
}

#[test]
fn paths_out_of_the_root_are_refused_by_name() {
    let hard_link = |link| Forged {
        name: "link",
        kind: EntryType::Link,
        link,
        content: "",
    };
    let device = |kind| Forged {
        name: "dev/sda",
        kind,
        link: "",
        content: "",
    };
    let cases = [
        (
            file("../outside/victim", "owned"),
            "`../outside/victim` climbs out",
        ),
        (file("a/../../outside/victim", "owned"), "climbs out"),
        (file("/etc/passwd", "owned"), "`/etc/passwd` is absolute"),
        (
            hard_link("../outside/victim"),
            "`../outside/victim`, which climbs out",
        ),
        (hard_link("/etc/passwd"), "`/etc/passwd`, which is absolute"),
        (file("../outside/.wh.victim", ""), "climbs out"),
        (file(".wh...", ""), "whiteout of no file"),
        (
            device(EntryType::Block),
            "`dev/sda` is the block device 8:0",
        ),
        (
            device(EntryType::Char),
            "`dev/sda` is the character device 8:0",
        ),
    ];
    for (entry, said) in cases {
        let arena = arena();
        let bytes = archive(&[folder("a"), entry]);
        let error = unpack_bytes(&bytes, &arena.path().join("root")).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        untouched(&arena);
    }
}

#[test]
fn links_lead_nowhere_but_into_the_root() {
    let arena = arena();
    let root = arena.path().join("root");
    // Each link points out of the root; then something is written, linked or removed through it.
    let outside = "../../../../../../../../../../../../../../..";
    let bytes = archive(&[
        link("absolute", "/outside"),
        link("relative", outside),
        folder("outside"),
        file("absolute/victim", "inside"),
        file("relative/etc/mine", "inside"),
        file("absolute/.wh.nothing", ""),
        link("file", "/outside/new"),
        file("file", "replaces the link"),
    ]);
    unpack_bytes(&bytes, &root).unwrap();
    untouched(&arena);
    let read = |name: &str| fs_err::read_to_string(root.join(name)).unwrap();
    assert_eq!(read("outside/victim"), "inside");
    assert_eq!(read("etc/mine"), "inside");
    assert_eq!(read("file"), "replaces the link");
    assert!(root.join("file").symlink_metadata().unwrap().is_file());
    assert!(!root.join("outside/new").exists());
}

#[test]
fn whiteouts_through_a_link_remove_nothing_outside() {
    let arena = arena();
    let root = arena.path().join("root");
    let target: &'static str = Box::leak(
        arena
            .path()
            .join("outside")
            .to_str()
            .unwrap()
            .to_owned()
            .into_boxed_str(),
    );
    let bytes = archive(&[
        link("exit", target),
        file("exit/.wh.victim", ""),
        file("exit/.wh..wh..opq", ""),
    ]);
    unpack_bytes(&bytes, &root).unwrap();
    untouched(&arena);
}

#[test]
fn whiteouts_remove_what_lower_layers_have_and_only_that() {
    let arena = arena();
    let root = arena.path().join("root");
    let lower = archive(&[
        folder("etc"),
        file("etc/motd", "x"),
        file("etc/hosts", "x"),
        folder("var"),
        folder("var/old"),
        file("var/old/file", "x"),
        file("var/file", "x"),
    ]);
    let upper = archive(&[
        file("etc/.wh.motd", ""),
        file("var/new", "kept"),
        file("var/.wh..wh..opq", ""),
    ]);
    unpack_bytes(&lower, &root).unwrap();
    unpack_bytes(&upper, &root).unwrap();
    let there = |name: &str| root.join(name).exists();
    assert!(there("etc/hosts") && !there("etc/motd"));
    assert!(there("var/new") && !there("var/old") && !there("var/file"));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_written() {
    let arena = arena();
    let root = arena.path().join("root");
    let bytes = archive(&[file("a", "0123456789"), file("b", "0123456789")]);
    for (limits, said) in [
        (
            Limits {
                bytes: 1000,
                entries: 10,
            },
            "larger than 1000 bytes",
        ),
        (
            Limits {
                bytes: 1 << 20,
                entries: 1,
            },
            "larger than 1 entries",
        ),
    ] {
        let reader = LayerReader::new(&bytes[..], limits).unwrap();
        let error = unpack(reader, &root).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    // A name of many megabytes, which would have to be held in memory.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(64 << 20);
    header.set_cksum();
    let mut bomb = header.as_bytes().to_vec();
    bomb.resize(bomb.len() + (64 << 20), b'a');
    let error = unpack_bytes(&bomb, &root).unwrap_err();
    assert!(error.to_string().contains("extension header"), "{error}");
}

#[test]
fn a_layer_that_is_cut_off_or_garbage_is_an_error() {
    let arena = arena();
    let root = arena.path().join("root");
    let whole = archive(&[file("a", "0123456789")]);
    for bytes in [
        &whole[..700],
        b"no archive at all, but text",
        &[0x1f, 0x8b, 0, 1, 2, 3],
    ] {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().max(520), b'x');
        let error = unpack_bytes(&bytes, &root).unwrap_err();
        assert!(
            error.to_string().contains("cannot be read")
                || error.to_string().contains("cannot unpack"),
            "{error}"
        );
    }
}

#[test]
fn an_archive_with_foreign_files_is_refused() {
    for entry in [
        file("etc/passwd", "x"),
        file("blobs/sha256/short", "x"),
        link("index.json", "/etc/passwd"),
    ] {
        let arena = arena();
        let path = arena.path().join("root/archive.tar");
        fs_err::write(&path, archive(&[entry])).unwrap();
        let error = open_oci_archive(&path, &arena.path().join("root/layout")).unwrap_err();
        assert!(error.to_string().contains("does not belong"), "{error}");
        untouched(&arena);
    }
}

#[test]
fn an_archive_of_docker_that_lies_is_refused() {
    let manifest = |entry: &'static str| file("manifest.json", entry);
    let of_layer = r#"[{"Config": "c.json", "RepoTags": null, "Layers": ["a/layer.tar"]}]"#;
    let of_outside = r#"[{"Config": "c.json", "Layers": ["../../etc/passwd"]}]"#;
    let configuration =
        r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}"#;
    for (entries, reason) in [
        (
            vec![file("c.json", configuration)],
            "has no `manifest.json`",
        ),
        (vec![manifest(of_layer)], "has no `c.json`"),
        (
            vec![manifest(of_outside), file("c.json", configuration)],
            "has no `../../etc/passwd`",
        ),
        (
            vec![link("a/layer.tar", "/etc/passwd"), manifest(of_layer)],
            "does not belong",
        ),
        (
            vec![link("a/layer.tar", "../b/layer.tar"), manifest(of_layer)],
            "does not belong",
        ),
        (
            vec![
                manifest(of_layer),
                file("c.json", configuration),
                file("a/layer.tar", "x"),
            ],
            "has 1 layers and its configuration 0",
        ),
        (vec![file("manifest.json", "[{}]")], "manifest.json"),
    ] {
        let arena = arena();
        let root = arena.path().join("root");
        let path = root.join("archive.tar");
        fs_err::write(&path, archive(&entries)).unwrap();
        let layout = Layout::create(&root.join("layout")).unwrap();
        let files = root.join("files");
        fs_err::create_dir(&files).unwrap();
        let platform = Platform::host();
        let error = open_docker_archive(&path, None, &files, &layout, &platform).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        untouched(&arena);
    }
}

#[test]
fn a_corrupt_blob_is_named_and_not_used() {
    let arena = arena();
    let root = arena.path().join("root");
    fs_err::write(root.join("file"), "x").unwrap();
    let layout = Layout::create(&arena.path().join("layout")).unwrap();
    let changes = Snapshot::empty().changes_to(&Snapshot::of(&root).unwrap());
    let mut image = Image::empty(&Platform::host());
    let options = LayerOptions {
        newest_s: 0,
        compression: Compression::Gzip,
        created_by: "test".to_owned(),
    };
    let layer = image.add_layer(&layout, &root, &changes, &options).unwrap();
    let blob = layout
        .folder()
        .join("blobs/sha256")
        .join(layer.digest.hex());
    let mut bytes = fs_err::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&blob, bytes).unwrap();
    let target = arena.path().join("target");
    fs_err::create_dir(&target).unwrap();
    let error = image.unpack(&layout, &target).unwrap_err();
    assert!(
        error.to_string().contains(&layer.digest.to_string()),
        "{error}"
    );
    assert!(fs_err::read_dir(&target).unwrap().next().is_none());

    fs_err::remove_file(&blob).unwrap();
    let error = image.unpack(&layout, &target).unwrap_err();
    assert!(error.to_string().contains("lacks the blob"), "{error}");
}
