//! Where a finished image goes: a layout in a folder or in a file. Nothing half-written is left under the name asked for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::image::Descriptor;

use crate::archive::{self, ArchiveError};
use crate::docker_archive::write_docker_archive;
use crate::image::Image;
use crate::layout::Layout;

/// A place for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    format: Format,
    path: PathBuf,
    name: Option<String>,
}

/// The form that an image has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    OciFolder,
    OciArchive,
    DockerArchive,
}

/// A text that names no place for an image.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "`{0}` is no place for an image: say oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]"
)]
pub struct UnknownOutput(String);

impl Output {
    /// Writes the image of `layout` there and returns its descriptor, with the digest of its manifest. `name` (`NAME:TAG`)
    /// is its name where the output gives none itself.
    ///
    /// # Errors
    /// When something is missing or corrupt in `layout`, or the place takes no more.
    pub fn write(
        &self,
        layout: &Layout,
        image: &Image,
        name: Option<&str>,
    ) -> Result<Descriptor, ArchiveError> {
        // A layout's tag is what stands behind the name's colon; an archive for Docker has the whole name.
        let name = self.name.as_deref().or(match self.format {
            Format::DockerArchive => name,
            Format::OciFolder | Format::OciArchive => {
                name.and_then(|name| Some(name.rsplit_once(':')?.1))
            }
        });
        match self.format {
            Format::OciFolder => self.write_folder(layout, image, name),
            Format::OciArchive => {
                let only = tempfile::tempdir()?;
                let alone = Layout::create(&only.path().join("layout"))?;
                let descriptor = image.copy(layout, &alone)?;
                alone.list(&descriptor, name)?;
                self.write_file(|file| archive::write_oci_archive(&alone, file))?;
                Ok(descriptor)
            }
            Format::DockerArchive => {
                let descriptor = image.store(layout)?;
                self.write_file(|file| write_docker_archive(layout, image, name, file))?;
                Ok(descriptor)
            }
        }
    }

    /// The index is written last, and renamed into its place: a layout never lists an image that is not whole.
    fn write_folder(
        &self,
        layout: &Layout,
        image: &Image,
        name: Option<&str>,
    ) -> Result<Descriptor, ArchiveError> {
        let target = Layout::open_or_create(&self.path)?;
        let descriptor = image.copy(layout, &target)?;
        target.list(&descriptor, name)?;
        Ok(descriptor)
    }

    fn write_file(
        &self,
        write: impl FnOnce(&mut io::BufWriter<&mut std::fs::File>) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new()
            .prefix(".image")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)?;
        write(&mut io::BufWriter::with_capacity(
            1 << 20,
            file.as_file_mut(),
        ))?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

impl FromStr for Output {
    type Err = UnknownOutput;

    fn from_str(text: &str) -> Result<Self, UnknownOutput> {
        let unknown = || UnknownOutput(text.to_owned());
        let (format, rest) = text.split_once(':').ok_or_else(unknown)?;
        let format = match format {
            "oci" => Format::OciFolder,
            "oci-archive" => Format::OciArchive,
            "docker-archive" => Format::DockerArchive,
            _ => return Err(unknown()),
        };
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() || name == Some("") {
            return Err(unknown());
        }
        Ok(Self {
            format,
            path: path.into(),
            name: name.map(str::to_owned),
        })
    }
}

impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            Format::OciFolder => "oci",
            Format::OciArchive => "oci-archive",
            Format::DockerArchive => "docker-archive",
        };
        write!(formatter, "{format}:{}", self.path.display())?;
        match &self.name {
            Some(name) => write!(formatter, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_meant() {
        for text in [
            "oci:images/python",
            "oci:images/python:3.13",
            "oci-archive:python.tar",
            "docker-archive:/tmp/python.tar:python:3.13",
        ] {
            let output: Result<Output, _> = text.parse();
            assert_eq!(
                output.map(|output| output.to_string()).ok(),
                Some(text.to_owned())
            );
        }
        for text in ["", "oci:", "oci:dir:", "python.tar", "docker:python"] {
            assert!(text.parse::<Output>().is_err(), "{text}");
        }
    }
}
