//! `gilbuild image revert REF`: names the layer that `--onto` has put onto an image, and takes it off.

use clap::Args;
use gil_containers::base::Base;
use gil_containers::image::LayerOptions;
use gil_containers::layer::Compression;

use super::deliver::{Delivery, Finished};
use super::workbench::Workbench;
use crate::error::{CommandError, Exit};
use crate::image::revert::{Reverted, revert};
use crate::terminal;

/// Name the layer that --onto has put onto an image, and write the image without it
///
/// Prints the layer's digest and the digest of the image that it was put onto. With --output or --push, writes the image as it
/// was before.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The image: in a registry, oci:DIR[:TAG], oci-archive:FILE[:TAG], or docker-archive:FILE[:NAME:TAG]
    #[arg(value_name = "REF")]
    image: Base,
    #[command(flatten)]
    delivery: Delivery,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let bench = Workbench::new()?;
    // No layer is made.
    let options = LayerOptions {
        newest_s: 0,
        compression: Compression::default(),
        created_by: String::new(),
    };
    let transport = arguments.delivery.transport();
    let mut image = bench
        .fetch(&arguments.image, "image", &options, transport)?
        .image;
    let Reverted {
        layer,
        diff_id,
        record,
    } = revert(&mut image, &bench.layout)
        .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    terminal::result(&format!("layer    {}", layer.digest()))?;
    terminal::result(&format!("diff id  {diff_id}"))?;
    if let Some(onto) = &record.onto {
        terminal::result(&format!("put onto {onto}"))?;
    }
    for file in &record.replaced {
        terminal::result(&format!("replaced {}", file.path.display()))?;
    }
    if arguments.delivery.is_nowhere() {
        terminal::step(
            "Next",
            "go back to the image that it was put onto, or write this one without the layer: --output or --push",
        );
        return Ok(());
    }
    arguments.delivery.deliver(&Finished {
        layout: &bench.layout,
        image: &image,
        name: "application:reverted",
        base: &arguments.image,
        sbom: None,
    })
}
