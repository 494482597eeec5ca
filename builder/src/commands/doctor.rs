//! `gilbuild doctor`: says which ways of tracing work on this machine, and what would mend the others.

use clap::Args;

use crate::error::{CommandError, Exit};
use crate::host::{self, Facts, State, Way};
use crate::terminal;

/// Say what this machine can trace with, and what to install
///
/// Fails with status 3 when nothing works.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When this machine can trace with none of them.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let facts = Facts::of_this_machine();
    let ways = [
        host::native(&facts),
        host::bpftrace(&facts),
        host::systemtap(&facts),
    ];
    if arguments.json {
        let text = serde_json::to_string_pretty(&ways)
            .map_err(|error| CommandError::because(Exit::Failed, &error))?;
        terminal::result(&text)?;
    } else {
        for way in &ways {
            for line in lines(way) {
                terminal::result(&line)?;
            }
        }
    }
    if ways.iter().any(Way::works) {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::NotThisMachine,
        "this machine can trace neither with its own eBPF program nor with bpftrace nor with SystemTap: mend one of them as said above",
    ))
}

/// What to tell a person about one way.
fn lines(way: &Way) -> Vec<String> {
    let verdict = if way.works() {
        "works"
    } else {
        "does not work"
    };
    let mut lines = vec![format!("{}: {verdict}", way.name)];
    for need in &way.needs {
        let mark = match need.state {
            State::Met => "ok",
            State::Missing => "NO",
        };
        lines.push(format!("  {mark:<6} {:<17} {}", need.what, need.found));
        if let Some(mend) = &need.mend {
            lines.push(format!("{:26}to mend it: {mend}", ""));
        }
    }
    lines
}
