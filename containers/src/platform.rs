//! Which machines an image is for.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Descriptor;

use crate::image::ImageError;

/// An operating system and an architecture, as Go calls them: `linux/amd64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
}

/// A text that names no platform.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is no platform: say, for example, linux/amd64 or linux/arm64")]
pub struct UnknownPlatform(String);

impl Platform {
    /// The platform of this machine.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
        }
    }

    /// The architecture.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The operating system.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    pub(crate) fn is(&self, architecture: &str, os: &str) -> bool {
        self.architecture == architecture && self.os == os
    }

    /// The image for this platform out of an index.
    pub(crate) fn choose<'images>(
        &self,
        images: &'images [Descriptor],
    ) -> Result<&'images Descriptor, ImageError> {
        let names = |image: &Descriptor| {
            image.platform().as_ref().map(|platform| {
                (
                    platform.architecture().to_string(),
                    platform.os().to_string(),
                )
            })
        };
        images
            .iter()
            .find(|image| {
                names(image).is_some_and(|(architecture, os)| self.is(&architecture, &os))
            })
            .ok_or_else(|| {
                let found: Vec<String> = images
                    .iter()
                    .filter_map(names)
                    .map(|(architecture, os)| format!("{os}/{architecture}"))
                    .collect();
                ImageError::Platform {
                    found: found.join(", "),
                    wanted: self.clone(),
                }
            })
    }
}

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        match text.split('/').collect::<Vec<_>>()[..] {
            ["linux", architecture] if !architecture.is_empty() => Ok(Self {
                os: "linux".to_owned(),
                architecture: architecture.to_owned(),
            }),
            _ => Err(UnknownPlatform(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)
    }
}
