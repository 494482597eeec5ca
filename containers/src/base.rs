//! What an image starts from.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::archive::{ArchiveError, open_oci_archive};
use crate::debian::{BootstrapError, SUITES, bootstrap, time_of};
use crate::digest::Digest;
use crate::docker_archive::open_docker_archive;
use crate::image::{Image, ImageError, LayerOptions};
use crate::layer::{LayerReader, Limits, Snapshot, UnpackError, unpack};
use crate::layout::{Layout, LayoutError, digest_of};
use crate::platform::Platform;
use crate::registry::{self, Client, Credentials, Reference, RegistryError, Shown, Transport};

/// What an image starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A suite of Debian, made with mmdebstrap.
    Suite(String),
    /// An image layout in a folder, and the tag in it.
    Oci(PathBuf, Option<String>),
    /// An image layout in a file, and the tag in it.
    OciArchive(PathBuf, Option<String>),
    /// A file as `docker save` and `podman save` write it, and the name of the image in it.
    DockerArchive(PathBuf, Option<String>),
    /// A folder with a whole system.
    Rootfs(PathBuf),
    /// An archive of a whole system.
    Tar(PathBuf),
    /// An image in a registry.
    Registry(Reference),
}

/// A base's image, in a layout.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The image.
    pub image: Image,
    /// Where it has one, the digest that names it in its registry or layout.
    pub digest: Option<Digest>,
}

/// A text that names no base.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "there is no base `{0}`: say a Debian suite ({suites}), oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG], rootfs:DIR, a tar archive's path, or an image in a registry, with a tag or with the registry's name (NAME:TAG, REGISTRY/NAME)", suites = SUITES.join(", ")
)]
pub struct UnknownBase(String);

/// Why a base cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A suite's root cannot be made.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The layout cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The archive cannot be unpacked.
    #[error("cannot unpack {}: {error}", archive.display())]
    Unpack {
        /// The archive.
        archive: PathBuf,
        /// Why not.
        #[source]
        error: UnpackError,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a slim image has beside the smallest system: certificates, names of networks and services, time zones.
const PACKAGES: [&str; 3] = ["ca-certificates", "netbase", "tzdata"];

impl Base {
    /// Puts the base's image into `layout`. Where it is no image yet, its whole system becomes one layer. `work` is an empty folder
    /// for what is needed meanwhile.
    ///
    /// # Errors
    /// When it cannot be made, read or verified.
    pub fn fetch(
        &self,
        layout: &Layout,
        work: &Path,
        platform: &Platform,
        options: &LayerOptions,
        transport: Transport,
        shown: Shown<'_>,
    ) -> Result<Fetched, BaseError> {
        let (image, digest) = match self {
            Self::Registry(reference) => {
                let credentials =
                    Credentials::of(reference.registry()).map_err(RegistryError::from)?;
                let client = Client::new(reference, transport, credentials)?;
                let (image, digest) = registry::pull(&client, layout, platform, shown)?;
                (image, Some(digest))
            }
            Self::Suite(suite) => {
                let root = work.join("root");
                fs_err::create_dir(&root)?;
                let newest_s = time_of(suite, options.newest_s);
                bootstrap(suite, &PACKAGES, newest_s, &root)?;
                let options = LayerOptions {
                    newest_s,
                    created_by: format!("mmdebstrap {suite}"),
                    ..options.clone()
                };
                (one_layer(&root, layout, platform, &options)?, None)
            }
            Self::Rootfs(root) => (one_layer(root, layout, platform, options)?, None),
            Self::Tar(archive) => {
                let root = work.join("root");
                fs_err::create_dir(&root)?;
                let reader = LayerReader::new(fs_err::File::open(archive)?, Limits::default());
                reader
                    .map_err(UnpackError::from)
                    .and_then(|reader| unpack(reader, &root))
                    .map_err(|error| BaseError::Unpack {
                        archive: archive.clone(),
                        error,
                    })?;
                (one_layer(&root, layout, platform, options)?, None)
            }
            Self::Oci(folder, tag) => {
                copy(&Layout::open(folder)?, tag.as_deref(), layout, platform)?
            }
            Self::OciArchive(file, tag) => {
                let from = open_oci_archive(file, &work.join("layout"))?;
                copy(&from, tag.as_deref(), layout, platform)?
            }
            Self::DockerArchive(file, name) => {
                let files = work.join("archive");
                fs_err::create_dir(&files)?;
                let name = name.as_deref();
                let image = open_docker_archive(file, name, &files, layout, platform)?;
                (image, None)
            }
        };
        Ok(Fetched { image, digest })
    }
}

fn one_layer(
    root: &Path,
    layout: &Layout,
    platform: &Platform,
    options: &LayerOptions,
) -> Result<Image, ImageError> {
    let mut image = Image::empty(platform);
    let all = Snapshot::empty().changes_to(&Snapshot::of(root)?);
    image.add_layer(layout, root, &all, options)?;
    Ok(image)
}

fn copy(
    from: &Layout,
    tag: Option<&str>,
    to: &Layout,
    platform: &Platform,
) -> Result<(Image, Option<Digest>), ImageError> {
    let found = from.find(tag)?;
    let image = Image::load(from, &found, platform)?;
    image.copy(from, to)?;
    let digest = digest_of(&found).map_err(LayoutError::from)?;
    Ok((image, Some(digest)))
}

impl FromStr for Base {
    type Err = UnknownBase;

    fn from_str(text: &str) -> Result<Self, UnknownBase> {
        if SUITES.contains(&text) {
            return Ok(Self::Suite(text.to_owned()));
        }
        let with_tag = |rest: &str| match rest.split_once(':') {
            Some((path, tag)) => (path.into(), Some(tag.to_owned())),
            None => (rest.into(), None),
        };
        match text.split_once(':') {
            Some(("oci", rest)) if !rest.is_empty() => {
                let (path, tag) = with_tag(rest);
                Ok(Self::Oci(path, tag))
            }
            Some(("oci-archive", rest)) if !rest.is_empty() => {
                let (path, tag) = with_tag(rest);
                Ok(Self::OciArchive(path, tag))
            }
            Some(("docker-archive", rest)) if !rest.is_empty() => {
                let (path, name) = with_tag(rest);
                Ok(Self::DockerArchive(path, name))
            }
            Some(("rootfs", rest)) if !rest.is_empty() => Ok(Self::Rootfs(rest.into())),
            _ if Path::new(text).is_file() => Ok(Self::Tar(text.into())),
            // A bare word is more likely a suite that was mistyped.
            _ if text.contains(['/', ':', '@']) => text
                .parse()
                .map(Self::Registry)
                .map_err(|_| UnknownBase(text.to_owned())),
            _ => Err(UnknownBase(text.to_owned())),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, tag) = match self {
            Self::Suite(suite) => return write!(formatter, "Debian {suite}"),
            Self::Oci(path, tag) => ("oci:", path, tag.as_deref()),
            Self::OciArchive(path, tag) => ("oci-archive:", path, tag.as_deref()),
            Self::DockerArchive(path, name) => ("docker-archive:", path, name.as_deref()),
            Self::Rootfs(path) => ("rootfs:", path, None),
            Self::Tar(path) => ("", path, None),
            Self::Registry(reference) => return formatter.write_str(&reference.whole()),
        };
        write!(formatter, "{kind}{}", path.display())?;
        tag.map_or(Ok(()), |tag| write!(formatter, ":{tag}"))
    }
}
