//! An OCI image layout: a folder of blobs named by their digests, and an index of the images among them.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, MediaType, OciLayout};
use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::digest::{Digest, HashingReader, NotADigest};

/// Where a layout's index keeps an image's tag.
const TAG: &str = "org.opencontainers.image.ref.name";
/// Manifests, configurations and indexes larger than this are refused, as registries do.
pub(crate) const LARGEST_DOCUMENT: u64 = 4 << 20;

/// An image layout in a folder.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
}

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The folder is none.
    #[error("{} is no OCI image layout: {reason}", folder.display())]
    NotALayout {
        /// The folder.
        folder: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A blob that is referred to is not there.
    #[error("the image layout {} lacks the blob {digest}: copy the whole image again", folder.display())]
    Missing {
        /// The layout.
        folder: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A blob is not what its name says.
    #[error("the blob {digest} of the image layout {} has other content ({found}): it is corrupt, copy the image again", folder.display())]
    Corrupt {
        /// The layout.
        folder: PathBuf,
        /// The blob.
        digest: Digest,
        /// The digest or the size of what is there.
        found: String,
    },
    /// A document that is too large to be read into memory.
    #[error("the document {0} is larger than {LARGEST_DOCUMENT} bytes: refused")]
    TooLarge(Digest),
    /// A document that cannot be understood.
    #[error("cannot understand the {what}: {reason}")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// There is no image of that name.
    #[error("{} has no image {}: it has {}", folder.display(), wanted.as_deref().unwrap_or("without a name"), tags.join(", "))]
    NoImage {
        /// The layout.
        folder: PathBuf,
        /// The tag asked for.
        wanted: Option<String>,
        /// The tags that there are.
        tags: Vec<String>,
    },
    /// A digest that we do not read.
    #[error(transparent)]
    Digest(#[from] NotADigest),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Layout {
    /// Makes an empty layout in a folder that is missing or empty.
    ///
    /// # Errors
    /// When the folder cannot be made or has something else in it.
    pub fn create(folder: &Path) -> Result<Self, LayoutError> {
        fs_err::create_dir_all(folder)?;
        if fs_err::read_dir(folder)?.next().is_some() {
            return Err(LayoutError::NotALayout {
                folder: folder.to_owned(),
                reason: "it has other files in it; name a folder that is empty or not there"
                    .to_owned(),
            });
        }
        fs_err::create_dir_all(folder.join("blobs/sha256"))?;
        let layout = Self {
            folder: folder.to_owned(),
        };
        let version = serde_json::json!({ "imageLayoutVersion": "1.0.0" });
        layout.write_document("oci-layout", &version)?;
        layout.write_index(&[])?;
        Ok(layout)
    }

    /// Opens a layout that is there.
    ///
    /// # Errors
    /// When the folder is not a layout of version 1.
    pub fn open(folder: &Path) -> Result<Self, LayoutError> {
        let not_a_layout = |reason: String| LayoutError::NotALayout {
            folder: folder.to_owned(),
            reason,
        };
        let layout = Self {
            folder: folder.to_owned(),
        };
        let version = layout
            .document("oci-layout")
            .map_err(|error| not_a_layout(error.to_string()))?;
        let version: OciLayout =
            serde_json::from_slice(&version).map_err(|error| not_a_layout(error.to_string()))?;
        if version.image_layout_version() != "1.0.0" {
            return Err(not_a_layout(format!(
                "its version is {}, only 1.0.0 is read",
                version.image_layout_version()
            )));
        }
        layout.index()?;
        Ok(layout)
    }

    /// Opens the layout in a folder, or makes one there.
    ///
    /// # Errors
    /// When the folder holds something else.
    pub fn open_or_create(folder: &Path) -> Result<Self, LayoutError> {
        if folder.join("oci-layout").exists() {
            Self::open(folder)
        } else {
            Self::create(folder)
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The images of the layout.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn index(&self) -> Result<ImageIndex, LayoutError> {
        let bytes = self.document("index.json")?;
        parse("index of the image layout", &bytes)
    }

    /// The image of this tag, or the only one there is.
    ///
    /// # Errors
    /// When there is none, or no tag is given and there are several.
    pub fn find(&self, tag: Option<&str>) -> Result<Descriptor, LayoutError> {
        let index = self.index()?;
        let images: Vec<&Descriptor> = index
            .manifests()
            .iter()
            .filter(|image| tag.is_none() || tag_of(image) == tag)
            .collect();
        match images[..] {
            [image] => Ok(image.clone()),
            _ => Err(LayoutError::NoImage {
                folder: self.folder.clone(),
                wanted: tag.map(str::to_owned),
                tags: index
                    .manifests()
                    .iter()
                    .map(|image| tag_of(image).unwrap_or("one without a tag").to_owned())
                    .collect(),
            }),
        }
    }

    /// Lists an image in the index, in place of an earlier one of the same tag.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub fn list(&self, image: &Descriptor, tag: Option<&str>) -> Result<(), LayoutError> {
        let mut image = image.clone();
        image.set_annotations(tag.map(|tag| HashMap::from([(TAG.to_owned(), tag.to_owned())])));
        let mut images = self.index()?.manifests().clone();
        images.retain(|other| {
            tag_of(other) != tag || (tag.is_none() && other.digest() != image.digest())
        });
        images.retain(|other| other != &image);
        images.push(image);
        self.write_index(&images)
    }

    /// Puts a JSON document among the blobs: keys sorted, no spaces, so that the same document has one digest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_document(
        &self,
        media_type: MediaType,
        document: &impl Serialize,
    ) -> Result<Descriptor, LayoutError> {
        let bytes = canonical_json(document)?;
        self.put(media_type, &bytes)
    }

    /// Puts bytes among the blobs.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        let mut blob = self.new_blob()?;
        blob.write_all(bytes)?;
        let digest = Digest::of(bytes);
        self.keep(blob, &digest)?;
        Ok(descriptor(media_type, bytes.len() as u64, &digest))
    }

    /// A file for a new blob, to be given to [`keep`](Self::keep) when all is in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_blob(&self) -> Result<NamedTempFile, LayoutError> {
        Ok(tempfile::Builder::new()
            .prefix(".blob")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(self.folder.join("blobs/sha256"))?)
    }

    /// Gives a finished blob its name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn keep(&self, blob: NamedTempFile, digest: &Digest) -> Result<(), LayoutError> {
        blob.persist(self.path(digest))
            .map_err(|error| error.error)?;
        Ok(())
    }

    /// Whether the blob is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// The bytes of a document, checked against its descriptor.
    ///
    /// # Errors
    /// When it is missing, too large or corrupt.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let digest = digest_of(descriptor)?;
        if descriptor.size() > LARGEST_DOCUMENT {
            return Err(LayoutError::TooLarge(digest));
        }
        let mut bytes = Vec::new();
        self.open_file(&digest)?
            .take(LARGEST_DOCUMENT + 1)
            .read_to_end(&mut bytes)?;
        self.check(descriptor, &digest, &Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Opens a blob after checking all of it against its descriptor.
    ///
    /// # Errors
    /// When it is missing or corrupt.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<fs_err::File, LayoutError> {
        let digest = digest_of(descriptor)?;
        let mut hashing = HashingReader::new(self.open_file(&digest)?);
        io::copy(&mut hashing, &mut io::sink())?;
        let (found, size) = hashing.finish();
        self.check(descriptor, &digest, &found, size)?;
        self.open_file(&digest)
    }

    /// Copies a blob, checked, from another layout; that it is here already is fine.
    ///
    /// # Errors
    /// When it is missing or corrupt there, or cannot be written here.
    pub fn copy_blob(&self, from: &Self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        let digest = digest_of(descriptor)?;
        if self.has(&digest) && self.open_blob(descriptor).is_ok() {
            return Ok(());
        }
        let mut source = from.open_blob(descriptor)?;
        let mut blob = self.new_blob()?;
        io::copy(&mut source, &mut blob)?;
        self.keep(blob, &digest)
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn open_file(&self, digest: &Digest) -> Result<fs_err::File, LayoutError> {
        fs_err::File::open(self.path(digest)).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                LayoutError::Missing {
                    folder: self.folder.clone(),
                    digest: digest.clone(),
                }
            } else {
                error.into()
            }
        })
    }

    fn check(
        &self,
        descriptor: &Descriptor,
        digest: &Digest,
        found: &Digest,
        size: u64,
    ) -> Result<(), LayoutError> {
        let found = if size != descriptor.size() {
            format!("{size} bytes instead of {}", descriptor.size())
        } else if found != digest {
            found.to_string()
        } else {
            return Ok(());
        };
        Err(LayoutError::Corrupt {
            folder: self.folder.clone(),
            digest: digest.clone(),
            found,
        })
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, LayoutError> {
        let file = fs_err::File::open(self.folder.join(name))?;
        let mut bytes = Vec::new();
        file.take(LARGEST_DOCUMENT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_index(&self, images: &[Descriptor]) -> Result<(), LayoutError> {
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageIndex,
            "manifests": images,
        });
        self.write_document("index.json", &index)
    }

    fn write_document(&self, name: &str, document: &impl Serialize) -> Result<(), LayoutError> {
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&self.folder)?;
        file.write_all(&canonical_json(document)?)?;
        file.persist(self.folder.join(name))
            .map_err(|error| error.error)?;
        Ok(())
    }
}

