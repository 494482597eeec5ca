//! The Python interpreter in a process: which of its mapped files carries the GIL markers, and which version it is.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use fs_err as fs;
use gil_probes::{catalogue, elf};

use crate::maps::{self, MappedFile};
use crate::version;

/// An interpreter with GIL markers, mapped into a process.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// The process, as this machine numbers it here.
    pub pid: u32,
    /// The file that carries the markers, as the process names it: `…/libpython3.13.so.1.0` or `…/python3.13`.
    pub file: PathBuf,
    /// The path under which that file opens from here: through `/proc/PID/root`, or `/proc/PID/map_files` when deleted.
    pub reachable: PathBuf,
    /// Its version, `3.13.5`; `3.13` or `None` when the file does not tell.
    pub version: Option<String>,
}

/// What a look at a process found.
#[derive(Clone, Debug)]
pub enum Found {
    /// An interpreter with markers.
    Interpreter(Interpreter),
    /// A Python, but without markers: its file.
    WithoutMarkers(PathBuf),
    /// Nothing that looks like Python.
    NotPython,
}

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breadth {
    /// The executable and files that are named like Python.
    Names,
    /// If there is nothing in those: every file with code (a server that embeds Python under another name).
    Everything,
}

/// Looks for interpreters, and remembers which files it has read already: a process that starts is looked at often.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    has_markers: HashMap<(String, u64), bool>,
}

impl Finder {
    /// Whether process `pid` has mapped a file that may be an interpreter and was not read yet. Cheap.
    pub(crate) fn has_news(&self, pid: u32) -> bool {
        let Ok(files) = maps::mapped_files(pid) else {
            return false;
        };
        let (likely, _) = likely_and_others(pid, &files);
        likely
            .iter()
            .any(|file| !self.has_markers.contains_key(&file.identity))
    }

    /// Looks at process `pid` once.
    ///
    /// # Errors
    ///
    /// Those of reading `/proc/PID/maps`. Mapped files that cannot be read or are no ELF files count as without markers.
    pub(crate) fn look(&mut self, pid: u32, breadth: Breadth) -> io::Result<Found> {
        let files = maps::mapped_files(pid)?;
        let (likely, others) = likely_and_others(pid, &files);
        for file in &likely {
            if self.has_markers(file) {
                return Ok(Found::Interpreter(interpreter(pid, file)));
            }
        }
        if breadth == Breadth::Everything {
            for file in others.into_iter().filter(|file| file.executable) {
                if self.has_markers(file) {
                    return Ok(Found::Interpreter(interpreter(pid, file)));
                }
            }
        }
        // libpython rather than the executable: that is where the markers would be.
        let named = likely.iter().filter(|file| is_python(file));
        let without = named.max_by_key(|file| file.name().starts_with("libpython"));
        Ok(without.map_or(Found::NotPython, |file| {
            Found::WithoutMarkers(file.path.clone())
        }))
    }

    fn has_markers(&mut self, file: &MappedFile) -> bool {
        if let Some(&known) = self.has_markers.get(&file.identity) {
            return known;
        }
        let has = elf::read(&file.reachable).is_ok_and(|image| {
            // One marker is enough for the question "is this it?"; `gilbuild verify` checks all of them.
            image
                .notes
                .iter()
                .any(|note| note.provider == catalogue::PROVIDER && note.name == "gil__drop")
        });
        self.has_markers.insert(file.identity.clone(), has);
        has
    }
}

/// Files that an interpreter would be in, and the rest.
fn likely_and_others(pid: u32, files: &[MappedFile]) -> (Vec<&MappedFile>, Vec<&MappedFile>) {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    files
        .iter()
        .partition(|file| is_python(file) || executable.as_ref() == Some(&file.path))
}

/// `python3.13` and `libpython3.13.so.1.0`, but not extension modules, which have `cpython-313` in their names.
fn is_python(file: &MappedFile) -> bool {
    let name = file.name();
    name.starts_with("python") || name.starts_with("libpython")
}

fn interpreter(pid: u32, file: &MappedFile) -> Interpreter {
    Interpreter {
        pid,
        file: file.path.clone(),
        reachable: file.reachable.clone(),
        version: version::python_version(&file.reachable, &file.name())
            .ok()
            .flatten(),
    }
}

/// Looks for an interpreter in the running process `pid`, in every file that it has mapped.
///
/// # Errors
///
/// Those of reading `/proc/PID/maps`: there is no such process, or it belongs to somebody else.
pub fn find(pid: u32) -> io::Result<Found> {
    Finder::default().look(pid, Breadth::Everything)
}
