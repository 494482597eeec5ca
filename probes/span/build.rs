//! Compiles the markers of spans, a library that is linked into whatever uses them.

fn main() {
    let source = "src/markers.c";
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-changed=../include");
    // Without optimisation each marker would cost a debug build what it costs nobody else.
    cc::Build::new()
        .file(source)
        .include("../include")
        .std("gnu11")
        .opt_level(2)
        .flag("-fvisibility=hidden")
        .compile("gil_span_markers");
}
