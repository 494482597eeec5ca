//! Other programs that build images from a Containerfile: they take a base from us and give us what they made.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use crate::archive::{ArchiveError, open_oci_archive};
use crate::docker_archive::write_docker_archive;
use crate::image::{Image, ImageError};
use crate::layout::{Layout, LayoutError};
use crate::platform::Platform;
use crate::process::{self, ProcessError};

/// A program that builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Docker, with its daemon.
    Docker,
    /// podman.
    Podman,
    /// buildah.
    Buildah,
}

/// A text that names no engine.
#[derive(Debug, Clone, thiserror::Error)]
#[error("there is no engine `{0}`: say native, docker, podman or buildah")]
pub struct UnknownEngine(String);

/// Why an engine has made no image.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is not installed, or its daemon does not answer.
    #[error(
        "{engine} cannot be used on this machine (--engine native needs no other program): {error}"
    )]
    NotHere {
        /// Which.
        engine: Engine,
        /// What it said.
        #[source]
        error: ProcessError,
    },
    /// It failed.
    #[error("{engine} cannot {what}: {error}")]
    Failed {
        /// Which.
        engine: Engine,
        /// What it was asked for.
        what: &'static str,
        /// What it said.
        #[source]
        error: ProcessError,
    },
    /// The base cannot be handed over, or the result not taken.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The result is not what it should be.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The result's layout is not what it should be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What an engine is to build.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The folder with the Containerfile and all that it copies.
    pub context: &'a Path,
    /// Build arguments, by name.
    pub arguments: &'a [(&'a str, String)],
}

/// What the base and the result are called in the engine's store while it works.
const BASE: &str = "localhost/gilbuild-base";
const RESULT: &str = "localhost/gilbuild-result";

impl Engine {
    /// Builds the image of a context on a base, and puts it into the base's layout. `work` is an empty folder for what is needed
    /// meanwhile.
    ///
    /// # Errors
    /// When the engine fails. Nothing is then left in its store but its own caches.
    pub fn build(
        self,
        order: &Order<'_>,
        base: &Image,
        layout: &Layout,
        work: &Path,
    ) -> Result<Image, EngineError> {
        // Of another gilbuild's at the same time.
        let tag = std::process::id();
        let (base_name, result_name) = (format!("{BASE}:{tag}"), format!("{RESULT}:{tag}"));
        let result = self
            .load(base, layout, &base_name, work)
            .and_then(|()| self.make(order, &base_name, &result_name))
            .and_then(|()| self.take(&result_name, layout, work));
        for name in [result_name, base_name] {
            // The build's own caches refer to what they need.
            let _ = self.run("remove an image", &["rmi", &name]);
        }
        result
    }

    /// Whether it is here and answers.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(self) -> Result<(), EngineError> {
        let mut command = Command::new(self.program());
        let question: &[&str] = match self {
            // Answers only with a daemon.
            Self::Docker => &["version", "--format", "{{.Server.Version}}"],
            Self::Podman | Self::Buildah => &["info"],
        };
        process::run(command.args(question), self.package())
            .map(drop)
            .map_err(|error| EngineError::NotHere {
                engine: self,
                error,
            })
    }

    fn load(
        self,
        base: &Image,
        layout: &Layout,
        name: &str,
        work: &Path,
    ) -> Result<(), EngineError> {
        let path = work.join("base.tar");
        let mut file = std::io::BufWriter::new(fs_err::File::create(&path)?);
        write_docker_archive(layout, base, Some(name), &mut file)?;
        drop(file);
        let path_text = path.to_string_lossy();
        match self {
            Self::Docker | Self::Podman => {
                self.run("take the base", &["load", "--input", &path_text])?;
            }
            Self::Buildah => {
                let from = format!("docker-archive:{path_text}");
                let id = self.run("take the base", &["pull", "--quiet", &from])?;
                self.run("take the base", &["tag", id.trim(), name])?;
            }
        }
        Ok(fs_err::remove_file(path)?)
    }

    fn make(self, order: &Order<'_>, base: &str, name: &str) -> Result<(), EngineError> {
        let mut command = Command::new(self.program());
        command
            .args(["build", "--network=host", "--tag", name])
            .arg("--file")
            .arg(order.context.join("Containerfile"))
            .arg(format!("--build-arg=BASE={base}"));
        if self == Self::Docker {
            // Cache mounts are BuildKit's.
            command.env("DOCKER_BUILDKIT", "1");
        } else {
            command.arg("--layers");
        }
        for (name, value) in order.arguments {
            command.arg(format!("--build-arg={name}={value}"));
        }
        command.arg(order.context);
        process::run(&mut command, self.package())
            .map(drop)
            .map_err(|error| self.failed("build the image", error))
    }

    fn take(self, name: &str, layout: &Layout, work: &Path) -> Result<Image, EngineError> {
        let folder = work.join("result");
        let from = if self == Self::Docker {
            let file = work.join("result.tar");
            let path = file.to_string_lossy();
            self.run("save the image", &["save", "--output", &path, name])?;
            open_oci_archive(&file, &folder)?
        } else {
            let to = format!("oci:{}:result", folder.display());
            self.run("save the image", &["push", "--quiet", name, &to])?;
            Layout::open(&folder)?
        };
        let image = Image::load(&from, &from.find(None)?, &Platform::host())?;
        image.copy(&from, layout)?;
        Ok(image)
    }

    fn run(self, what: &'static str, arguments: &[&str]) -> Result<String, EngineError> {
        let mut command = Command::new(self.program());
        process::run(command.args(arguments), self.package())
            .map_err(|error| self.failed(what, error))
    }

    fn failed(self, what: &'static str, error: ProcessError) -> EngineError {
        EngineError::Failed {
            engine: self,
            what,
            error,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Docker => "docker.io",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        [Self::Docker, Self::Podman, Self::Buildah]
            .into_iter()
            .find(|engine| engine.program() == text)
            .ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.program())
    }
}
