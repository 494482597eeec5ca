//! Which libpython the dynamic linker will load into a program that has just been started, by the rules of ld.so(8).

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _};
use object::{Endianness, ReadCache, elf};

use crate::maps;

/// Where the linker looks by itself. What /etc/ld.so.cache adds is not read: a library found there is attached to once it is mapped.
const DEFAULTS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/lib64",
    "/usr/lib64",
    "/usr/lib",
];
/// More entries than this are not read.
const MOST_ENTRIES: usize = 4096;

/// What an executable says about its libraries.
#[derive(Debug, Default)]
struct Needs {
    libpythons: Vec<String>,
    rpath: Vec<String>,
    runpath: Vec<String>,
}

/// The files of libpython that `executable` in process `pid` needs, as the process names them, where they can be found.
pub(crate) fn libpythons(pid: u32, executable: &Path) -> Vec<PathBuf> {
    let Some(needs) = needs(&maps::under_root(pid, executable)) else {
        return Vec::new();
    };
    let origin = executable.parent().unwrap_or(Path::new("/"));
    let mut folders: Vec<PathBuf> = Vec::new();
    if needs.runpath.is_empty() {
        folders.extend(expand(&needs.rpath, origin));
    }
    folders.extend(library_path(pid));
    folders.extend(expand(&needs.runpath, origin));
    folders.extend(DEFAULTS.map(PathBuf::from));
    needs
        .libpythons
        .iter()
        .filter_map(|name| {
            let mut paths = folders.iter().map(|folder| folder.join(name));
            paths.find(|path| maps::under_root(pid, path).is_file())
        })
        .collect()
}

fn expand<'a>(folders: &'a [String], origin: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    let origin = origin.to_string_lossy();
    folders.iter().map(move |folder| {
        let folder = folder.replace("${ORIGIN}", &origin);
        PathBuf::from(folder.replace("$ORIGIN", &origin))
    })
}

/// `LD_LIBRARY_PATH` of a process.
fn library_path(pid: u32) -> Vec<PathBuf> {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let value = environment
        .split(|&byte| byte == 0)
        .find_map(|variable| variable.strip_prefix(b"LD_LIBRARY_PATH="));
    let Some(value) = value else {
        return Vec::new();
    };
    std::env::split_paths(&OsString::from_vec(value.to_vec()))
        .filter(|path| path.as_os_str().as_bytes().starts_with(b"/"))
        .collect()
}

fn needs(file: &Path) -> Option<Needs> {
    let cache = ReadCache::new(File::open(file).ok()?);
    let object = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    let endian = object.endian();
    let sections = object.elf_header().sections(endian, &cache).ok()?;
    let (entries, strings) = sections.dynamic(endian, &cache).ok()??;
    let strings = sections.strings(endian, &cache, strings).ok()?;
    let mut needs = Needs::default();
    for entry in entries.iter().take(MOST_ENTRIES) {
        let text = || {
            let text = entry.string(endian, strings).ok()?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let folders = |text: String| text.split(':').map(str::to_owned).collect::<Vec<_>>();
        match entry.d_tag(endian) {
            elf::DT_NEEDED => needs
                .libpythons
                .extend(text().filter(|name| name.starts_with("libpython"))),
            elf::DT_RPATH => needs.rpath.extend(text().map(folders).unwrap_or_default()),
            elf::DT_RUNPATH => needs
                .runpath
                .extend(text().map(folders).unwrap_or_default()),
            _ => {}
        }
    }
    Some(needs)
}
