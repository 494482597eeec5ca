//! The Python package `gilprobe`, which comes with an image: its files, laid beside CPython's source to be compiled and installed there.

use std::io;
use std::path::Path;

use gil_containers::digest::Digest;

/// What installs it, below the source tree: `containers/install-gilprobe`, for gilbuild's own engine and for the Containerfile.
pub(super) const INSTALL: &str = "gilprobe/install-gilprobe";

/// Where it lies in the source tree.
const FOLDER: &str = "gilprobe";

/// Files of a folder of the project, by their places in both.
macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../", $folder, "/", $name)))),*]
    };
}

/// Each file, by its place in that folder.
const FILES: [&[(&str, &str)]; 3] = [
    files!("containers": "install-gilprobe"),
    files!("probes": "include/gil_note.h", "include/gil_spans.h"),
    files!(
        "probes/python":
        "pyproject.toml",
        "core/identifier.c",
        "core/module.c",
        "core/span.c",
        "core/span.h",
        "core/steps.c",
        "core/steps.h",
        "core/tracer.c",
        "core/tracer.h",
        "src/gilprobe/__init__.py",
        "src/gilprobe/_core.py",
        "src/gilprobe/_gilprobe.pyi",
        "src/gilprobe/_install.py",
        "src/gilprobe/_traceparent.py",
        "src/gilprobe/_without_markers.py",
        "src/gilprobe/asgi.py",
        "src/gilprobe/opentelemetry.py",
        "src/gilprobe/py.typed",
        "src/gilprobe/wsgi.py",
    ),
];

/// Of all its files: what was built with another one is not what is wanted.
pub(super) fn digest() -> Digest {
    let all: Vec<String> = FILES
        .into_iter()
        .flatten()
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
    for (name, text) in FILES.into_iter().flatten() {
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
                    let mut known = FILES.into_iter().flatten();
                    assert!(known.any(|(known, _)| *known == name), "{name}");
                }
            }
        }
    }
}
