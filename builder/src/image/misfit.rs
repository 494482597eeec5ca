//! Why an image's interpreter cannot be exchanged for one that is built here from CPython's own source.

use std::path::{Path, PathBuf};

use gil_containers::root::Root;
use gil_probes::check::check;

use super::survey::Found;

/// A reason against it. `--force` tries it nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It is for another processor.
    #[error("it is for {0}, and this machine is not")]
    Architecture(String),
    /// Its C library is not glibc.
    #[error("its C library is musl ({0}): it is built here with glibc")]
    Musl(String),
    /// Its program loads no libraries.
    #[error("its program is linked statically: extension modules are part of it and would be lost")]
    Static,
    /// It belongs to the distribution.
    #[error(
        "{} is the distribution's own Python, which has patches that CPython's source has not: install the application on an image of `gilbuild image`",
        .0.display()
    )]
    Distribution(PathBuf),
    /// It was configured with files that are not in the image.
    #[error(
        "it was configured with {0}, which is not in the image: it cannot be built again as it was"
    )]
    Foreign(String),
    /// There is nothing to do.
    #[error("it has GIL markers already: `gilbuild verify` shows them")]
    Marked,
}

/// The prefix that belongs to distributions.
const DISTRIBUTION: &str = "/usr";

/// All reasons against it.
#[must_use]
pub fn misfits(root: &Root, found: &Found) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    let architecture = format!("{:?}", found.code_elf.architecture).to_lowercase();
    if architecture != std::env::consts::ARCH {
        misfits.push(Misfit::Architecture(architecture));
    }
    match &found.program_elf.loader {
        None => misfits.push(Misfit::Static),
        Some(loader) if loader.contains("ld-musl") => misfits.push(Misfit::Musl(loader.clone())),
        Some(_) => {}
    }
    if found.prefix == Path::new(DISTRIBUTION) {
        misfits.push(Misfit::Distribution(found.program.clone()));
    }
    let foreign = found
        .configure
        .iter()
        .find(|argument| is_foreign(root, found, argument));
    misfits.extend(foreign.cloned().map(Misfit::Foreign));
    if !check(&found.code_elf).found.is_empty() {
        misfits.push(Misfit::Marked);
    }
    misfits
}

/// Whether an argument names a file that neither the image has nor the installation made.
fn is_foreign(root: &Root, found: &Found, argument: &str) -> bool {
    let Some((_, value)) = argument.split_once('=') else {
        return false;
    };
    let path = Path::new(value);
    path.is_absolute()
        && !value.contains(char::is_whitespace)
        && !path.starts_with(&found.prefix)
        && root.find(path).is_err()
}
