//! Layouts in one file: OCI archives, both ways, and archives as `docker load` takes them.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use tar::{EntryType, Header};

use crate::image::{Image, ImageError};
use crate::layer::{Entry, Kind, LayerReader, Limits, ReadError};
use crate::layout::{Layout, LayoutError, digest_of};

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not an archive, or a hostile one.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has files that an image archive does not have.
    #[error("the archive's entry `{0}` does not belong into an OCI image: refused")]
    Foreign(String),
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

/// Writes an image as `docker load` and `podman load` take it: layers uncompressed, named by their digests.
///
/// # Errors
/// When a blob is missing or corrupt or the sink takes no more.
pub fn write_docker_archive(
    layout: &Layout,
    image: &Image,
    name: Option<&str>,
    sink: impl Write,
) -> Result<(), ArchiveError> {
    let mut archive = tar::Builder::new(sink);
    let mut layers = Vec::new();
    let diff_ids = image.configuration.diff_ids().map_err(ImageError::from)?;
    for (layer, diff_id) in image.layers().iter().zip(diff_ids) {
        let file_name = format!("{}.tar", diff_id.hex());
        if !layers.contains(&file_name) {
            // An archive's entry begins with its size: unpack first.
            let mut unpacked = tempfile::tempfile()?;
            let blob = layout.open_blob(layer)?;
            io::copy(&mut crate::layer::decompress(blob)?, &mut unpacked)?;
            let size = unpacked.metadata()?.len();
            io::Seek::rewind(&mut unpacked)?;
            append_content(&mut archive, Path::new(&file_name), size, unpacked)?;
        }
        layers.push(file_name);
    }
    let manifest = image.store(layout)?;
    let manifest: oci_spec::image::ImageManifest =
        crate::layout::parse("manifest of the image", &layout.read(&manifest)?)?;
    let configuration = layout.read(manifest.config())?;
    let digest = digest_of(manifest.config()).map_err(LayoutError::from)?;
    let configuration_name = format!("{}.json", digest.hex());
    append_bytes(&mut archive, &configuration_name, &configuration)?;
    let names: Vec<&str> = name.into_iter().collect();
    let contents = json!([{ "Config": configuration_name, "RepoTags": names, "Layers": layers }]);
    append_bytes(
        &mut archive,
        "manifest.json",
        &serde_json::to_vec(&contents).map_err(io::Error::from)?,
    )?;
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

fn append_bytes(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    append_content(archive, Path::new(name), bytes.len() as u64, bytes)
}

fn append_content(
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