/// A descriptor of a blob.
pub(crate) fn descriptor(media_type: MediaType, size: u64, digest: &Digest) -> Descriptor {
    Descriptor::new(media_type, size, spec_digest(digest))
}

/// The specification's own type of the same digest.
fn spec_digest(digest: &Digest) -> oci_spec::image::Digest {
    let digest: oci_spec::image::Sha256Digest = digest
        .hex()
        .parse()
        .expect("a Digest has 64 lower-case hexadecimal digits");
    digest.into()
}

/// The digest that a descriptor names.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, NotADigest> {
    descriptor.digest().to_string().parse()
}

fn tag_of(descriptor: &Descriptor) -> Option<&str> {
    let annotations = descriptor.annotations().as_ref()?;
    annotations.get(TAG).map(String::as_str)
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, LayoutError> {
    serde_json::from_slice(bytes).map_err(|error| LayoutError::Malformed {
        what,
        reason: error.to_string(),
    })
}

/// JSON with sorted keys, also where a type's own maps have no order.
fn canonical_json(document: &impl Serialize) -> io::Result<Vec<u8>> {
    let value = serde_json::to_value(document)?;
    Ok(serde_json::to_vec(&sorted(value))?)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            let entries = entries.into_iter();
            Value::Object(entries.map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        value => value,
    }
}
