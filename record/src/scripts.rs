//! The bundled SystemTap and bpftrace scripts, inside this program, and how they are laid into a folder.

use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::maps;

/// How the bpftrace scripts name the file when bpftrace is to look for it itself.
pub(crate) const ANY_FILE: &str = "usdt:*:";

/// What runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `stap`, with the tapset.
    Systemtap,
    /// `bpftrace`.
    Bpftrace,
}

/// A bundled script.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// Its file name, `gil-summary.stp`.
    pub name: &'static str,
    /// What runs it.
    pub tool: Tool,
    /// Its text.
    pub text: &'static str,
    /// What it prints: the example file beside it.
    pub example: &'static str,
}

/// A file that scripts need or that explains them, by its path in an export.
#[derive(Debug, Clone, Copy)]
pub struct Companion {
    /// Its path below the folder of its tool, `tapset/gil.stp`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Whether it is a program.
    pub executable: bool,
}

macro_rules! script {
    ($tool:ident, $folder:literal, $stem:literal, $extension:literal) => {
        Script {
            name: concat!($stem, ".", $extension),
            tool: Tool::$tool,
            text: include_str!(concat!("../../", $folder, "/", $stem, ".", $extension)),
            example: include_str!(concat!("../../", $folder, "/", $stem, "_example.txt")),
        }
    };
}

pub(crate) const BPFTRACE_SUMMARY: Script = script!(Bpftrace, "bpftrace", "gil-summary", "bt");
pub(crate) const BPFTRACE_EVENTS: Script = script!(Bpftrace, "bpftrace", "gil-events", "bt");
/// What [`BPFTRACE_EVENTS`] does for the markers of every interpreter, for those that a free-threaded one has besides.
pub(crate) const BPFTRACE_STALLS: Script = script!(Bpftrace, "bpftrace", "gil-stalls", "bt");

/// All scripts, in the order of how much one sees.
pub const SCRIPTS: [Script; 11] = [
    BPFTRACE_SUMMARY,
    script!(Bpftrace, "bpftrace", "gil-top", "bt"),
    script!(Bpftrace, "bpftrace", "gil-slow", "bt"),
    script!(Bpftrace, "bpftrace", "gil-blame", "bt"),
    BPFTRACE_EVENTS,
    BPFTRACE_STALLS,
    script!(Systemtap, "systemtap", "gil-summary", "stp"),
    script!(Systemtap, "systemtap", "gil-top", "stp"),
    script!(Systemtap, "systemtap", "gil-slow", "stp"),
    script!(Systemtap, "systemtap", "gil-blame", "stp"),
    script!(Systemtap, "systemtap", "gil-events", "stp"),
];

/// What the SystemTap scripts need beside them.
pub const SYSTEMTAP_COMPANIONS: [Companion; 2] = [
    Companion {
        path: "tapset/gil.stp",
        text: include_str!("../../systemtap/tapset/gil.stp"),
        executable: false,
    },
    Companion {
        path: "runtime-for",
        text: include_str!("../../systemtap/runtime-for"),
        executable: true,
    },
];

impl Tool {
    /// The folder that its scripts are in.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Systemtap => "systemtap",
            Self::Bpftrace => "bpftrace",
        }
    }
}

impl Script {
    /// The script of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        SCRIPTS.iter().find(|script| script.name == name)
    }

    /// What it is for: the first sentence of its head.
    #[must_use]
    pub fn purpose(&self) -> &'static str {
        let heading = self
            .text
            .lines()
            .find_map(|line| line.strip_prefix(" * ")?.strip_prefix(self.name));
        heading.unwrap_or_default().trim()
    }

    /// Writes a bpftrace script into a folder, pointed at one ELF file: without `-p`, it then watches every process that runs that file.
    /// (SystemTap's take the file as an argument.) Returns its path.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_for(&self, file: &Path, folder: &Path) -> io::Result<PathBuf> {
        let file = plain(file, folder)?;
        let at_file = format!("usdt:{}:", file.display());
        let path = folder.join(self.name);
        write(&path, &self.text.replace(ANY_FILE, &at_file), true)?;
        Ok(path)
    }

    /// The name of its example file in an export.
    #[must_use]
    pub fn example_name(&self) -> String {
        let stem = self.name.split('.').next().unwrap_or(self.name);
        format!("{stem}_example.txt")
    }
}

/// A name of a file that bpftrace takes as it is: a colon or a space would need quoting, which differs between its versions. Where
/// needed it is a link in `folder`.
pub(crate) fn plain(file: &Path, folder: &Path) -> io::Result<PathBuf> {
    if maps::is_plain(file) {
        return Ok(file.to_owned());
    }
    let link = folder.join("python");
    symlink(file, &link)?;
    Ok(link)
}

/// Writes all scripts, with what they need and their examples: `bpftrace/…` and `systemtap/…`.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write_all(folder: &Path) -> io::Result<()> {
    for script in &SCRIPTS {
        let folder = folder.join(script.tool.folder());
        write(&folder.join(script.name), script.text, true)?;
        write(&folder.join(script.example_name()), script.example, false)?;
    }
    let folder = folder.join(Tool::Systemtap.folder());
    for companion in &SYSTEMTAP_COMPANIONS {
        write(
            &folder.join(companion.path),
            companion.text,
            companion.executable,
        )?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, executable: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    if executable {
        fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_opens_with_what_it_is_how_to_run_it_and_what_it_prints() {
        for script in SCRIPTS {
            assert!(
                script.purpose().len() > 20,
                "{}: no purpose: {:?}",
                script.name,
                script.purpose()
            );
            let head = script.text.split("*/").next().unwrap_or_default();
            assert!(
                head.contains(" * USAGE: "),
                "{}: its head does not say how to run it",
                script.name
            );
            let example = head
                .lines()
                .filter(|line| line.starts_with(" *     "))
                .count();
            assert!(example > 5, "{}: its head shows no output", script.name);
            assert!(
                !script.example.trim().is_empty(),
                "{}: its example file is empty",
                script.name
            );
        }
    }
}
