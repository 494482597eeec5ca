//! Compiles what fires markers, and reads the constants of the marker contract out of the C headers, which are their one home.

fn main() {
    println!("cargo::rerun-if-changed=include");
    #[cfg(feature = "read")]
    {
        read_constants();
        compile_firing_program();
    }
}

#[cfg(feature = "read")]
fn read_constants() {
    let constants = bindgen::Builder::default()
        .headers(["include/gil_markers.h", "include/gil_spans.h"])
        .clang_arg("-D_GNU_SOURCE")
        .allowlist_var("GIL_(MARKERS|SPANS)_[A-Z_]*[A-Z]")
        .allowlist_type("none")
        .generate_cstr(true)
        .generate()
        .unwrap_or_else(|error| panic!("bindgen could not read the headers: {error}"));
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    constants
        .write_to_file(out.join("contract.rs"))
        .unwrap_or_else(|error| panic!("cannot write the constants of the headers: {error}"));
}

/// The C side of `gil-fire-c`, linked into that binary alone: elsewhere its markers would not belong.
#[cfg(feature = "read")]
fn compile_firing_program() {
    let source = "src/fire/fire.c";
    println!("cargo::rerun-if-changed={source}");
    let objects = cc::Build::new()
        .file(source)
        .include("include")
        .std("gnu11")
        .warnings_into_errors(true)
        .cargo_warnings(false)
        .compile_intermediates();
    // rustc has the linker drop sections that nobody refers to, and with them the one that tells where the notes belong.
    println!("cargo::rustc-link-arg-bin=gil-fire-c=-Wl,--no-gc-sections");
    for object in objects {
        println!("cargo::rustc-link-arg-bin=gil-fire-c={}", object.display());
    }
}
