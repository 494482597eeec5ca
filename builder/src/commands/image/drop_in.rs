//! `gilbuild image VERSION`: a base with an interpreter put onto it.

use std::path::Path;

use gil_containers::base::Base;
use gil_containers::image::LayerOptions;

use super::Arguments;
use super::deliver::Finished;
use super::workbench::{Workbench, newest_s, say};
use crate::build::options::Markers;
use crate::error::{CommandError, Exit};
use crate::image::assemble::{Assembled, Made, adopt, assemble};
use crate::image::engine;
use crate::image::interpreter::Order;
use crate::image::recipe;
use crate::terminal::Progress;

pub(super) fn run(arguments: &Arguments, wanted: &str) -> Result<(), CommandError> {
    if let Some(engine) = arguments.engine.0 {
        engine
            .check()
            .map_err(|error| CommandError::because(Exit::NotThisMachine, &error))?;
    }
    let (source, options) = arguments.inputs.resolve(wanted, arguments.optimize)?;
    let bench = Workbench::new()?;
    let tree = bench.unpack(&source)?;
    let layer_options = LayerOptions {
        newest_s: newest_s(&tree)?,
        compression: arguments.compression,
        created_by: format!("gilbuild image {}", source.version),
    };
    let base = &arguments.base;
    let transport = arguments.delivery.transport();
    let fetched = bench.fetch(base, "base", &layer_options, transport)?;
    let mut image = fetched.image;
    if let Base::Suite(_) | Base::Registry(_) = base {
        let name = "org.opencontainers.image.base.name";
        image.configuration.set_label(name, &base.to_string());
    }
    if let Some(digest) = fetched.digest {
        let name = "org.opencontainers.image.base.digest";
        image.configuration.set_label(name, &digest.to_string());
    }
    let order = Order {
        source: &source,
        tree: &tree,
        options: &options,
        prefix: Path::new(recipe::PREFIX),
        newest_s: layer_options.newest_s,
        // Without markers, an image is what the official one is.
        gilprobe: !arguments.without_gilprobe && options.markers != Markers::None,
    };
    let Assembled { layer, sbom } = match arguments.engine.0 {
        None => {
            let interpreter = bench.build(&order, &image)?;
            let progress = Progress::start("Assembling", "the image");
            let work = bench.folder("assembly")?;
            let assembled = assemble(
                &mut image,
                &bench.layout,
                &interpreter,
                &work,
                &layer_options,
            );
            progress.finish();
            assembled
        }
        Some(engine) => {
            let progress = Progress::start("Building", &format!("with {engine}"));
            let work = bench.folder("engine")?;
            let made = engine::build(engine, &order, &image, &bench.layout, &work)
                .map_err(|error| CommandError::because(Exit::Failed, &error))?;
            let made = Made {
                image: &made,
                source: &source,
                options: &options,
            };
            let work = bench.folder("assembly")?;
            let adopted = adopt(&mut image, &bench.layout, &made, &work, &layer_options);
            progress.finish();
            adopted
        }
    }
    .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    say(&layer);
    arguments.delivery.deliver(&Finished {
        layout: &bench.layout,
        image: &image,
        name: &format!("python:{}-gil", source.version),
        base,
        sbom: Some(&sbom),
    })
}
