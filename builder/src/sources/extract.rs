//! Unpacks an archive into a folder, trusting nothing in it.
//!
//! The single folder at the archive's top is left out. No link exists while files are written, so that nothing is
//! written through one; symbolic links are made last, and only those that cannot lead out of the tree. Hard links become
//! copies. Names, sizes and counts are bounded, headers included.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use fs_err::File;
use fs_err::os::unix::fs::{OpenOptionsExt, symlink};
use tar::{Entry, EntryType, PaxExtensions};

use super::archive::{self, ArchiveError};
use super::extract_error::{ExtractError, Hostile};
use super::links;
use super::progress::Progress;

/// Bounds on what an archive may unpack to. CPython 3.15: 137 MB, 5,870 entries, paths of 116 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All files together, and the unpacked archive with its headers.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
    /// A path, and a link's target, in bytes.
    pub path_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 * 1024 * 1024 * 1024,
            entries: 200_000,
            path_bytes: 1024,
        }
    }
}

/// Unpacks `archive` into the existing, empty folder `into`.
pub(crate) fn extract(
    archive: &Path,
    into: &Path,
    limits: Limits,
    progress: &mut dyn Progress,
) -> Result<(), ExtractError> {
    let total = fs_err::metadata(archive).map_err(ArchiveError::Open)?.len();
    let packed = Rc::new(Cell::new(0));
    let unpacked = Rc::new(Cell::new(0));
    let file = Counted {
        inner: File::open(archive).map_err(ArchiveError::Open)?,
        count: Rc::clone(&packed),
        limit: u64::MAX,
    };
    let stream = Counted {
        inner: archive::decode_reader(file, archive)?,
        count: Rc::clone(&unpacked),
        limit: limits.bytes,
    };
    let mut unpacking = Unpacking {
        into,
        limits,
        top: None,
        entries: 0,
        bytes: 0,
        symlinks: Vec::new(),
    };
    let outcome = unpacking.run(stream, &mut || progress.bytes(packed.get(), Some(total)));
    outcome
        .map_err(|failure| match failure {
            // A reader that went over its bound ends in an error of its own; the bound is what is to be told.
            Failure::Read(_) if unpacked.get() > limits.bytes => {
                Failure::Hostile(Hostile::Bytes(limits.bytes))
            }
            other => other,
        })
        .map_err(|failure| {
            let path = archive.to_owned();
            match failure {
                Failure::Read(cause) => ArchiveError::Corrupt { path, cause }.into(),
                Failure::Write(source) => ExtractError::Write { path, source },
                Failure::Hostile(reason) => ExtractError::Hostile { path, reason },
            }
        })
}

enum Failure {
    Read(io::Error),
    Write(io::Error),
    Hostile(Hostile),
}

impl From<Hostile> for Failure {
    fn from(reason: Hostile) -> Self {
        Self::Hostile(reason)
    }
}

/// Names that are too long for a header come in an entry of their own before it.
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

struct Unpacking<'a> {
    into: &'a Path,
    limits: Limits,
    top: Option<PathBuf>,
    entries: u64,
    bytes: u64,
    symlinks: Vec<(PathBuf, PathBuf)>,
}

