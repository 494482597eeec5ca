//! From changes in a folder to a layer: sorted, times cut off, so that the same files give the same bytes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use super::compression::Compression;
use super::path::WHITEOUT;
use super::snapshot::Changes;
use crate::digest::{Digest, HashingWriter};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the compressed archive: its name as a blob.
    pub digest: Digest,
    /// Bytes of the compressed archive.
    pub size: u64,
    /// Digest of the uncompressed archive: its name in the image's configuration.
    pub diff_id: Digest,
    /// Bytes of the uncompressed archive.
    pub unpacked_size: u64,
    /// How it is compressed.
    pub compression: Compression,
}

/// Why a layer cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file cannot be read.
    #[error("cannot put {} into a layer: {error}", path.display())]
    Read {
        /// The file, relative to the root.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A file whose name means something else in a layer.
    #[error("cannot put {} into a layer: names that begin with `.wh.` mean removed files there", .0.display())]
    ReservedName(PathBuf),
    /// A device node or a socket.
    #[error("cannot put {} into a layer: it is neither file, folder, link nor pipe", .0.display())]
    Special(PathBuf),
    /// The layer cannot be written to where it goes.
    #[error("cannot write a layer: {0}")]
    Write(#[from] io::Error),
}

/// Writes the changes below `root` as a layer to `sink`. A time after `newest_s` (seconds since 1970) becomes `newest_s`.
///
/// # Errors
/// When a file cannot be read or has no place in a layer, or the sink takes no more.
pub fn write(
    root: &Path,
    changes: &Changes,
    newest_s: u64,
    compression: Compression,
    sink: impl Write,
) -> Result<Layer, WriteError> {
    let compressed = compression.writer(HashingWriter::new(sink))?;
    let mut archive = tar::Builder::new(HashingWriter::new(compressed));
    let mut links = HashMap::new();
    // Removals first: a name may be removed as a folder and come back as a file.
    for path in &changes.removed {
        append_whiteout(&mut archive, path, newest_s)?;
    }
    for path in &changes.written {
        append(&mut archive, root, path, newest_s, &mut links)?;
    }
    let (diff_id, unpacked_size, compressed) = archive.into_inner()?.finish();
    let (digest, size, mut sink) = compressed.finish()?.finish();
    sink.flush()?;
    Ok(Layer {
        digest,
        size,
        diff_id,
        unpacked_size,
        compression,
    })
}

fn append_whiteout(
    archive: &mut tar::Builder<impl Write>,
    path: &Path,
    newest_s: u64,
) -> Result<(), WriteError> {
    let mut name = OsStr::from_bytes(WHITEOUT).to_owned();
    name.push(path.file_name().unwrap_or_default());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(newest_s);
    header.set_size(0);
    archive.append_data(&mut header, path.with_file_name(name), io::empty())?;
    Ok(())
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    root: &Path,
    path: &Path,
    newest_s: u64,
    links: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<(), WriteError> {
    let reserved = path
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(WHITEOUT));
    if reserved {
        return Err(WriteError::ReservedName(path.to_owned()));
    }
    let place = root.join(path);
    let unreadable = |error| WriteError::Read {
        path: path.to_owned(),
        error,
    };
    let metadata = place.symlink_metadata().map_err(unreadable)?;
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0).min(newest_s));
    header.set_size(0);
    let kind = metadata.file_type();
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        archive.append_data(&mut header, path, io::empty())?;
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        let target = place.read_link().map_err(unreadable)?;
        archive.append_link(&mut header, path, target)?;
    } else if kind.is_fifo() {
        header.set_entry_type(EntryType::Fifo);
        archive.append_data(&mut header, path, io::empty())?;
    } else if kind.is_file() {
        append_capability(archive, &place).map_err(unreadable)?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(first) = links.get(&identity) {
            header.set_entry_type(EntryType::Link);
            archive.append_link(&mut header, path, first)?;
            return Ok(());
        }
        if metadata.nlink() > 1 {
            links.insert(identity, path.to_owned());
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        let file = std::fs::File::open(&place).map_err(unreadable)?;
        // A file that grows meanwhile must not spill over into the next entry.
        let content = io::Read::take(file, metadata.len());
        archive.append_data(&mut header, path, content)?;
    } else {
        return Err(WriteError::Special(path.to_owned()));
    }
    Ok(())
}

/// File capabilities (`ping` has some) are the one extended attribute that images carry.
fn append_capability(archive: &mut tar::Builder<impl Write>, place: &Path) -> io::Result<()> {
    let mut value = [0_u8; 64];
    match rustix::fs::lgetxattr(place, "security.capability", &mut value) {
        Ok(length) => {
            archive.append_pax_extensions([("SCHILY.xattr.security.capability", &value[..length])])
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
