//! An image in a layout: its configuration and its layers.

use std::io;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde_json::json;

use crate::configuration::Configuration;
use crate::digest::Digest;
use crate::layer::{
    self, Changes, Compression, Layer, LayerReader, Limits, UnpackError, WriteError,
};
use crate::layout::{Layout, LayoutError, descriptor};
use crate::platform::Platform;

/// An image: a stack of layers and what to do with them.
#[derive(Debug, Clone)]
pub struct Image {
    /// What to run, for whom, with which environment.
    pub configuration: Configuration,
    /// The layers, the lowest first.
    layers: Vec<Descriptor>,
}

/// Why an image cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Its layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is for other machines.
    #[error("the image is for {found}, not for {wanted}")]
    Platform {
        /// What it is for.
        found: String,
        /// What was asked for.
        wanted: Platform,
    },
    /// Manifest and configuration do not fit.
    #[error(
        "the image's manifest has {manifest} layers and its configuration {configuration}: it is corrupt"
    )]
    LayerCount {
        /// Layers in the manifest.
        manifest: usize,
        /// Layers in the configuration.
        configuration: usize,
    },
    /// A layer's content is not what the configuration says.
    #[error(
        "the layer {digest} unpacks to {found} instead of {expected}: it is corrupt, copy the image again"
    )]
    DiffId {
        /// The layer.
        digest: String,
        /// What it is.
        found: Digest,
        /// What it should be.
        expected: Digest,
    },
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A layer cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

impl Image {
    /// An image without layers.
    #[must_use]
    pub fn empty(platform: &Platform) -> Self {
        Self {
            configuration: Configuration::new(platform.architecture(), platform.os()),
            layers: Vec::new(),
        }
    }

    /// Reads the image that a descriptor names; of an index of several platforms, the one for `platform`.
    ///
    /// # Errors
    /// When something is missing or corrupt, or there is nothing for the platform.
    pub fn load(
        layout: &Layout,
        image: &Descriptor,
        platform: &Platform,
    ) -> Result<Self, ImageError> {
        let bytes = layout.read(image)?;
        let is_index = *image.media_type() == MediaType::ImageIndex
            || image.media_type().as_ref() == DOCKER_MANIFEST_LIST;
        if is_index {
            let index: ImageIndex = crate::layout::parse("index of the image", &bytes)?;
            let fitting = platform.choose(index.manifests())?;
            // One level: an index within an index is nobody's.
            let bytes = layout.read(fitting)?;
            return Self::from_manifest(layout, &bytes, platform);
        }
        Self::from_manifest(layout, &bytes, platform)
    }

    fn from_manifest(
        layout: &Layout,
        bytes: &[u8],
        platform: &Platform,
    ) -> Result<Self, ImageError> {
        let manifest: ImageManifest = crate::layout::parse("manifest of the image", bytes)?;
        let configuration = Configuration::parse(&layout.read(manifest.config())?)?;
        Self::of(configuration, manifest.layers(), platform)
    }

    /// An image of these layers, which are in a layout.
    ///
    /// # Errors
    /// When it is for another platform, or the configuration is of other layers.
    pub(crate) fn of(
        configuration: Configuration,
        layers: &[Descriptor],
        platform: &Platform,
    ) -> Result<Self, ImageError> {
        let (architecture, os) = configuration.platform();
        if !platform.is(architecture, os) {
            return Err(ImageError::Platform {
                found: format!("{os}/{architecture}"),
                wanted: platform.clone(),
            });
        }
        let count = configuration.diff_ids()?.len();
        if count != layers.len() {
            return Err(ImageError::LayerCount {
                manifest: layers.len(),
                configuration: count,
            });
        }
        Ok(Self {
            configuration,
            layers: layers.iter().map(as_oci).collect(),
        })
    }

    /// The layers, the lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// How many bytes its layers are as they are sent.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().map(Descriptor::size).sum()
    }

    /// Unpacks all layers, one over the other, into an empty folder. Every layer's digests are checked.
    ///
    /// # Errors
    /// When a layer is missing, corrupt or hostile, or the folder takes no more.
    pub fn unpack(&self, layout: &Layout, root: &Path) -> Result<(), ImageError> {
        for (layer, expected) in self.layers.iter().zip(self.configuration.diff_ids()?) {
            let blob = layout.open_blob(layer)?;
            let reader = LayerReader::new(blob, Limits::default()).map_err(UnpackError::from)?;
            let found = layer::unpack(reader, root)?;
            if found != expected {
                return Err(ImageError::DiffId {
                    digest: layer.digest().to_string(),
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Adds a layer of the changes below `root` to the layout and onto the image. `newest_s` is the time of the layer, in
    /// seconds since 1970; files that are newer get it.
    ///
    /// # Errors
    /// When a file cannot be read or the layout takes no more.
    pub fn add_layer(
        &mut self,
        layout: &Layout,
        root: &Path,
        changes: &Changes,
        options: &LayerOptions,
    ) -> Result<Layer, ImageError> {
        let mut blob = layout.new_blob()?;
        let layer = layer::write(
            root,
            changes,
            options.newest_s,
            options.compression,
            io::BufWriter::new(blob.as_file_mut()),
        )?;
        layout.keep(blob, &layer.digest)?;
        self.layers.push(descriptor(
            layer.compression.media_type(),
            layer.size,
            &layer.digest,
        ));
        self.configuration.push_layer(
            &layer.diff_id,
            &crate::time::rfc3339(options.newest_s),
            &options.created_by,
        );
        Ok(layer)
    }

    /// Takes the layer of that uncompressed content off the image, wherever it is in the stack, and returns it. `None` where
    /// the image has no such layer.
    pub fn remove_layer(&mut self, diff_id: &Digest) -> Option<Descriptor> {
        let diff_ids = self.configuration.diff_ids().ok()?;
        let index = diff_ids.iter().rposition(|other| other == diff_id)?;
        self.configuration.remove_layer(index);
        Some(self.layers.remove(index))
    }

    /// Puts configuration and manifest into the layout that has the layers.
    ///
    /// # Errors
    /// When the layout takes no more.
    pub fn store(&self, layout: &Layout) -> Result<Descriptor, ImageError> {
        let configuration =
            layout.put_document(MediaType::ImageConfig, self.configuration.as_json())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": configuration,
            "layers": self.layers,
        });
        Ok(layout.put_document(MediaType::ImageManifest, &manifest)?)
    }

    /// Copies all that the image consists of, and its manifest, to another layout.
    ///
    /// # Errors
    /// When something is missing or corrupt, or the other layout takes no more.
    pub fn copy(&self, from: &Layout, to: &Layout) -> Result<Descriptor, ImageError> {
        for layer in &self.layers {
            to.copy_blob(from, layer)?;
        }
        self.store(to)
    }
}

/// How a layer is made.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// The time of the layer, in seconds since 1970: no file in it is newer.
    pub newest_s: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// What the image's history says of it.
    pub created_by: String,
}

/// Docker's names for the kinds of layers, by OCI's: the archives are the same.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type().as_ref() {
        "application/vnd.docker.image.rootfs.diff.tar" => MediaType::ImageLayer,
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => MediaType::ImageLayerGzip,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => MediaType::ImageLayerZstd,
        _ => return layer.clone(),
    };
    let mut layer = layer.clone();
    layer.set_media_type(media_type);
    layer
}
