//! A layer's entries put into a root folder, as an engine would, and nothing outside of it.
//!
//! Every parent folder is opened with `openat2(RESOLVE_IN_ROOT)`: the kernel resolves links as if the root folder were `/`,
//! so that a link in an image leads, at most, to another place in the image. Everything else happens relative to
//! that folder, without following the last part.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::path::{LayerPath, Meaning};
use super::read::{Entry, Kind, LayerReader, ReadError};
use crate::digest::Digest;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It cannot be read, or is hostile.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A device node that is none of those that every container has.
    #[error("the layer's entry `{path}` is the {kind} device {major}:{minor}: refused")]
    Device {
        /// The entry.
        path: String,
        /// `block` or `character`.
        kind: &'static str,
        /// Its driver.
        major: u32,
        /// Its number there.
        minor: u32,
    },
    /// It cannot be written to where it belongs.
    #[error("cannot unpack the layer's entry `{path}`: {error}")]
    Write {
        /// The entry.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The root folder itself cannot be used.
    #[error("cannot unpack a layer into {}: {error}", root.display())]
    Root {
        /// The folder.
        root: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// Unpacks a layer onto what is below `root`, and returns the digest of the uncompressed archive. Owners are set when the
/// process is root (also of a user namespace). Device nodes that every container gets from its engine are left out.
///
/// # Errors
/// When the layer is corrupt or hostile, or the folder takes no more; what was unpacked until then stays.
pub fn unpack(layer: LayerReader<'_>, root: &Path) -> Result<Digest, UnpackError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder =
        rustix::fs::open(root, flags, Mode::empty()).map_err(|error| UnpackError::Root {
            root: root.to_owned(),
            error: error.into(),
        })?;
    let mut unpacker = Unpacker {
        root: folder,
        owners: rustix::process::geteuid().is_root(),
        written: BTreeSet::new(),
        folders: Vec::new(),
        parent: None,
    };
    let digest = layer.for_each(|entry, content| unpacker.put(entry, content))?;
    unpacker.finish()?;
    Ok(digest)
}

struct Unpacker {
    root: OwnedFd,
    owners: bool,
    /// What this layer has put there: an opaque folder hides only what was there before.
    written: BTreeSet<PathBuf>,
    /// Folders, whose time changes as long as something is put into them.
    folders: Vec<Entry>,
    /// The folder opened last: entries of one folder mostly come together.
    parent: Option<(PathBuf, OwnedFd)>,
}

/// The character devices that every engine puts into a container's own `/dev`.
const USUAL_DEVICES: [(u32, u32); 8] = [
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 8),
    (1, 9),
    (5, 0),
    (5, 1),
    (5, 2),
];

impl Unpacker {
    fn put(&mut self, entry: Entry, content: &mut dyn Read) -> Result<(), UnpackError> {
        let path = entry.path.clone();
        if let Kind::Device {
            character,
            major,
            minor,
        } = entry.kind
        {
            if character && USUAL_DEVICES.contains(&(major, minor)) {
                return Ok(());
            }
            return Err(UnpackError::Device {
                path: shown(&path),
                kind: if character { "character" } else { "block" },
                major,
                minor,
            });
        }
        self.put_file(entry, content)
            .map_err(|error| UnpackError::Write {
                path: shown(&path),
                error,
            })
    }

    fn put_file(&mut self, entry: Entry, content: &mut dyn Read) -> io::Result<()> {
        if entry.path.is_root() {
            self.folders.push(entry);
            return Ok(());
        }
        // LayerPath::parse has refused a whiteout without a name.
        match entry.path.meaning().map_err(io::Error::other)? {
            Meaning::Whiteout(hidden) => {
                let parent = self.parent(entry.path.parent(), false)?;
                if let Some(parent) = parent {
                    remove(&place(parent, hidden))?;
                    self.parent = None;
                }
                return Ok(());
            }
            Meaning::Opaque => return self.empty_folder(entry.path.parent()),
            Meaning::File => {}
        }
        self.create(&entry, content)?;
        self.written.insert(entry.path.as_path().to_owned());
        if entry.kind == Kind::Folder {
            self.folders.push(entry);
        }
        Ok(())
    }

    fn create(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        // A link's target is looked up first: opening the link's own folder may replace the folder kept in mind.
        let target = match &entry.kind {
            Kind::HardLink(target) => Some(self.link_target(target)?),
            _ => None,
        };
        let owners = self.owners;
        let Some(parent) = self.parent(entry.path.parent(), true)? else {
            return Err(io::Error::other("its folder cannot be made"));
        };
        let name = entry.path.name();
        let place = place(parent, name);
        let there = place.symlink_metadata().ok();
        let stays =
            entry.kind == Kind::Folder && there.as_ref().is_some_and(std::fs::Metadata::is_dir);
        if there.is_some() && !stays {
            remove(&place)?;
        }
        match &entry.kind {
            Kind::File(size) => {
                let mut file = std::fs::File::create_new(&place)?;
                let copied = io::copy(content, &mut file)?;
                if copied != *size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Kind::Folder if stays => {}
            Kind::Folder => std::fs::create_dir(&place)?,
            Kind::SymbolicLink(target) => std::os::unix::fs::symlink(target, &place)?,
            Kind::Fifo => {
                rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
            }
            Kind::HardLink(_) => {
                let Some((folder, target)) = target else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                // Without the flag to follow, a symbolic link is linked itself.
                rustix::fs::linkat(&folder, target, parent, name, AtFlags::empty())?;
                return Ok(());
            }
            Kind::Device { .. } => return Err(io::Error::other("device nodes are not made")),
        }
        dress(parent, name, entry, owners)?;
        // A folder made, or put in the place of a link, may be what the folder kept in mind went through.
        if entry.kind == Kind::Folder && !stays {
            self.parent = None;
        }
        Ok(())
    }

    /// The folder of a hard link's target, and its name there.
    fn link_target<'path>(
        &mut self,
        target: &'path LayerPath,
    ) -> io::Result<(OwnedFd, &'path std::ffi::OsStr)> {
        let folder = self
            .parent(target.parent(), false)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its target is missing"))?;
        Ok((rustix::io::fcntl_dupfd_cloexec(folder, 0)?, target.name()))
    }

    /// The folder at `path`, resolved inside the root; where it is missing, it is made or, else, `None`.
    fn parent(&mut self, path: &Path, make: bool) -> io::Result<Option<&OwnedFd>> {
        let known = self.parent.as_ref().is_some_and(|(known, _)| known == path);
        if !known {
            let folder = match open_in(&self.root, path) {
                Err(Errno::NOENT) if make => self.make_folders(path)?,
                Err(Errno::NOENT | Errno::NOTDIR) if !make => return Ok(None),
                result => result?,
            };
            self.parent = Some((path.to_owned(), folder));
        }
        Ok(self.parent.as_ref().map(|(_, folder)| folder))
    }

    /// Makes the folders that a layer does not list itself.
    fn make_folders(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut folder = open_in(&self.root, Path::new(""))?;
        let mut reached = PathBuf::new();
        for part in path {
            reached.push(part);
            folder = match open_in(&self.root, &reached) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o755))?;
                    open_in(&self.root, &reached)?
                }
                result => result?,
            };
        }
        Ok(folder)
    }

    fn empty_folder(&mut self, path: &Path) -> io::Result<()> {
        let written = std::mem::take(&mut self.written);
        let Some(folder) = self.parent(path, false)? else {
            self.written = written;
            return Ok(());
        };
        let mut result = Ok(());
        for entry in std::fs::read_dir(place(folder, ".".as_ref()))? {
            let entry = entry?;
            let inside = path.join(entry.file_name());
            let ours = written
                .range(inside.clone()..)
                .next()
                .is_some_and(|next| next.starts_with(&inside));
            if !ours {
                result = remove(&place(folder, &entry.file_name()));
            }
            if result.is_err() {
                break;
            }
        }
        self.written = written;
        self.parent = None;
        result
    }

    /// Gives the folders their times and modes, the deepest first.
    fn finish(mut self) -> Result<(), UnpackError> {
        let mut folders = std::mem::take(&mut self.folders);
        folders.sort_by(|one, other| other.path.cmp(&one.path));
        for entry in folders {
            // A later entry may have taken its place.
            let finished = match open_in(&self.root, entry.path.as_path()) {
                Ok(folder) => dress(&folder, ".".as_ref(), &entry, self.owners),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
                Err(error) => Err(error.into()),
            };
            finished.map_err(|error| UnpackError::Write {
                path: shown(&entry.path),
                error,
            })?;
        }
        Ok(())
    }
}

