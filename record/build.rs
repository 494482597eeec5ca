//! Compiles the eBPF programs of the native recorder, which are carried inside of the binary.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/native/kernel.h");
    println!("cargo::rerun-if-changed=src/native/place.h");
    println!("cargo::rerun-if-changed=src/native/stack.h");
    println!("cargo::rerun-if-changed=src/native/text.h");
    println!("cargo::rerun-if-env-changed=CLANG");
    for name in ["gil", "follow", "sample", "stall", "tell"] {
        compile(name);
    }
}

fn compile(name: &str) {
    let source = format!("src/native/{name}.bpf.c");
    println!("cargo::rerun-if-changed={source}");
    // libbpf's own headers, from the crate that links it.
    let libbpf =
        std::env::var_os("DEP_BPF_INCLUDE").expect("libbpf-sys says where its headers are");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let status = Command::new(&clang)
        // -g: without BTF the program would fit one kernel only. v3: atomic additions that return a value.
        .args([
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-c", &source,
        ])
        .arg("-I")
        .arg(libbpf)
        .arg("-o")
        .arg(out.join(format!("{name}.bpf.o")))
        .status()
        .unwrap_or_else(|error| {
            panic!(
                "cannot run {}: {error}; install clang, or name it in CLANG",
                clang.display()
            )
        });
    assert!(
        status.success(),
        "clang could not compile {source}: {status}"
    );
}
