//! Compiles the headers the way CPython and extension modules are compiled and holds the result against the contract.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use gil_probes::check::{Fault, Nop, check, check_spans};
use gil_probes::elf;

const PROGRAM: &str = r#"
#include "gil_names.h"
static int gil;
void take(void);
void drop(void);
void take(void) {
    gil_markers_claim(&gil, 1, &gil);
    gil_markers_wait();
    gil_markers_drop_request(&gil);
    gil_markers_acquired(&gil);
}
void drop(void) {
    gil_markers_yield();
    gil_markers_drop(&gil, &gil);
    gil_markers_forked();
    gil_markers_name_thread(1, 2, "three");
}
"#;

/// What else a free-threaded CPython calls, and the name that it exports.
const FREE_THREADED: &str = r"
int _Py_DecRefShared(int mutex);
int _Py_DecRefShared(int mutex) {
    GIL_MARKERS_WAITING(waiting, &gil, 0);
    gil_markers_park(&waiting);
    gil_markers_parked(&waiting, 1);
    if (mutex) {
        return 1;
    }
    return 2;
}
void stop(void);
void stop(void) {
    gil_markers_stw_begin(1);
    gil_markers_stw_stopped(1);
    gil_markers_stw_end(1);
    gil_markers_stw_stopped(0);
    gil_markers_abandoned();
}
";

/// What an extension module calls.
const SPANS: &str = r#"
#include "gil_spans.h"
void work(const char *name, size_t length);
void work(const char *name, size_t length) {
    char bounded[GIL_MARKERS_TEXT_BYTES + 1], trace[GIL_SPANS_TRACE_DIGITS + 1];
    if (gil_spans_enabled()) {
        gil_spans_name(bounded, name, length);
        gil_spans_trace(trace, (const unsigned char *)"0123456789abcdef");
        gil_spans_fire_begin(trace, 1, bounded, 0);
        gil_spans_fire_switch(1);
        gil_spans_fire_end(trace, 1, bounded);
    }
}
"#;

fn compile(folder: &Path, source: &str, flags: &[&str]) -> PathBuf {
    let input = folder.join("markers.c");
    let output = folder.join("markers.so");
    fs_err::write(&input, source).unwrap();
    let done = Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-D_GNU_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .arg(format!("-I{}/include", env!("CARGO_MANIFEST_DIR")))
        .args(flags)
        .arg("-o")
        .args([&output, &input])
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    output
}

fn faults(source: &str, flags: &[&str]) -> (Vec<Fault>, Option<Nop>) {
    let folder = tempfile::tempdir().unwrap();
    let outcome = check(&elf::read(&compile(folder.path(), source, flags)).unwrap());
    (outcome.faults.clone(), outcome.nop())
}

#[test]
fn the_header_keeps_its_contract_under_every_optimisation() {
    for flags in [
        ["-O0"].as_slice(),
        &["-O2"],
        &["-O3", "-flto"],
        &["-O2", "-fno-omit-frame-pointer", "-g", "-Wl,--strip-all"],
    ] {
        assert_eq!(
            faults(PROGRAM, flags),
            (vec![], Some(Nop::One)),
            "{flags:?}"
        );
    }
}

#[test]
fn a_free_threaded_interpreter_has_more_markers() {
    let whole = format!("{PROGRAM}{FREE_THREADED}");
    for flags in [["-O0"].as_slice(), &["-O2"], &["-O3", "-flto"]] {
        assert_eq!(faults(&whole, flags), (vec![], Some(Nop::One)), "{flags:?}");
    }
    let source = whole.replace("gil_markers_stw_end(1);", "");
    assert_eq!(faults(&source, &["-O2"]).0, [Fault::Missing("stw__end")]);
    // Without what says that it is free-threaded, nobody misses them.
    let source = source.replace("_Py_DecRefShared", "something_else");
    assert_eq!(faults(&source, &["-O2"]).0, []);
}

#[test]
fn markers_of_spans_keep_their_contract_in_an_extension_module() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [
        ["-O0"].as_slice(),
        &["-O2"],
        &["-O3", "-flto"],
        &[
            "-O2",
            "-ffunction-sections",
            "-Wl,--gc-sections,--strip-all",
        ],
    ] {
        let image = elf::read(&compile(folder.path(), SPANS, flags)).unwrap();
        let outcome = check_spans(&image);
        assert_eq!(outcome.faults, [], "{flags:?}");
        assert_eq!(outcome.nop(), Some(Nop::One), "{flags:?}");
        assert_eq!(check(&image).faults, [Fault::NoMarkers], "{flags:?}");
    }
    let without = SPANS.replace("gil_spans_fire_switch(1);", "");
    let image = elf::read(&compile(folder.path(), &without, &["-O2"])).unwrap();
    assert_eq!(check_spans(&image).faults, [Fault::Missing("span__switch")]);
}

#[test]
fn five_byte_nops_without_a_red_zone() {
    let flags = ["-O2", "-DGIL_MARKERS_NOP5", "-mno-red-zone"];
    assert_eq!(faults(PROGRAM, &flags), (vec![], Some(Nop::Five)));
}

