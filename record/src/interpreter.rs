//! The Python interpreter in a process: which of its mapped files carries the GIL markers, and which version it is.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use gil_probes::{catalogue, elf};

use crate::loader;
use crate::maps::{self, MappedFile};
use crate::version;

/// The smallest part of a file that is mapped.
const PAGE: u64 = 4096;

/// An interpreter with GIL markers, mapped into a process.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// The process, as this machine numbers it here.
    pub pid: u32,
    /// The file that carries the markers, as the process names it: `…/libpython3.13.so.1.0` or `…/python3.13`.
    pub file: PathBuf,
    /// The path under which that file opens from here: through `/proc/PID/root`, or `/proc/PID/map_files` when deleted.
    pub reachable: PathBuf,
    /// Whether it is a free-threaded build, which may do without a GIL.
    pub free_threaded: bool,
    /// Its version, `3.13.5`; `3.13` or `None` when the file does not tell.
    pub version: Option<String>,
    /// The build id of that file, in hexadecimal.
    pub build_id: Option<String>,
    identity: (String, u64),
    semaphore_offset: Option<u64>,
}

impl Interpreter {
    /// The same interpreter in a process that was forked from this one.
    pub(crate) fn in_child(&self, pid: u32) -> Self {
        let here = format!("/proc/{}", self.pid);
        let reachable = match self.reachable.strip_prefix(here) {
            Ok(rest) => PathBuf::from(format!("/proc/{pid}")).join(rest),
            Err(_) => self.reachable.clone(),
        };
        Self {
            pid,
            reachable,
            ..self.clone()
        }
    }

    /// What its file is on this machine: two paths that lead to one file have the same.
    pub(crate) fn file_key(&self) -> Option<(u64, u64)> {
        file_key(&self.reachable)
    }

    /// Whether the file is no longer, or no longer the same, at its path.
    pub(crate) fn is_deleted(&self) -> bool {
        self.reachable
            .starts_with(format!("/proc/{}/map_files", self.pid))
    }

    /// Whether the dynamic linker is done with the file, as far as markers are concerned.
    ///
    /// The kernel counts a tracer in the first writable mapping that holds the semaphore's place in the file. While a program
    /// starts that may be none, or two: segments share a page of the file, and the first of them only becomes read-only
    /// (RELRO) when the relocations are done. Whoever attaches before counts in the wrong copy, and the markers stay off.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(offset) = self.semaphore_offset else {
            return true;
        };
        let files = maps::mapped_files(self.pid).unwrap_or_default();
        let file = files.iter().find(|file| file.identity == self.identity);
        let holds_it = |file: &MappedFile| {
            let parts = file.writable.iter();
            parts.filter(|part| part.contains(&offset)).count()
        };
        file.is_some_and(|file| holds_it(file) == 1)
    }
}

/// What a look at a process found.
#[derive(Clone, Debug)]
pub enum Found {
    /// An interpreter with markers.
    Interpreter(Interpreter),
    /// A Python, but without markers: its file.
    WithoutMarkers(PathBuf),
    /// A Python that this user may not read: its file.
    Closed(PathBuf),
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
    markers: HashMap<(String, u64), Option<Markers>>,
    /// The same by device and inode, for files that are not mapped yet.
    at_exec: HashMap<(u64, u64), Option<Markers>>,
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
            .any(|file| !self.markers.contains_key(&file.identity))
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
            if let Some(markers) = self.markers(file) {
                return Ok(Found::Interpreter(interpreter(pid, file, markers)));
            }
        }
        if breadth == Breadth::Everything {
            for file in others.into_iter().filter(|file| file.executable) {
                if let Some(markers) = self.markers(file) {
                    return Ok(Found::Interpreter(interpreter(pid, file, markers)));
                }
            }
        }
        // libpython rather than the executable: that is where the markers would be.
        let named = likely.iter().filter(|file| is_python(file));
        let without = named.max_by_key(|file| file.name().starts_with("libpython"));
        Ok(without.map_or(Found::NotPython, |file| {
            let opened = fs::File::open(&file.reachable);
            if opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                Found::Closed(file.path.clone())
            } else {
                Found::WithoutMarkers(file.path.clone())
            }
        }))
    }

    /// The interpreter of a program that process `pid` has just started and not run an instruction of: its executable, or the
    /// libpython that it will load. `None` also where the markers cannot be attached to yet.
    pub(crate) fn look_at_exec(&mut self, pid: u32) -> Option<Interpreter> {
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let files = std::iter::once(executable.clone()).chain(loader::libpythons(pid, &executable));
        for path in files {
            let reachable = maps::under_root(pid, &path);
            let key = file_key(&reachable)?;
            let markers = self
                .at_exec
                .entry(key)
                .or_insert_with(|| read_markers(&reachable))
                .clone();
            if let Some(markers) = markers {
                let file = MappedFile {
                    path,
                    reachable,
                    identity: (String::new(), 0),
                    executable: true,
                    writable: Vec::new(),
                };
                return markers
                    .has_one_place
                    .then(|| interpreter(pid, &file, markers));
            }
        }
        None
    }

    fn markers(&mut self, file: &MappedFile) -> Option<Markers> {
        self.markers
            .entry(file.identity.clone())
            .or_insert_with(|| read_markers(&file.reachable))
            .clone()
    }
}

/// One marker is enough for the question "is this it?"; `gilbuild verify` checks all of them.
fn read_markers(file: &Path) -> Option<Markers> {
    let image = elf::read(file).ok()?;
    let is_drop =
        |note: &&elf::Note| note.provider == catalogue::PROVIDER && note.name == "gil__drop";
    let note = image.notes.iter().find(is_drop)?;
    let semaphore_offset = (note.semaphore != 0)
        .then(|| image.file_offset(note.semaphore))
        .flatten();
    let holds_it = |segment: &&elf::Segment| {
        let end = segment.offset.saturating_add(segment.size);
        let pages = segment.offset & !(PAGE - 1)..end.next_multiple_of(PAGE);
        segment.writable && semaphore_offset.is_some_and(|offset| pages.contains(&offset))
    };
    Some(Markers {
        free_threaded: image.free_threaded,
        semaphore_offset,
        has_one_place: semaphore_offset.is_none()
            || image.segments.iter().filter(holds_it).count() == 1,
        build_id: image.build_id,
    })
}

fn file_key(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// What is known of a file with markers.
#[derive(Clone, Debug)]
struct Markers {
    build_id: Option<String>,
    free_threaded: bool,
    semaphore_offset: Option<u64>,
    /// Only one part of the file that is mapped to be written to holds the semaphore, so that a tracer may attach before it is mapped
    /// (see [`Interpreter::is_settled`]).
    has_one_place: bool,
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

fn interpreter(pid: u32, file: &MappedFile, markers: Markers) -> Interpreter {
    Interpreter {
        pid,
        file: file.path.clone(),
        reachable: file.reachable.clone(),
        free_threaded: markers.free_threaded,
        version: version::python_version(&file.reachable, &file.name())
            .ok()
            .flatten(),
        build_id: markers.build_id,
        identity: file.identity.clone(),
        semaphore_offset: markers.semaphore_offset,
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
