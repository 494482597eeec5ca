//! Archives made by hand, each wrong in one way.

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;
use crate::sources::progress::Silent;

const LIMITS: Limits = Limits {
    bytes: 100_000,
    entries: 50,
    path_bytes: 300,
};

struct Maker {
    bytes: Vec<u8>,
}

impl Maker {
    fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Writes the name into the header's bytes: the crate's own methods refuse what is wanted here.
    fn entry(
        mut self,
        name: &str,
        kind: EntryType,
        link: &str,
        content: &[u8],
        claimed: u64,
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(claimed);
        header.set_mode(0o6755);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, "", content, content.len() as u64)
    }

    fn link(self, name: &str, kind: EntryType, target: &str) -> Self {
        self.entry(name, kind, target, b"", 0)
    }

    fn raw(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    fn unpack(&self) -> (TempDir, Result<(), ExtractError>) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.raw()).unwrap();
        unpack_bytes(&encoder.finish().unwrap())
    }

    fn refused(&self) -> Hostile {
        let (folder, outcome) = self.unpack();
        assert!(!folder.path().join("outside").exists());
        match outcome {
            Err(ExtractError::Hostile { reason, .. }) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn unpack_bytes(packed: &[u8]) -> (TempDir, Result<(), ExtractError>) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("Python-3.13.5.tgz");
    fs_err::write(&archive, packed).unwrap();
    let into = folder.path().join("into");
    fs_err::create_dir(&into).unwrap();
    let outcome = extract(&archive, &into, LIMITS, &mut Silent);
    (folder, outcome)
}

#[test]
fn a_good_archive_loses_its_top_folder_and_keeps_times() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, outcome) = Maker::new()
        .entry("P/", EntryType::Directory, "", b"", 0)
        .file("P/configure", b"#!/bin/sh\n")
        .file("./P/a/b.c", b"int b;")
        .link("P/hard", EntryType::Link, "P/a/b.c")
        .link("P/a/soft", EntryType::Symlink, "../configure")
        .unpack();
    outcome.unwrap();
    let into = folder.path().join("into");
    let metadata = fs_err::metadata(into.join("configure")).unwrap();
    assert_eq!(
        metadata.permissions().mode() & 0o7777,
        0o755,
        "no setuid bit survives"
    );
    assert_eq!(
        metadata.modified().unwrap(),
        UNIX_EPOCH + Duration::from_secs(1_000_000_000)
    );
    assert_eq!(fs_err::read(into.join("a/b.c")).unwrap(), b"int b;");
    assert_eq!(fs_err::read(into.join("hard")).unwrap(), b"int b;");
    assert_eq!(fs_err::read(into.join("a/soft")).unwrap(), b"#!/bin/sh\n");
    fs_err::write(into.join("hard"), "changed").unwrap();
    assert_eq!(
        fs_err::read(into.join("a/b.c")).unwrap(),
        b"int b;",
        "hard links become copies"
    );
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let long = format!("P/{}", "d/".repeat(60) + "file.c");
    let named = |kind, content: Vec<u8>| {
        let size = content.len() as u64;
        Maker::new()
            .entry("long", kind, "", &content, size)
            .file("P/short", b"x")
            .unpack()
    };
    let record = format!("path={long}\n");
    let record = format!("{} {record}", record.len() + 4);
    for (kind, content) in [
        (EntryType::GNULongName, (long.clone() + "\0").into_bytes()),
        (EntryType::XHeader, record.into_bytes()),
    ] {
        let (folder, outcome) = named(kind, content);
        outcome.unwrap();
        let into = folder.path().join("into");
        assert!(
            into.join(long.strip_prefix("P/").unwrap()).is_file(),
            "{kind:?}"
        );
    }
}

#[test]
fn paths_that_leave_are_refused() {
    for name in [
        "/outside",
        "../outside",
        "P/../../outside",
        "P/a/../../../outside",
        "P/a/../b",
    ] {
        assert!(
            matches!(Maker::new().file(name, b"x").refused(), Hostile::Path(_)),
            "{name}"
        );
    }
    let long = b"P/../../outside\0";
    let reason = Maker::new()
        .entry("long", EntryType::GNULongName, "", long, long.len() as u64)
        .file("P/innocent", b"x")
        .refused();
    assert!(matches!(reason, Hostile::Path(_)));
}

