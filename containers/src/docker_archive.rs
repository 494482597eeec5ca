//! Images in one file as `docker save` and `podman save` write them and `docker load` and `podman load` take them.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;
use serde::Deserialize;
use serde_json::json;

use crate::archive::{ArchiveError, append_bytes, append_content};
use crate::configuration::Configuration;
use crate::digest::{Digest, HashingReader};
use crate::image::{Image, ImageError};
use crate::layer::{Compression, Entry, Kind, LayerReader, Limits, decompress};
use crate::layout::{LARGEST_DOCUMENT, Layout, LayoutError, descriptor, digest_of, parse};
use crate::platform::Platform;

const MANIFEST: &str = "manifest.json";

/// One image of an archive, by its `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Puts an image of an archive into the layout: the one of that name, or the only one. `folder` is an empty folder for the files of the
/// archive, which do not keep their names there.
///
/// # Errors
/// When it is no such archive or a hostile one, has no such image, or there is no room.
pub fn open_docker_archive(
    file: &Path,
    name: Option<&str>,
    folder: &Path,
    layout: &Layout,
    platform: &Platform,
) -> Result<Image, ArchiveError> {
    let files = Files::unpack(file, folder)?;
    let images: Vec<Saved> = parse("manifest.json of the archive", &files.document(MANIFEST)?)?;
    let saved = choose(&images, name)?;
    let configuration = Configuration::parse(&files.document(&saved.config)?)?;
    let layers = saved
        .layers
        .iter()
        .map(|layer| files.layer(layer, layout))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Image::of(configuration, &layers, platform)?)
}

fn choose<'a>(images: &'a [Saved], name: Option<&str>) -> Result<&'a Saved, ArchiveError> {
    let names = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
    let fitting: Vec<&Saved> = images
        .iter()
        .filter(|image| name.is_none_or(|name| names(image).iter().any(|tag| tag == name)))
        .collect();
    match fitting[..] {
        [image] => Ok(image),
        _ => Err(ArchiveError::NoImage {
            wanted: name.map(str::to_owned),
            names: images.iter().flat_map(names).collect(),
        }),
    }
}

/// The files of an archive, by their names in it.
#[derive(Default)]
struct Files(HashMap<PathBuf, PathBuf>);

impl Files {
    fn unpack(archive: &Path, folder: &Path) -> Result<Self, ArchiveError> {
        let mut files = Self::default();
        let reader = LayerReader::new(fs_err::File::open(archive)?, Limits::default())?;
        reader.for_each(|entry, content| files.take(&entry, content, folder))?;
        Ok(files)
    }

    fn take(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
        folder: &Path,
    ) -> Result<(), ArchiveError> {
        let path = entry.path.as_path().to_owned();
        match &entry.kind {
            Kind::Folder => {}
            Kind::File(_) => {
                let kept = folder.join(self.0.len().to_string());
                io::copy(content, &mut fs_err::File::create(&kept)?)?;
                self.0.insert(path, kept);
            }
            // Where two layers are the same, Docker writes the second as a link to the first one: ../ID/layer.tar.
            Kind::SymbolicLink(target) => {
                let first = target.strip_prefix("..").ok();
                let first = first.and_then(|first| self.0.get(first)).cloned();
                let foreign = || ArchiveError::Foreign(path.to_string_lossy().into_owned());
                let first = first.ok_or_else(foreign)?;
                self.0.insert(path, first);
            }
            _ => {
                let name = path.to_string_lossy();
                return Err(ArchiveError::Foreign(name.escape_default().to_string()));
            }
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<fs_err::File, ArchiveError> {
        let kept = self.0.get(Path::new(name));
        let kept = kept.ok_or_else(|| ArchiveError::Missing(name.escape_default().to_string()))?;
        Ok(fs_err::File::open(kept)?)
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let file = self.open(name)?;
        if file.metadata()?.len() > LARGEST_DOCUMENT {
            return Err(ArchiveError::Foreign(name.escape_default().to_string()));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_DOCUMENT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Makes a layer a blob of the layout.
    fn layer(&self, name: &str, layout: &Layout) -> Result<Descriptor, ArchiveError> {
        let mut source = HashingReader::new(self.open(name)?);
        let mut blob = layout.new_blob()?;
        io::copy(&mut source, &mut blob)?;
        let (digest, size): (Digest, u64) = source.finish();
        let compression = Compression::of(self.open(name)?)?;
        layout.keep(blob, &digest)?;
        Ok(descriptor(compression.media_type(), size, &digest))
    }
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
            io::copy(&mut decompress(blob)?, &mut unpacked)?;
            let size = unpacked.metadata()?.len();
            io::Seek::rewind(&mut unpacked)?;
            append_content(&mut archive, Path::new(&file_name), size, unpacked)?;
        }
        layers.push(file_name);
    }
    let manifest = image.store(layout)?;
    let manifest: oci_spec::image::ImageManifest =
        parse("manifest of the image", &layout.read(&manifest)?)?;
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
