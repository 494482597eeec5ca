//! `gilbuild build`: from a version, an archive or a folder to an installed interpreter.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use crate::build::options::{BuildOptions, Markers, Optimize};
use crate::build::patching::{self, Patch};
use crate::build::pipeline::{self, BuildError};
use crate::error::{CommandError, Exit};
use crate::sources::{self, FetchOptions, Request, Sha256, Source, SourceChoice};
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
    /// Install here, instead of in gilbuild's own folder
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// The compiler's effort
    #[arg(long, value_enum, default_value_t)]
    optimize: Optimize,
    #[command(flatten)]
    inputs: Inputs,
}

/// What every command that compiles an interpreter is told about it.
#[derive(Debug, Args)]
pub(super) struct Inputs {
    /// Where to get the source: auto, python.org, debian, or a path
    #[arg(long, default_value = "auto")]
    source: SourceChoice,
    /// The SHA-256 sum of the archive, for a release that gilbuild does not know
    #[arg(long, value_name = "SUM")]
    sha256: Option<Sha256>,
    /// The markers and their nop
    #[arg(long, value_enum, default_value_t)]
    markers: Markers,
    /// An argument for `configure` beside ours, as --configure=--with-assertions (any number)
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    configure: Vec<String>,
    /// A patch of your own, applied after ours (any number)
    #[arg(long, value_name = "FILE")]
    patch: Vec<PathBuf>,
    /// How many compilers run at once [default: one a processor]; several versions are built at once, and share them
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

impl Inputs {
    /// Gets the source and says where it came from; then what is to be made of it.
    pub(super) fn resolve(
        &self,
        wanted: &str,
        optimize: Optimize,
    ) -> Result<(Source, BuildOptions), CommandError> {
        // Before anything is fetched: a patch that cannot be read is a slip of the pen.
        let patches = self
            .patch
            .iter()
            .map(|path| read_patch(path))
            .collect::<Result<Vec<_>, _>>()?;
        let (request, source) = fetch(wanted, &self.source, self.sha256)?;
        let options = BuildOptions {
            optimize,
            markers: self.markers,
            free_threaded: request.free_threaded,
            patches,
            configure: None,
            additional: self.configure.clone(),
            jobs: self.jobs,
        };
        Ok((source, options))
    }
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
    if let [wanted] = &arguments.wanted[..] {
        let (source, options) = arguments.inputs.resolve(wanted, arguments.optimize)?;
        let prefix = compile(&source, &options, arguments.prefix.as_deref())?;
        return Ok(terminal::result(&prefix.display().to_string())?);
    }
    // One after the other: what is fetched for one may do for the next.
    let orders = arguments
        .wanted
        .iter()
        .map(|wanted| arguments.inputs.resolve(wanted, arguments.optimize))
        .collect::<Result<Vec<_>, _>>()?;
    report(&arguments.wanted, several(orders))
}

/// A build that is over: its prefix or why there is none, and how long it took.
type Outcome = (Result<PathBuf, CommandError>, Duration);

/// Builds several at once: `configure` and the training keep one processor busy, and leave the others to other builds. They share the
/// compilers that one alone would run.
fn several(mut orders: Vec<(Source, BuildOptions)>) -> Vec<Outcome> {
    let compilers = orders.first().map_or(1, |(_, options)| options.jobs());
    let at_once = compilers.clamp(1, orders.len().max(1));
    for (_, options) in &mut orders {
        options.jobs = NonZeroUsize::new((compilers / at_once).max(1));
    }
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Outcome>>> = orders.iter().map(|_| Mutex::default()).collect();
    let work = || {
        while let Some(at) =
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < orders.len())
        {
            let start = Instant::now();
            let (source, options) = &orders[at];
            let outcome = (compile(source, options, None), start.elapsed());
            if let Ok(mut place) = outcomes[at].lock() {
                *place = Some(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    outcomes
        .into_iter()
        .filter_map(|outcome| outcome.into_inner().ok().flatten())
        .collect()
}

/// A table of the builds; their prefixes on stdout, in the order in which they were asked for. Fails when one of them has.
fn report(wanted: &[String], outcomes: Vec<Outcome>) -> Result<(), CommandError> {
    let mut failure = None;
    for (wanted, (built, took)) in wanted.iter().zip(outcomes) {
        let seconds = took.as_secs();
        let took = format!("{:>3} min {:02} s", seconds / 60, seconds % 60);
        match built {
            Ok(prefix) => {
                terminal::step("Built", &format!("{wanted:<10} {took}"));
                terminal::result(&prefix.display().to_string())?;
            }
            Err(error) => {
                terminal::step("Failed", &format!("{wanted:<10} {took}"));
                if let Some(before) = failure.replace(error) {
                    terminal::warning(&before.to_string());
                }
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Gets the source and says where it came from.
pub(super) fn fetch(
    wanted: &str,
    choice: &SourceChoice,
    sha256: Option<Sha256>,
) -> Result<(Request, Source), CommandError> {
    let supported = patching::supported();
    let request = Request::parse(wanted, &supported)
        .map_err(|error| CommandError::because(Exit::Usage, &error))?;
    let options = FetchOptions {
        source: choice.clone(),
        sha256,
        supported: &supported,
    };
    let mut shown = Shown::default();
    let source = sources::fetch(&request, &options, &mut shown)
        .map_err(|error| CommandError::new(Exit::Failed, error.to_string()))?;
    shown.finish();
    // Where none served, the error lists them.
    for refusal in &source.refusals {
        terminal::step("Refused", &refusal.to_string());
    }
    terminal::step(
        "Source",
        &format!(
            "CPython {} from {} ({})",
            source.version, source.provider, source.origin
        ),
    );
    Ok((request, source))
}

/// Makes the prefix and says what is worth knowing about it.
pub(super) fn compile(
    source: &Source,
    options: &BuildOptions,
    place: Option<&Path>,
) -> Result<PathBuf, CommandError> {
    let start = Instant::now();
    let mut shown = Shown::default();
    let built =
        pipeline::build(source, options, place, &mut shown).map_err(|error| failure(&error))?;
    shown.finish();
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

fn read_patch(path: &Path) -> Result<Patch, CommandError> {
    Ok(Patch {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        text: fs_err::read_to_string(path)?,
    })
}
