//! `gilbuild selftest`: CPython's own tests on two interpreters.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{CommandError, Exit};
use crate::selftest::compare::{Row, Tally, compare};
use crate::selftest::junit::Outcome;
use crate::selftest::regrtest::{self, Results};
use crate::terminal;

/// Run CPython's own tests on two interpreters and compare what becomes of each
///
/// Prints a table of the files of tests, and every test whose outcome differs. Files with a difference are run once more, one at a time,
/// on both: what was an accident of a busy machine goes away.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The prefix that is tested
    #[arg(value_name = "PREFIX")]
    prefix: PathBuf,
    /// The prefix that it is held against: the same version, built with --markers none
    #[arg(long, value_name = "PREFIX")]
    against: PathBuf,
    /// Which files of tests, `test_gc` for example; all of them without
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// How many files of tests run at once [default: one a processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When an interpreter cannot be run, or a test's outcome differs.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let jobs = arguments
        .jobs
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN);
    if let Some(name) = arguments.tests.iter().find(|name| name.starts_with('-')) {
        return Err(CommandError::new(
            Exit::Usage,
            format!("{name} is no file of tests: name them as CPython does, test_gc"),
        ));
    }
    let both = |names: &[String], jobs| -> Result<(Results, Results), CommandError> {
        Ok((
            tested(&arguments.prefix, names, jobs)?,
            tested(&arguments.against, names, jobs)?,
        ))
    };
    let (first, second) = both(&arguments.tests, jobs)?;
    let mut rows = compare(&first, &second);
    let different: Vec<String> = rows
        .iter()
        .filter(|row| !row.is_same())
        .map(|row| row.file.clone())
        .collect();
    if !different.is_empty() {
        terminal::step("Again", &different.join(" "));
        let (first, second) = both(&different, NonZeroUsize::MIN)?;
        let again = compare(&first, &second);
        rows.retain(|row| !different.contains(&row.file));
        rows.extend(again);
        rows.sort_by(|one, other| one.file.cmp(&other.file));
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&rows)
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        terminal::result(&text)?;
    } else {
        print(&rows)?;
    }
    let untested: Vec<&str> = rows
        .iter()
        .filter(|row| row.has_no_tests() && arguments.tests.contains(&row.file))
        .map(|row| row.file.as_str())
        .collect();
    if !untested.is_empty() {
        return Err(CommandError::new(
            Exit::Failed,
            format!(
                "nothing was tested with {}: neither interpreter has such a file of tests, or it breaks off on both",
                untested.join(" ")
            ),
        ));
    }
    let different = rows.iter().filter(|row| !row.is_same()).count();
    if different > 0 {
        return Err(CommandError::new(
            Exit::Failed,
            format!(
                "{different} of {} files of tests give another result than on {}",
                rows.len(),
                arguments.against.display()
            ),
        ));
    }
    Ok(())
}

fn tested(prefix: &Path, names: &[String], jobs: NonZeroUsize) -> Result<Results, CommandError> {
    terminal::step("Testing", &prefix.display().to_string());
    regrtest::run(prefix, names, jobs).map_err(|error| CommandError::because(Exit::Failed, &error))
}

fn print(rows: &[Row]) -> std::io::Result<()> {
    let cell = |tally: &Tally, listed: Option<&String>| {
        format!(
            "{:>6} {:>5} {:>5}  {:<10}",
            tally.passed,
            tally.skipped,
            tally.failed,
            listed.map_or("", String::as_str)
        )
    };
    terminal::result(&format!(
        "{:<32} {:<30} {:<30}\n{:<32} passed  skip  fail             passed  skip  fail",
        "", "tested", "against", "file"
    ))?;
    for row in rows {
        terminal::result(
            format!(
                "{:<32} {} {} {}",
                row.file,
                cell(&row.tested, row.listed.0.as_ref()),
                cell(&row.against, row.listed.1.as_ref()),
                if row.is_same() { "" } else { "DIFFERENT" }
            )
            .trim_end(),
        )?;
        for (name, tested, against) in &row.differences {
            let word = |outcome: &Option<Outcome>| match outcome {
                Some(Outcome::Passed) => "passed",
                Some(Outcome::Skipped) => "skipped",
                Some(Outcome::Failed) => "failed",
                None => "not run",
            };
            terminal::result(&format!(
                "  {name}: {}, against {}",
                word(tested),
                word(against)
            ))?;
        }
    }
    let sum = |pick: fn(&Row) -> &Tally| {
        rows.iter().fold(Tally::default(), |sum, row| Tally {
            passed: sum.passed + pick(row).passed,
            skipped: sum.skipped + pick(row).skipped,
            failed: sum.failed + pick(row).failed,
        })
    };
    terminal::result(&format!(
        "{:<32} {} {}",
        format!("{} files", rows.len()),
        cell(&sum(|row| &row.tested), None),
        cell(&sum(|row| &row.against), None).trim_end()
    ))
}
