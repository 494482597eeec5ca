//! `gilbuild image`: from a version to an image with an interpreter that has GIL markers, without a daemon.

mod deliver;
mod drop_in;
mod onto;
mod revert;
mod workbench;

use std::str::FromStr;
use std::time::Instant;

use clap::{Args, Subcommand};
use gil_containers::base::Base;
use gil_containers::engine::{Engine, UnknownEngine};
use gil_containers::layer::Compression;

use self::deliver::Delivery;
use super::build::Inputs;
use crate::build::options::Optimize;
use crate::error::{CommandError, Exit};
use crate::image::privilege;
use crate::terminal;

/// Build a container image with an interpreter that has GIL markers
///
/// The image is laid out like the official slim ones. The interpreter is compiled in a root of the image's own
/// distribution. Prints the reference with its digest on stdout. Needs no daemon, and no root where user namespaces are
/// allowed.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// What to build: a series (3.13), a release (3.13.5), each with `t` behind it for the free-threaded build, a
    /// source archive, or a source folder
    #[arg(value_name = "VERSION|PATH", required_unless_present = "onto")]
    wanted: Option<String>,
    /// What the image starts from: a Debian suite, an image in a registry, oci:DIR[:TAG], oci-archive:FILE[:TAG],
    /// docker-archive:FILE[:NAME:TAG], rootfs:DIR, or a tar archive
    #[arg(long, default_value = "bookworm")]
    base: Base,
    /// Exchange only the interpreter of this application's image, for the same release built with the same arguments and
    /// with markers; everything else of the image stays (what --base takes)
    #[arg(long, value_name = "REF", conflicts_with_all = ["wanted", "base", "optimize"])]
    onto: Option<Base>,
    /// With --onto, try what probably cannot work
    #[arg(long, requires = "onto")]
    force: bool,
    /// What builds the image: native (without any other program), or docker, podman, buildah with the bundled Containerfile
    #[arg(long, default_value = "native", conflicts_with = "onto")]
    engine: Choice,
    /// The compiler's effort
    #[arg(long, value_enum, default_value_t = Optimize::PgoLto)]
    optimize: Optimize,
    /// Leave out the Python package gilprobe, with which a program tells what it works for (spans and requests)
    #[arg(long, conflicts_with = "onto")]
    without_gilprobe: bool,
    #[command(flatten)]
    inputs: Inputs,
    /// How layers are compressed: gzip, zstd or none
    #[arg(long, default_value_t)]
    compression: Compression,
    #[command(flatten)]
    delivery: Delivery,
}

/// Another program that builds the image, or none.
#[derive(Debug, Clone, Copy)]
struct Choice(Option<Engine>);

impl FromStr for Choice {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        if text == "native" {
            return Ok(Self(None));
        }
        text.parse().map(|engine| Self(Some(engine)))
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    Revert(revert::Arguments),
}

/// Runs the command.
///
/// # Errors
/// When a source or the base cannot be had, a step of the build fails, or an output cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.action.is_none() {
        arguments.delivery.demand()?;
    }
    privilege::ensure().map_err(|error| CommandError::because(Exit::NotThisMachine, &error))?;
    let start = Instant::now();
    match (&arguments.action, &arguments.onto, &arguments.wanted) {
        (Some(Action::Revert(arguments)), ..) => return revert::run(arguments),
        (None, Some(onto), _) => onto::run(arguments, onto)?,
        (None, None, Some(wanted)) => drop_in::run(arguments, wanted)?,
        // clap demands one of them.
        (None, None, None) => {
            return Err(CommandError::new(
                Exit::Usage,
                "say a version, or --onto REF",
            ));
        }
    }
    let seconds = start.elapsed().as_secs();
    terminal::step(
        "Done",
        &format!("in {} min {:02} s", seconds / 60, seconds % 60),
    );
    Ok(())
}
