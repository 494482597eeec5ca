//! The Python package `gilprobe`, which comes with an image: its files, laid beside CPython's source to be compiled and installed there.

use std::io;
use std::path::Path;

use gil_containers::digest::Digest;

/// Where it lies in the source tree.
pub(super) const FOLDER: &str = "gilprobe";

/// What installs it, in that folder: `containers/install-gilprobe`, for gilbuild's own engine and for the Containerfile.
pub(super) const INSTALL: &str = "gilprobe/install-gilprobe";

/// Each file, by its place in that folder.
const FILES: [(&str, &str); 22] = [
    (
        "install-gilprobe",
        include_str!("../../../containers/install-gilprobe"),
    ),
    (
        "include/gil_note.h",
        include_str!("../../../probes/include/gil_note.h"),
    ),
    (
        "include/gil_spans.h",
        include_str!("../../../probes/include/gil_spans.h"),
    ),
    (
        "pyproject.toml",
        include_str!("../../../probes/python/pyproject.toml"),
    ),
    (
        "core/identifier.c",
        include_str!("../../../probes/python/core/identifier.c"),
    ),
    (
        "core/module.c",
        include_str!("../../../probes/python/core/module.c"),
    ),
    (
        "core/span.c",
        include_str!("../../../probes/python/core/span.c"),
    ),
    (
        "core/span.h",
        include_str!("../../../probes/python/core/span.h"),
    ),
    (
        "core/steps.c",
        include_str!("../../../probes/python/core/steps.c"),
    ),
    (
        "core/steps.h",
        include_str!("../../../probes/python/core/steps.h"),
    ),
    (
        "core/tracer.c",
        include_str!("../../../probes/python/core/tracer.c"),
    ),
    (
        "core/tracer.h",
        include_str!("../../../probes/python/core/tracer.h"),
    ),
    (
        "src/gilprobe/__init__.py",
        include_str!("../../../probes/python/src/gilprobe/__init__.py"),
    ),
    (
        "src/gilprobe/_core.py",
        include_str!("../../../probes/python/src/gilprobe/_core.py"),
    ),
    (
        "src/gilprobe/_gilprobe.pyi",
        include_str!("../../../probes/python/src/gilprobe/_gilprobe.pyi"),
    ),
    (
        "src/gilprobe/_install.py",
        include_str!("../../../probes/python/src/gilprobe/_install.py"),
    ),
    (
        "src/gilprobe/_traceparent.py",
        include_str!("../../../probes/python/src/gilprobe/_traceparent.py"),
    ),
    (
        "src/gilprobe/_without_markers.py",
        include_str!("../../../probes/python/src/gilprobe/_without_markers.py"),
    ),
    (
        "src/gilprobe/asgi.py",
        include_str!("../../../probes/python/src/gilprobe/asgi.py"),
    ),
    (
        "src/gilprobe/opentelemetry.py",
        include_str!("../../../probes/python/src/gilprobe/opentelemetry.py"),
    ),
    (
        "src/gilprobe/py.typed",
        include_str!("../../../probes/python/src/gilprobe/py.typed"),
    ),
    (
        "src/gilprobe/wsgi.py",
        include_str!("../../../probes/python/src/gilprobe/wsgi.py"),
    ),
];

/// Of all its files: what was built with another one is not what is wanted.
pub(super) fn digest() -> Digest {
    let all: Vec<String> = FILES
        .iter()
        .map(|(name, text)| format!("{name}\0{text}\0"))
        .collect();
    Digest::of(all.concat().as_bytes())
}

/// Writes the package's files below a source tree.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(tree: &Path) -> io::Result<()> {
    let folder = tree.join(FOLDER);
    for (name, text) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_package_is_left_out() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../probes/python");
        for folder in ["core", "src/gilprobe"] {
            for entry in fs_err::read_dir(package.join(folder)).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                // What Python and a compiler leave there.
                let is_source = [".c", ".h", ".py", ".pyi", ".typed"]
                    .iter()
                    .any(|end| name.ends_with(end));
                if is_source {
                    assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
                }
            }
        }
    }
}
