//! Layouts in one file: OCI archives, both ways.

use std::io::{self, Write};
use std::path::Path;

use tar::{EntryType, Header};

use crate::image::ImageError;
use crate::layer::{Entry, Kind, LayerReader, Limits, ReadError};
use crate::layout::{Layout, LayoutError};

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not an archive, or a hostile one.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has files that an image archive does not have.
    #[error("the archive's entry `{0}` does not belong into an OCI image: refused")]
    Foreign(String),
    /// What an archive of Docker's must have is not in it.
    #[error(
        "the archive has no `{0}`: it is not what `docker save` writes, or cut off; save the image again"
    )]
    Missing(String),
    /// No image of that name is in it, or several without a name to choose by.
    #[error("{}", no_image(wanted.as_deref(), names))]
    NoImage {
        /// The name asked for.
        wanted: Option<String>,
        /// The names that there are.
        names: Vec<String>,
    },
    /// What is in it is no image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What is in it is no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn no_image(wanted: Option<&str>, names: &[String]) -> String {
    let there = if names.is_empty() {
        "no image with a name".to_owned()
    } else {
        names.join(", ")
    };
    match wanted {
        Some(wanted) => format!("the archive has no image {wanted}; there is {there}"),
        None => {
            format!("the archive has not one image: say which one behind a colon; there is {there}")
        }
    }
}

/// Unpacks an OCI archive into an empty folder.
///
/// # Errors
/// When it is no OCI archive or a hostile one, or the folder takes no more.
pub fn open_oci_archive(file: &Path, folder: &Path) -> Result<Layout, ArchiveError> {
    Layout::create(folder)?;
    let archive = LayerReader::new(fs_err::File::open(file)?, Limits::default())?;
    archive.for_each(|entry, content| take(&entry, content, folder))?;
    Ok(Layout::open(folder)?)
}

/// Takes a file of an OCI archive. Blobs keep their names; whether they are what they are named is checked when they are read.
fn take(entry: &Entry, content: &mut dyn io::Read, folder: &Path) -> Result<(), ArchiveError> {
    let path = entry.path.as_path();
    let name = path.to_string_lossy();
    let belongs = match &entry.kind {
        Kind::Folder => entry.path.is_root() || name == "blobs" || name == "blobs/sha256",
        Kind::File(_) => {
            let blob = name
                .strip_prefix("blobs/sha256/")
                .map(|hex| format!("sha256:{hex}"));
            name == "oci-layout"
                || name == "index.json"
                || blob.is_some_and(|digest| digest.parse::<crate::digest::Digest>().is_ok())
        }
        _ => false,
    };
    if !belongs {
        return Err(ArchiveError::Foreign(name.escape_default().to_string()));
    }
    if matches!(entry.kind, Kind::File(_)) {
        let mut file = fs_err::File::create(folder.join(path))?;
        io::copy(content, &mut file)?;
    }
    Ok(())
}

/// Writes a layout as an OCI archive: names sorted, no times.
///
/// # Errors
/// When a blob cannot be read or the sink takes no more.
pub fn write_oci_archive(layout: &Layout, sink: impl Write) -> Result<(), ArchiveError> {
    let mut archive = tar::Builder::new(sink);
    append_folder(&mut archive, "blobs/")?;
    append_folder(&mut archive, "blobs/sha256/")?;
    let mut blobs: Vec<_> = fs_err::read_dir(layout.folder().join("blobs/sha256"))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    blobs.sort();
    for blob in blobs {
        let path = Path::new("blobs/sha256").join(blob);
        append_file(&mut archive, &path, &layout.folder().join(&path))?;
    }
    for name in ["index.json", "oci-layout"] {
        append_file(&mut archive, Path::new(name), &layout.folder().join(name))?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn append_folder(archive: &mut tar::Builder<impl Write>, name: &str) -> io::Result<()> {
    let mut header = plain_header(EntryType::Directory, 0o755, 0);
    archive.append_data(&mut header, name, io::empty())
}

fn append_file(archive: &mut tar::Builder<impl Write>, name: &Path, file: &Path) -> io::Result<()> {
    let file = fs_err::File::open(file)?;
    let size = file.metadata()?.len();
    append_content(archive, name, size, file)
}

pub(crate) fn append_bytes(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    append_content(archive, Path::new(name), bytes.len() as u64, bytes)
}

pub(crate) fn append_content(
    archive: &mut tar::Builder<impl Write>,
    name: &Path,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = plain_header(EntryType::Regular, 0o644, size);
    archive.append_data(&mut header, name, content.take(size))
}

fn plain_header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