fn shown(path: &LayerPath) -> String {
    path.as_path()
        .as_os_str()
        .as_bytes()
        .escape_ascii()
        .to_string()
}

/// A path by which a name in an open folder can be given to functions that only take paths.
fn place(folder: &OwnedFd, name: &std::ffi::OsStr) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name)
}

fn open_in(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Removes a file, or a folder with all that is in it; that there is nothing is fine.
fn remove(place: &Path) -> io::Result<()> {
    let result = match place.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(place),
        Ok(_) => std::fs::remove_file(place),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Owner, mode, capability and time, in this order: a change of owner takes the first two away.
fn dress(parent: &OwnedFd, name: &std::ffi::OsStr, entry: &Entry, owners: bool) -> io::Result<()> {
    if owners {
        rustix::fs::chownat(
            parent,
            name,
            Some(Uid::from_raw(entry.uid)),
            Some(Gid::from_raw(entry.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    if !matches!(entry.kind, Kind::SymbolicLink(_)) {
        rustix::fs::chmodat(
            parent,
            name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )?;
    }
    if let Some(capability) = &entry.capability
        && owners
    {
        rustix::fs::lsetxattr(
            place(parent, name),
            "security.capability",
            capability,
            rustix::fs::XattrFlags::empty(),
        )?;
    }
    let time = Timespec {
        tv_sec: i64::try_from(entry.mtime_s).unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
