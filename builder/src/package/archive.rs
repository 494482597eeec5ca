//! The archive itself: sorted, with one time and one owner, so that the same prefix gives the same bytes.

use std::io::{self, Write};
use std::path::Path;

use gil_containers::digest::{Digest, HashingWriter};
use gil_containers::layer::Compression;
use tar::{EntryType, Header};

use super::contents::{Contents, Item, Kind};
use super::strip::Stripped;

/// The folder that everything is in, as in python-build-standalone's archives.
const FOLDER: &str = "python";

/// Writes the archive and returns its SHA-256. All files get the time `time_s`, in seconds since 1970.
///
/// # Errors
/// When a file cannot be read or the sink takes no more.
pub fn write(
    contents: &Contents,
    stripped: Stripped,
    time_s: u64,
    compression: Compression,
    sink: impl Write,
) -> io::Result<Digest> {
    let compressed = compression.writer(HashingWriter::new(sink))?;
    let mut archive = tar::Builder::new(compressed);
    for item in &contents.items {
        append(&mut archive, contents, stripped, item, time_s)?;
    }
    let (digest, _, mut sink) = archive.into_inner()?.finish()?.finish();
    sink.flush()?;
    Ok(digest)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    contents: &Contents,
    stripped: Stripped,
    item: &Item,
    time_s: u64,
) -> io::Result<()> {
    let path = Path::new(FOLDER).join(&item.path);
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time_s);
    header.set_size(0);
    let mode = |executable: bool| if executable { 0o755 } else { 0o644 };
    match &item.kind {
        Kind::Folder => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            archive.append_data(&mut header, path, io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)
        }
        Kind::Text { bytes, executable } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(mode(*executable));
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())
        }
        Kind::File { executable } => {
            let bytes = stripped.read(&contents.prefix.join(&item.path))?;
            header.set_entry_type(EntryType::Regular);
            header.set_mode(mode(*executable));
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())
        }
    }
}
