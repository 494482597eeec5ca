//! `gilbuild build`: from a version, an archive or a folder to an installed interpreter.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::build::options::{BuildOptions, Markers, Optimize};
use crate::build::patching::{self, Patch};
use crate::build::pipeline::{self, BuildError};
use crate::error::{CommandError, Exit};
use crate::sources::{self, FetchOptions, Request, Sha256, SourceChoice};
use crate::sources_progress::Shown;
use crate::terminal;

/// Build an interpreter with GIL markers
///
/// Prints the prefix, alone, on stdout. The same inputs again are done at once.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to build: a series (3.13), a release (3.13.5), each with `t` behind it for the free-threaded build, a
    /// source archive, or a source folder
    #[arg(value_name = "VERSION|PATH", required = true)]
    wanted: Vec<String>,
    /// Where to get the source: auto, python.org, debian, or a path
    #[arg(long, default_value = "auto")]
    source: SourceChoice,
    /// The SHA-256 sum of the archive, for a release that gilbuild does not know
    #[arg(long, value_name = "SUM")]
    sha256: Option<Sha256>,
    /// Install here, instead of in gilbuild's own folder
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// The compiler's effort
    #[arg(long, value_enum, default_value_t)]
    optimize: Optimize,
    /// The markers and their nop
    #[arg(long, value_enum, default_value_t)]
    markers: Markers,
    /// A patch of your own, applied after ours (any number)
    #[arg(long, value_name = "FILE")]
    patch: Vec<PathBuf>,
    /// How many compilers run at once [default: one a processor]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// When a source cannot be had or a step of the build fails.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.prefix.is_some() && arguments.wanted.len() > 1 {
        return Err(CommandError::new(
            Exit::Usage,
            "--prefix takes one version: several would be installed over each other",
        ));
    }
    let patches = arguments
        .patch
        .iter()
        .map(read_patch)
        .collect::<Result<Vec<_>, _>>()?;
    for wanted in &arguments.wanted {
        let prefix = build(wanted, arguments, &patches)?;
        terminal::result(&prefix.display().to_string())?;
    }
    Ok(())
}

fn build(wanted: &str, arguments: &Arguments, patches: &[Patch]) -> Result<PathBuf, CommandError> {
    let start = Instant::now();
    let supported = patching::supported();
    let request = Request::parse(wanted, &supported)
        .map_err(|error| CommandError::because(Exit::Usage, &error))?;
    let mut shown = Shown::default();
    let fetched = sources::fetch(
        &request,
        &FetchOptions {
            source: arguments.source.clone(),
            sha256: arguments.sha256,
            supported: &supported,
        },
        &mut shown,
    )
    .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    shown.finish();
    terminal::step(
        "Source",
        &format!(
            "CPython {} from {} ({})",
            fetched.version, fetched.provider, fetched.origin
        ),
    );
    let options = BuildOptions {
        optimize: arguments.optimize,
        markers: arguments.markers,
        free_threaded: request.free_threaded,
        patches: patches.to_vec(),
        jobs: arguments.jobs.unwrap_or_else(processors),
    };
    let built = pipeline::build(&fetched, &options, arguments.prefix.as_deref(), &mut shown)
        .map_err(|error| failure(&error))?;
    for module in &built.missing {
        terminal::warning(&format!(
            "the module {} is not in it: the library was not found (Debian: package {})",
            module.name, module.package
        ));
    }
    if built.was_there {
        terminal::step("Ready", "it was built before from the same inputs");
    } else {
        let seconds = start.elapsed().as_secs();
        terminal::step(
            "Built",
            &format!("in {} min {:02} s", seconds / 60, seconds % 60),
        );
    }
    Ok(built.prefix)
}

fn failure(error: &BuildError) -> CommandError {
    let exit = match error {
        BuildError::Patch(patching::PatchError::NoTool) | BuildError::NoCompiler(_) => {
            Exit::NotThisMachine
        }
        _ => Exit::Failed,
    };
    CommandError::because(exit, error)
}

fn read_patch(path: &PathBuf) -> Result<Patch, CommandError> {
    Ok(Patch {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        text: fs_err::read_to_string(path)?,
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
