//! `gilbuild quickstart`: builds an interpreter and shows with it what a GIL problem looks like, and what none looks like.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use gil_record::{Options as RecordOptions, Silent, Target};
use gil_report::render::{self, TextOptions};

use super::{build, record};
use crate::build::options::BuildOptions;
use crate::build::patching;
use crate::error::{CommandError, Exit};
use crate::sources::SourceChoice;
use crate::terminal;

/// Build an interpreter and see with it what a GIL problem looks like
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to build, see `gilbuild build` [default: the newest series that can be had]
    #[arg(value_name = "VERSION|PATH")]
    wanted: Option<String>,
    /// For how long to record each scenario
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
}

struct Scenario {
    title: &'static str,
    program: &'static str,
}

const SCENARIOS: [Scenario; 2] = [
    Scenario {
        title: "Two threads that do I/O",
        program: "io_only.py",
    },
    Scenario {
        title: "The same two, and one thread that computes",
        program: "io_and_cpu.py",
    },
];

/// The programs of the scenarios, and what they share.
const PROGRAMS: [(&str, &str); 3] = [
    (
        "workload.py",
        include_str!("../../../tests/workloads/workload.py"),
    ),
    (
        "io_only.py",
        include_str!("../../../tests/workloads/io_only.py"),
    ),
    (
        "io_and_cpu.py",
        include_str!("../../../tests/workloads/io_and_cpu.py"),
    ),
];

/// Runs the command.
///
/// # Errors
/// When no interpreter can be built, or this machine cannot record.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let prefix = interpreter(arguments.wanted.as_deref())?;
    let folder = tempfile::tempdir()?;
    for (name, text) in PROGRAMS {
        fs_err::write(folder.path().join(name), text)?;
    }
    for scenario in &SCENARIOS {
        terminal::step(
            "Recording",
            &format!("{} ({} s)", scenario.program, arguments.seconds),
        );
        let trace = record_scenario(&prefix, folder.path(), scenario, arguments.seconds)?;
        terminal::result(&format!("\n== {}: {}\n", scenario.title, scenario.program))?;
        show(&trace)?;
    }
    terminal::step("Next", "record a program of your own with it:");
    terminal::step(
        "",
        &format!(
            "gilbuild record -- {}/bin/python3 PROGRAM",
            prefix.display()
        ),
    );
    Ok(())
}

/// An interpreter with markers: the one asked for, or that of the newest series that can be had here.
fn interpreter(wanted: Option<&str>) -> Result<PathBuf, CommandError> {
    let wanted: Vec<String> = match wanted {
        Some(wanted) => vec![wanted.to_owned()],
        None => patching::supported()
            .iter()
            .rev()
            .map(ToString::to_string)
            .collect(),
    };
    let mut reasons = Vec::new();
    for wanted in &wanted {
        match build::fetch(wanted, &SourceChoice::Auto, None) {
            Ok((_, source)) => return build::compile(&source, &BuildOptions::default(), None),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(CommandError::new(Exit::Failed, reasons.join("\n")))
}

fn record_scenario(
    prefix: &Path,
    folder: &Path,
    scenario: &Scenario,
    seconds: u64,
) -> Result<PathBuf, CommandError> {
    let output = folder.join(scenario.program).with_extension("trace");
    let command: Vec<OsString> = vec![
        prefix.join("bin/python3").into(),
        folder.join(scenario.program).into(),
        "--seconds".into(),
        // The program outlives the recording, which ends it.
        (seconds + 5).to_string().into(),
    ];
    let options = RecordOptions {
        duration: Some(Duration::from_secs(seconds)),
        output: Some(output.clone()),
        ..RecordOptions::default()
    };
    gil_record::record(&Target::Command(command), &options, &mut Silent)
        .map_err(|error| record::failure(&error))?;
    Ok(output)
}

fn show(trace: &Path) -> Result<(), CommandError> {
    let file = fs_err::File::open(trace)?;
    let report = gil_report::analyse(file, &gil_report::Options::default())
        .map_err(|error| CommandError::because(Exit::Failed, &error))?;
    let mut text = Vec::new();
    let options = TextOptions {
        color: terminal::result_has_color(),
        ..TextOptions::default()
    };
    render::text(&report, &options, &mut text)?;
    terminal::result(&String::from_utf8_lossy(&text))?;
    Ok(())
}
