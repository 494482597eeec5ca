//! `gilbuild image --onto REF`: an application's own image, with only the interpreter exchanged.

use gil_containers::base::Base;
use gil_containers::debian::SUITES;
use gil_containers::image::{Image, LayerOptions};
use gil_containers::root::Root;

use super::Arguments;
use super::deliver::Finished;
use super::workbench::{Workbench, newest_s, say};
use crate::build::options::{BuildOptions, Optimize};
use crate::error::{CommandError, Exit};
use crate::image::exchange::{Application, Exchanged, exchange};
use crate::image::interpreter::Order;
use crate::image::misfit::misfits;
use crate::image::survey::{Found, survey};
use crate::terminal::{self, Progress};

pub(super) fn run(arguments: &Arguments, onto: &Base) -> Result<(), CommandError> {
    let failed = |error: &dyn std::error::Error| CommandError::because(Exit::Failed, error);
    let bench = Workbench::new()?;
    let transport = arguments.delivery.transport();
    let mut layer_options = LayerOptions {
        newest_s: 0,
        compression: arguments.compression,
        created_by: "gilbuild image --onto".to_owned(),
    };
    let fetched = bench.fetch(onto, "application", &layer_options, transport)?;
    let mut image = fetched.image;
    let target = bench.folder("target")?;
    image
        .unpack(&bench.layout, &target)
        .map_err(|error| failed(&error))?;
    let root = Root::new(&target)?;
    let found =
        survey(&root, image.configuration.variable("PATH")).map_err(|error| failed(&error))?;
    terminal::step("Found", &found.to_string());
    judge(arguments, onto, &root, &found)?;

    let optimize = optimize(&found.configure);
    let (source, options) = arguments.inputs.resolve(&found.request(), optimize)?;
    if source.version != found.version {
        return Err(CommandError::new(
            Exit::Usage,
            format!(
                "the image has CPython {} and the source is {}: give the source of the same release",
                found.version, source.version
            ),
        ));
    }
    let options = BuildOptions {
        configure: Some([found.configure.clone(), options.additional.clone()].concat()),
        ..options
    };
    let tree = bench.unpack(&source)?;
    layer_options.newest_s = newest_s(&tree)?;
    layer_options.created_by = format!(
        "gilbuild image --onto: CPython {} with GIL markers",
        found.version
    );
    let order = Order {
        source: &source,
        tree: &tree,
        options: &options,
        prefix: &found.prefix,
        newest_s: layer_options.newest_s,
        // Only the interpreter is exchanged.
        gilprobe: false,
    };
    let interpreter = bench.build(
        &order,
        &workshop(arguments, &bench, &found, &image, &layer_options)?,
    )?;

    let progress = Progress::start("Exchanging", "the interpreter");
    let application = Application {
        root: &root,
        found: &found,
        digest: fetched.digest.as_ref(),
    };
    let exchanged = exchange(
        &application,
        &interpreter,
        &mut image,
        &bench.layout,
        &layer_options,
    )
    .map_err(|error| failed(&error))?;
    progress.finish();
    show(&exchanged);
    arguments.delivery.deliver(&Finished {
        layout: &bench.layout,
        image: &image,
        name: &name(onto),
        base: onto,
        sbom: Some(&exchanged.sbom),
    })
}

/// Refuses what cannot work, with all reasons; with `--force` they are only said.
fn judge(
    arguments: &Arguments,
    onto: &Base,
    root: &Root,
    found: &Found,
) -> Result<(), CommandError> {
    let reasons: Vec<String> = misfits(root, found)
        .iter()
        .map(ToString::to_string)
        .collect();
    if reasons.is_empty() {
        return Ok(());
    }
    if arguments.force {
        for reason in reasons {
            terminal::warning(&reason);
        }
        return Ok(());
    }
    Err(CommandError::new(
        Exit::Failed,
        format!(
            "cannot exchange {} of {onto}: {}; --force tries it nevertheless",
            found.program.display(),
            reasons.join("; ")
        ),
    ))
}

/// The compiler's effort that an interpreter's arguments stand for.
fn optimize(configure: &[String]) -> Optimize {
    let has = |start: &str| configure.iter().any(|argument| argument.starts_with(start));
    match (has("--enable-optimizations"), has("--with-lto")) {
        (true, true) => Optimize::PgoLto,
        (true, false) => Optimize::Pgo,
        (false, _) => Optimize::None,
    }
}

/// What the interpreter is built in: the image's distribution alone, where it is one that can be made; so all images of that
/// distribution share one build root. Else the image itself.
fn workshop(
    arguments: &Arguments,
    bench: &Workbench,
    found: &Found,
    image: &Image,
    options: &LayerOptions,
) -> Result<Image, CommandError> {
    let suite = found.suite.as_deref();
    let Some(suite) = suite.filter(|suite| SUITES.contains(suite)) else {
        return Ok(image.clone());
    };
    let base = Base::Suite(suite.to_owned());
    let transport = arguments.delivery.transport();
    Ok(bench
        .fetch(&base, "distribution", options, transport)?
        .image)
}

/// The layer, file by file.
fn show(exchanged: &Exchanged) {
    say(&exchanged.layer);
    for path in &exchanged.changes.written {
        let verb = if exchanged.replaced.contains(path) {
            "Replaced"
        } else {
            "Added"
        };
        terminal::step(verb, &format!("/{}", path.display()));
    }
    for path in &exchanged.changes.removed {
        terminal::step("Removed", &format!("/{}", path.display()));
    }
}

/// What the new image is called: as the old one, and `-gil`.
fn name(onto: &Base) -> String {
    match onto {
        Base::Registry(reference) => {
            let repository = reference.repository();
            let last = repository.rsplit('/').next().unwrap_or(repository);
            format!("{last}:{}-gil", reference.tag().unwrap_or("latest"))
        }
        Base::Oci(_, Some(tag)) | Base::OciArchive(_, Some(tag)) => {
            format!("application:{tag}-gil")
        }
        _ => "application:gil".to_owned(),
    }
}