#[test]
fn links_that_leave_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link] {
        for target in [
            "/etc/passwd",
            "../outside",
            "../../outside",
            "a/../../../outside",
        ] {
            let reason = Maker::new().link("P/link", kind, target).refused();
            assert!(
                matches!(reason, Hostile::Link { .. }),
                "{kind:?} {target}: {reason:?}"
            );
        }
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let (folder, outcome) = Maker::new()
        .link("P/a", EntryType::Symlink, "b")
        .file("P/a/file", b"x")
        .unpack();
    assert!(
        matches!(outcome, Err(ExtractError::Write { .. })),
        "{outcome:?}"
    );
    assert!(!folder.path().join("into/b").exists());
}

#[test]
fn devices_pipes_and_sparse_files_are_refused() {
    for kind in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::Continuous,
    ] {
        let reason = Maker::new().entry("P/device", kind, "", b"", 0).refused();
        assert!(
            matches!(reason, Hostile::Kind { .. }),
            "{kind:?}: {reason:?}"
        );
    }
}

#[test]
fn several_tops_are_refused() {
    let reason = Maker::new().file("P/a", b"x").file("Q/a", b"x").refused();
    assert_eq!(reason, Hostile::Top("Q/a".to_owned()));
    assert!(matches!(
        Maker::new().file("alone", b"x").refused(),
        Hostile::Top(_)
    ));
}

#[test]
fn a_bomb_is_refused_by_what_it_claims_and_by_what_it_holds() {
    let claims = Maker::new().entry("P/bomb", EntryType::Regular, "", b"", 1 << 32);
    assert_eq!(claims.refused(), Hostile::Bytes(LIMITS.bytes));
    let holds = Maker::new().file("P/bomb", &vec![0; 200_000]);
    assert_eq!(holds.refused(), Hostile::Bytes(LIMITS.bytes));
    let mut copies = Maker::new().file("P/0", &vec![1; 40_000]);
    for index in 1..4 {
        copies = copies.link(&format!("P/{index}"), EntryType::Link, "P/0");
    }
    assert_eq!(copies.refused(), Hostile::Bytes(LIMITS.bytes));
    let mut behind = Maker::new().file("P/a", b"x");
    behind.bytes.resize(500_000, 0);
    assert_eq!(behind.refused(), Hostile::Bytes(LIMITS.bytes));
}

#[test]
fn too_many_entries_and_too_long_names_are_refused() {
    let many = (0..60).fold(Maker::new(), |maker, index| {
        maker.file(&format!("P/{index}"), b"")
    });
    assert_eq!(many.refused(), Hostile::Entries(LIMITS.entries));
    for (kind, length) in [
        (EntryType::GNULongName, 400),
        (EntryType::GNULongName, 50_000),
        (EntryType::XHeader, 50_000),
    ] {
        let maker = Maker::new().entry("long", kind, "", &vec![b'a'; length], length as u64);
        let reason = maker.file("P/a", b"x").refused();
        assert!(
            matches!(reason, Hostile::LongPath { .. }),
            "{kind:?} {length}: {reason:?}"
        );
    }
}

#[test]
fn an_empty_archive_is_refused() {
    assert_eq!(Maker::new().refused(), Hostile::Empty);
}

#[test]
fn a_broken_archive_says_so() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(&Maker::new().file("P/a", &[7; 5_000]).raw())
        .unwrap();
    let good = encoder.finish().unwrap();
    let (_folder, outcome) = unpack_bytes(&good);
    outcome.unwrap();
    let cut = &good[..good.len() - 12];
    let mut flipped = good.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    for broken in [cut, &flipped] {
        let (folder, outcome) = unpack_bytes(broken);
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("is corrupt"), "{message}");
        assert!(
            message.contains(folder.path().to_str().unwrap()),
            "{message}"
        );
        assert!(message.contains("get it again"), "{message}");
    }
    let (_folder, outcome) = unpack_bytes(b"<html>not found</html>");
    assert!(matches!(
        outcome,
        Err(ExtractError::Archive(ArchiveError::UnknownPacking { .. }))
    ));
}
