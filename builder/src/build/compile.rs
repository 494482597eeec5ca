//! From a patched tree to a compiled one: `configure` and `make`, with docker-library/python's flags.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::log::{Log, LogError};
use super::options::{BuildOptions, Markers, Optimize};
use super::workshop::Workshop;
use crate::environment::CC;
use crate::terminal::{Progress, Unit};

/// Frame pointers, so that stacks can be taken at a long hold. Given to `make` and not to `configure`: extension modules
/// that users build later choose for themselves.
pub const FRAME_POINTERS: &str = "-fno-omit-frame-pointer -mno-omit-leaf-frame-pointer";

/// Relative to the file itself, so that the prefix can be moved. For make, `$` is doubled.
const RPATH: &str = "-Wl,-rpath='$$ORIGIN/../lib'";

/// The arguments of `configure`, apart from the prefix: those of docker-library/python, DTrace probes, and the user's own.
#[must_use]
pub fn configure_arguments(options: &BuildOptions) -> Vec<String> {
    let mut arguments = vec![
        "--enable-loadable-sqlite-extensions",
        "--enable-option-checking=fatal",
        "--enable-shared",
        "--with-ensurepip",
        "--with-dtrace",
    ];
    match options.optimize {
        Optimize::None => {}
        Optimize::Pgo => arguments.push("--enable-optimizations"),
        Optimize::PgoLto => arguments.extend(["--enable-optimizations", "--with-lto"]),
    }
    if options.free_threaded {
        arguments.push("--disable-gil");
    }
    let own = options.additional.iter().cloned();
    arguments
        .into_iter()
        .map(str::to_owned)
        .chain(own)
        .collect()
}

/// The C compiler cannot be run.
#[derive(Debug, thiserror::Error)]
#[error(
    "the C compiler `{name}` cannot be run ({error}): install gcc (Debian: package build-essential), or name another one in CC"
)]
pub struct CompilerError {
    name: String,
    error: std::io::Error,
}

/// What the C compiler calls itself, on one line.
///
/// # Errors
/// When there is none.
pub fn compiler(workshop: &Workshop) -> Result<String, CompilerError> {
    let name = std::env::var(CC).unwrap_or_else(|_| "gcc".to_owned());
    let mut words = name.split_whitespace();
    let output = workshop
        .command(words.next().unwrap_or_default(), Path::new("/"))
        .args(words)
        .arg("--version")
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
        Err(error) => Err(CompilerError { name, error }),
    }
}

/// A tree on its way to being compiled.
pub struct Compilation<'a> {
    /// The patched tree.
    pub tree: &'a Path,
    /// Where it will be installed in the end, as the workshop calls it.
    pub prefix: &'a Path,
    /// Where the commands run.
    pub workshop: &'a Workshop,
    /// What was chosen.
    pub options: &'a BuildOptions,
    /// The arguments of `configure`, apart from the prefix.
    pub configure: &'a [String],
    /// The object files that hold markers.
    pub objects: Vec<String>,
}

impl Compilation<'_> {
    /// Configures and compiles the tree.
    ///
    /// # Errors
    /// When a step fails: with the lines that matter, and where the whole log is.
    pub fn run(&self, log: &mut Log) -> Result<(), LogError> {
        let progress = Progress::start("Configuring", &self.tree.display().to_string());
        let mut configure = self.command("./configure");
        configure
            .arg(format!("--prefix={}", self.prefix.display()))
            .args(self.configure);
        log.run("configure", &mut configure, |_| {})?;
        progress.finish();
        self.mark_objects()?;

        let mut progress = Progress::start("Compiling", &self.tree.display().to_string());
        let total = self.count_compilations();
        let mut done = 0;
        let mut make = self.make();
        make.arg(format!("--jobs={}", self.options.jobs()));
        log.run("make", &mut make, |line| match Event::of(line) {
            Some(Event::Compiles(file)) => {
                done += 1;
                progress.part(file, true);
                progress.position(done, total, Unit::Files);
            }
            Some(Event::Step(step)) => progress.part(step, false),
            Some(Event::Trains(test)) => progress.part(&format!("training with {test}"), true),
            None => {}
        })?;
        // The program was linked for running in the build folder. Link it once more for its place beside lib/.
        fs_err::remove_file(self.tree.join("python"))?;
        let mut link = self.make();
        link.arg(format!("LDFLAGS={} {RPATH}", self.workshop.linker_flags()))
            .arg("python");
        log.run("link", &mut link, |_| {})?;
        progress.finish();
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        self.workshop.command(program, self.tree)
    }

    pub(super) fn make(&self) -> Command {
        let mut make = self.command("make");
        let flags = self.workshop.compiler_flags();
        make.arg(format!("EXTRA_CFLAGS={flags} {FRAME_POINTERS}"));
        let flags = self.workshop.linker_flags();
        if !flags.is_empty() {
            make.arg(format!("LDFLAGS={flags}"));
        }
        make
    }

    /// Five-byte nops for the files that hold markers, and for no other: CPython's own probes stay as they are.
    fn mark_objects(&self) -> std::io::Result<()> {
        if self.options.markers != Markers::Nop5 {
            return Ok(());
        }
        let makefile: PathBuf = self.tree.join("Makefile");
        let mut file = fs_err::OpenOptions::new().append(true).open(makefile)?;
        for object in &self.objects {
            writeln!(
                file,
                "{object}: override EXTRA_CFLAGS += -DGIL_MARKERS_NOP5 -mno-red-zone"
            )?;
        }
        Ok(())
    }

    /// How many files `make` will compile, for the progress bar: an estimate, 0 = not known.
    fn count_compilations(&self) -> u64 {
        let Ok(output) = self.make().arg("--dry-run").output() else {
            return 0;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let compilations = text.lines().filter(|line| is_compilation(line)).count() as u64;
        match self.options.optimize {
            Optimize::None => compilations,
            // Once to collect the profile, once to use it. The dry run sees only one of them.
            Optimize::Pgo | Optimize::PgoLto => compilations * 2,
        }
    }
}

/// What a line of make's output tells.
enum Event<'a> {
    Compiles(&'a str),
    Step(&'static str),
    Trains(&'a str),
}

impl<'a> Event<'a> {
    fn of(line: &'a str) -> Option<Self> {
        if is_compilation(line) {
            let file = line
                .split_whitespace()
                .rfind(|word| !word.starts_with('-'))?;
            return Some(Self::Compiles(file.rsplit("./").next().unwrap_or(file)));
        }
        let steps = [
            (
                "Building with support for profile generation",
                "building for the training",
            ),
            ("Running code to generate profile data", "training"),
            (
                "Rebuilding with profile guided optimizations",
                "building with the profile",
            ),
        ];
        if let Some((_, step)) = steps.iter().find(|(text, _)| line.starts_with(text)) {
            return Some(Self::Step(step));
        }
        // regrtest: "0:00:12 load avg: 1.02 [ 7/44] test_bytes"
        let (_, test) = line.split_once("] test_")?;
        line.starts_with(|c: char| c.is_ascii_digit())
            .then(|| Self::Trains(test.split_whitespace().next().unwrap_or(test)))
    }
}

fn is_compilation(line: &str) -> bool {
    line.contains(" -c ")
        && line
            .split_whitespace()
            .any(|word| Path::new(word).extension().is_some_and(|end| end == "c"))
}
