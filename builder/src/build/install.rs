//! From a compiled tree to an installed prefix: staged beside its place, moved there when it is complete.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::compile::Compilation;
use super::log::{Log, LogError};
use crate::terminal::Progress;

/// The names that official images give the programs, beside the versioned ones.
const LINKS: [(&str, &str); 4] = [
    ("idle", "idle3"),
    ("pydoc", "pydoc3"),
    ("python", "python3"),
    ("python-config", "python3-config"),
];

/// An image keeps no compiled Python files, and to make three of each takes long: the program that would make them is told (it
/// takes options since 3.12) to say only how it is used.
const UNCOMPILED: &str = "COMPILEALL_OPTS=--help";

/// Installs a compiled tree below `staging` and returns the prefix as it stands there.
///
/// # Errors
/// When `make install` fails or a file cannot be written.
pub fn stage(
    compilation: &Compilation<'_>,
    staging: &Path,
    log: &mut Log,
) -> Result<PathBuf, LogError> {
    let progress = Progress::start("Installing", &compilation.prefix.display().to_string());
    let mut make = compilation.make();
    let destination = compilation.workshop.path(staging);
    make.arg(format!("DESTDIR={}", destination.display()))
        .arg("install");
    if !compilation.workshop.makes_movable() {
        make.arg(UNCOMPILED);
    }
    log.run("install", &mut make, |_| {})?;
    let below = compilation
        .prefix
        .strip_prefix("/")
        .unwrap_or(compilation.prefix);
    let staged = staging.join(below);
    remove_static_archives(&staged)?;
    add_links(&staged.join("bin"))?;
    if compilation.workshop.makes_movable() {
        free_scripts_from_prefix(&staged.join("bin"), compilation.prefix)?;
    }
    progress.finish();
    Ok(staged)
}

/// With a shared libpython, the static one is 60 MB that nobody links.
fn remove_static_archives(prefix: &Path) -> std::io::Result<()> {
    for entry in walkdir::WalkDir::new(prefix.join("lib")) {
        let entry = entry?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|end| end == "a") {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn add_links(bin: &Path) -> std::io::Result<()> {
    for (link, target) in LINKS {
        if bin.join(target).exists() && !bin.join(link).exists() {
            symlink(target, bin.join(link))?;
        }
    }
    Ok(())
}

/// Scripts name their interpreter by its full path, which is wrong once the prefix is moved. They are made to look for it
/// beside themselves: `sh` runs the first line and Python takes it for a string.
fn free_scripts_from_prefix(bin: &Path, prefix: &Path) -> std::io::Result<()> {
    let own = format!("#!{}/bin/", prefix.display());
    for entry in fs_err::read_dir(bin)? {
        let path = entry?.path();
        if path.is_symlink() || !path.is_file() {
            continue;
        }
        let bytes = fs_err::read(&path)?;
        let Some(rest) = bytes.strip_prefix(own.as_bytes()) else {
            continue;
        };
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            continue;
        };
        let interpreter = String::from_utf8_lossy(&rest[..end]);
        if !interpreter.starts_with("python") {
            continue;
        }
        let mut script = format!(
            "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")/{interpreter}\" \"$0\" \"$@\"\n' '''\n"
        )
        .into_bytes();
        script.extend_from_slice(&rest[end + 1..]);
        fs_err::write(&path, script)?;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