#[test]
fn five_byte_nops_in_a_file_that_cannot_be_checked() {
    let flags = [
        "-O2",
        "-DGIL_MARKERS_NOP5",
        "-mno-red-zone",
        "-Wl,--strip-all",
    ];
    let (faults, _) = faults(PROGRAM, &flags);
    assert_eq!(faults.len(), 7, "{faults:?}");
    assert!(matches!(faults[0], Fault::RedZoneUnknown("gil__claim")));
}

#[test]
fn a_marker_that_is_missing_is_named() {
    let source = PROGRAM.replace("gil_markers_drop(&gil, &gil);", "");
    // A drop says where it is, and the first one that it does.
    assert_eq!(
        faults(&source, &["-O2"]).0,
        [
            Fault::Missing("gil__drop"),
            Fault::Missing("gil__functions"),
            Fault::Missing("gil__location"),
        ]
    );
}

#[test]
fn a_file_without_markers() {
    assert_eq!(faults("int nothing;", &["-O2"]).0, [Fault::NoMarkers]);
}

/// Notes as a header gone wrong would write them.
fn note(name: &str, arguments: &str, base: &str, semaphore: &str) -> String {
    format!(
        r#"
__attribute__((section(".probes"), used)) unsigned short sema, semb;
__attribute__((used)) static void fire_{name}(void) {{
    __asm__ volatile("771: nop\n.pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n"
        ".4byte 773f-772f, 775f-774f, 3\n772: .asciz \"stapsdt\"\n773: .balign 4\n774: .8byte 771b\n"
        ".8byte {base}\n.8byte {semaphore}\n.asciz \"python\"\n.asciz \"{name}\"\n.asciz \"{arguments}\"\n"
        "775: .balign 4\n.popsection\n");
}}"#
    )
}

#[test]
fn every_way_to_break_a_note_is_found() {
    let good = "8@%rdi 8@%rsi 8@%rdx 8@$0 8@$0 8@$0 8@$0";
    for (note, expected) in [
        (
            note("gil__claim", "8@%rdi 8@%rsi", "771b", "sema"),
            "gil__claim has 2 arguments, the contract says 7",
        ),
        (
            note("gil__claim", "8@%rdi 8@%fs:0 8@%rdx", "771b", "sema"),
            "gil__claim: argument tid (8@%fs:0) is not in a plain register, stack slot or constant",
        ),
        (
            note("gil__claim", "8@%rdi nonsense 8@%rdx", "771b", "sema"),
            "gil__claim: argument tid (nonsense) is not in a plain register, stack slot or constant",
        ),
        (
            note("gil__claim", good, "0", "sema"),
            "gil__claim: the base address is 0",
        ),
        (
            note("gil__claim", good, "771b", "0"),
            "gil__claim: its semaphore 0x0 is not in writable memory of the file",
        ),
        (
            note("gil__claim", good, "771b", "0x7fffffff"),
            "gil__claim: its semaphore 0x7fffffff is not in writable memory of the file",
        ),
    ] {
        let (faults, _) = faults(&note, &["-O1"]);
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(texts.iter().any(|text| text == expected), "{texts:#?}");
    }
    let two = format!(
        "{}{}",
        note("gil__claim", good, "771b", "sema"),
        note("gil__acquired", "8@%rdi 8@%rsi 8@%rdx 8@$0", "771b", "semb")
            .lines()
            .filter(|line| !line.contains("unsigned short"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let (faults, _) = faults(&two, &["-O1"]);
    assert!(faults.contains(&Fault::SemaphoreNotShared {
        name: "gil__acquired",
        first: "gil__claim"
    }));
    let (faults, _) = self::faults(&two.replace("gil__acquired", "gil__functions"), &["-O1"]);
    assert!(
        !faults
            .iter()
            .any(|fault| matches!(fault, Fault::SemaphoreShared { .. }))
    );
    let one = two.replace("gil__acquired", "gil__functions");
    let (faults, _) = self::faults(
        &one.replace("semb)", "sema)")
            .replace(".8byte semb", ".8byte sema"),
        &["-O1"],
    );
    assert!(faults.contains(&Fault::SemaphoreShared {
        name: "gil__functions",
        other: "gil__claim"
    }));
}

#[test]
fn what_is_not_an_elf_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for content in [
        b"".as_slice(),
        b"#!/bin/sh\n",
        b"\x7fELF\x02\x01\x01",
        &[0x7f; 4096],
    ] {
        fs_err::write(&path, content).unwrap();
        let error = elf::read(&path).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
    assert!(elf::read(folder.path()).is_err(), "a folder");
    assert!(elf::read(Path::new("/nonexistent")).is_err());
}

#[test]
fn damaged_files_are_refused_or_read_but_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs_err::read(compile(folder.path(), PROGRAM, &["-O2"])).unwrap();
    let path = folder.path().join("damaged");
    let mut state = 0x9e37_79b9_u32;
    for round in 0..400 {
        let mut bytes = whole.clone();
        if round % 4 == 0 {
            bytes.truncate(bytes.len() * (round + 1) / 400);
        }
        for _ in 0..round % 17 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        fs_err::write(&path, &bytes).unwrap();
        if let Ok(image) = elf::read(&path) {
            let _ = check(&image);
        }
    }
}