impl Unpacking<'_> {
    fn run(&mut self, stream: impl Read, advanced: &mut dyn FnMut()) -> Result<(), Failure> {
        let mut archive = tar::Archive::new(stream);
        let mut long = LongNames::default();
        for entry in archive.entries().map_err(Failure::Read)?.raw(true) {
            let mut entry = entry.map_err(Failure::Read)?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Hostile::Entries(self.limits.entries).into());
            }
            match entry.header().entry_type() {
                EntryType::XGlobalHeader => {}
                EntryType::GNULongName => long.path = Some(self.long_name(&mut entry)?),
                EntryType::GNULongLink => long.target = Some(self.long_name(&mut entry)?),
                EntryType::XHeader => self.extended_header(&mut entry, &mut long)?,
                _ => self.entry(&mut entry, std::mem::take(&mut long))?,
            }
            advanced();
        }
        if self.top.is_none() {
            return Err(Hostile::Empty.into());
        }
        // Only the end of the stream carries its check sum.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(Failure::Read)?;
        self.make_symlinks()
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, long: LongNames) -> Result<(), Failure> {
        let header = entry.header().clone();
        let name = long
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let Some(path) = self.below_top(&name)? else {
            return match header.entry_type() {
                EntryType::Directory => Ok(()),
                _ => Err(Hostile::Top(text(&name)).into()),
            };
        };
        let target = long
            .target
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        match header.entry_type() {
            EntryType::Directory => {
                fs_err::create_dir_all(self.into.join(&path)).map_err(Failure::Write)
            }
            EntryType::Regular => {
                self.account(header.size().map_err(Failure::Read)?)?;
                self.file(entry, &path, &header)
            }
            EntryType::Link => self.hard_link(&path, &name, &target),
            EntryType::Symlink => {
                let to = PathBuf::from(OsStr::from_bytes(&target));
                if !links::stays_inside(&path, &to) {
                    return Err(leaving(&name, &target));
                }
                self.symlinks.push((path, to));
                Ok(())
            }
            kind => Err(Hostile::Kind {
                path: text(&name),
                kind,
            }
            .into()),
        }
    }

    fn file<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        path: &Path,
        header: &tar::Header,
    ) -> Result<(), Failure> {
        let size = header.size().map_err(Failure::Read)?;
        let executable = header.mode().map_err(Failure::Read)? & 0o100 != 0;
        let mut file = self.create(path, executable)?;
        let mut buffer = [0; 16 * 1024];
        let mut written = 0;
        loop {
            let length = entry.read(&mut buffer).map_err(Failure::Read)?;
            if length == 0 {
                break;
            }
            file.write_all(&buffer[..length]).map_err(Failure::Write)?;
            written += length as u64;
        }
        if written != size {
            return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        // CPython's Makefile compares times, so they are kept.
        let seconds = header.mtime().map_err(Failure::Read)?;
        match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
            Some(time) => file.file().set_modified(time).map_err(Failure::Write),
            None => Ok(()),
        }
    }

    fn hard_link(&mut self, path: &Path, name: &[u8], target: &[u8]) -> Result<(), Failure> {
        let from = match self.below_top(target) {
            Ok(Some(from)) => self.into.join(from),
            Ok(None) | Err(Failure::Hostile(_)) => return Err(leaving(name, target)),
            Err(failure) => return Err(failure),
        };
        let metadata = fs_err::symlink_metadata(&from).map_err(Failure::Read)?;
        self.account(metadata.len())?;
        let to = self.into.join(path);
        self.make_parent(&to)?;
        fs_err::copy(from, to).map_err(Failure::Write)?;
        Ok(())
    }

    fn make_symlinks(&self) -> Result<(), Failure> {
        for (link, target) in &self.symlinks {
            let link = self.into.join(link);
            self.make_parent(&link)?;
            symlink(target, link).map_err(Failure::Write)?;
        }
        Ok(())
    }

    fn create(&self, path: &Path, executable: bool) -> Result<File, Failure> {
        let path = self.into.join(path);
        self.make_parent(&path)?;
        let mode = if executable { 0o755 } else { 0o644 };
        fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(Failure::Write)
    }

    fn make_parent(&self, path: &Path) -> Result<(), Failure> {
        let parent = path.parent().unwrap_or(self.into);
        fs_err::create_dir_all(parent).map_err(Failure::Write)
    }

    fn account(&mut self, size: u64) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(Hostile::Bytes(self.limits.bytes).into());
        }
        Ok(())
    }

    /// The path below the archive's one top folder; nothing for that folder itself.
    fn below_top(&mut self, name: &[u8]) -> Result<Option<PathBuf>, Failure> {
        if name.len() as u64 > self.limits.path_bytes {
            return Err(self.too_long(name.len() as u64));
        }
        let path = Path::new(OsStr::from_bytes(name));
        let mut normal = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => normal.push(part),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(Hostile::Path(text(name)).into());
                }
            }
        }
        let mut parts = normal.components();
        let Some(first) = parts.next() else {
            return Ok(None);
        };
        let first: &Path = first.as_ref();
        let top = self.top.get_or_insert_with(|| first.to_owned());
        if top != first {
            return Err(Hostile::Top(text(name)).into());
        }
        let below = parts.as_path();
        Ok((below != Path::new("")).then(|| below.to_owned()))
    }

    fn long_name<R: Read>(&self, entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Failure> {
        let mut name = self.small(entry)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn extended_header<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        long: &mut LongNames,
    ) -> Result<(), Failure> {
        let records = self.small(entry)?;
        for record in PaxExtensions::new(&records) {
            let record = record.map_err(Failure::Read)?;
            let value = record.value_bytes().to_vec();
            match record.key_bytes() {
                b"path" => long.path = Some(value),
                b"linkpath" => long.target = Some(value),
                // A size beyond 8 GiB, or a sparse file: the bytes that follow are not what the header says.
                key if key == b"size" || key.starts_with(b"GNU.sparse") => {
                    return Err(Hostile::Kind {
                        path: text(key),
                        kind: EntryType::GNUSparse,
                    }
                    .into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads an entry that holds names. Two names and a few times fit into four times the bound.
    fn small<R: Read>(&self, entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Failure> {
        let size = entry.header().size().map_err(Failure::Read)?;
        if size > self.limits.path_bytes.saturating_mul(4) {
            return Err(self.too_long(size));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(Failure::Read)?;
        Ok(bytes)
    }

    fn too_long(&self, length: u64) -> Failure {
        Hostile::LongPath {
            length,
            limit: self.limits.path_bytes,
        }
        .into()
    }
}

fn leaving(link: &[u8], target: &[u8]) -> Failure {
    Hostile::Link {
        link: text(link),
        target: text(target),
    }
    .into()
}

/// For messages: without control characters, and not longer than a line.
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}

/// Counts what is read, and fails once it is more than the bound.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
    limit: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count.set(self.count.get() + length as u64);
        if self.count.get() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(length)
    }
}

#[cfg(test)]
#[path = "extract_tests.rs"]
mod tests;
