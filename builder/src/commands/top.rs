//! `gilbuild top`: what the threads of running processes do with the GIL, as they do it.

use std::io::IsTerminal as _;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use gil_record::{Live, StopFlag, Target};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::processes::Processes;
use super::record;
use crate::error::{CommandError, Exit};
use crate::terminal;
use crate::top::board::Board;
use crate::top::keys::{self, After};
use crate::top::screen::{self, Screen};

/// How often keys and new processes are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long leaving may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// A shorter interval shows nothing but noise.
const SHORTEST: Duration = Duration::from_millis(100);

/// Watch live who holds the GIL and who waits for it
///
/// Shows each thread's share of hold and wait, how often it is asked to give the GIL up, and its part of what others wait.
/// Counts in the kernel, as `record --mode summary` does; needs the same rights, and ends when the processes do.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["pid", "container", "cgroup", "all", "build_id"]))]
pub struct Arguments {
    #[command(flatten)]
    processes: Processes,
    /// How long each of the moments is that are shown
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1s")]
    interval: Duration,
}

/// Runs the command.
///
/// # Errors
/// When the processes cannot be attached to, or there is no terminal.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let stop = StopFlag::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.shared())?;
    }
    leave_in_any_case(stop.clone());
    // clap has seen to it that it is one of them.
    let target = arguments.processes.target().unwrap_or(Target::All);
    let title = title(&target);
    let mut live = Live::attach(&target).map_err(|error| record::failure(&error))?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(CommandError::Failure {
            message: "top draws on a terminal, and stdin or stdout is none: `gilbuild record --mode summary` writes a text".to_owned(),
            exit: Exit::Failed,
        });
    }
    let board = Board::new(format!("{title}{}", python(&live)));
    let ended = watch(&mut live, board, arguments.interval.max(SHORTEST), &stop)?;
    if ended {
        terminal::step("Ended", "what was watched has ended");
    }
    Ok(())
}

/// A terminal that goes while a key is being read keeps the reader for ever: whoever asks us to stop still gets his way.
fn leave_in_any_case(stop: StopFlag) {
    thread::spawn(move || {
        while !stop.is_set() {
            thread::sleep(TICK);
        }
        thread::sleep(PATIENCE);
        let _ = ratatui::try_restore();
        std::process::exit(1);
    });
}

/// Shows the board until there is a reason to stop; whether that is that nobody is left.
fn watch(
    live: &mut Live,
    mut board: Board,
    interval: Duration,
    stop: &StopFlag,
) -> Result<bool, CommandError> {
    let sample = |live: &Live| live.sample().map_err(|error| record::failure(&error));
    board.update(sample(live)?);
    let mut next = Instant::now() + interval;
    let mut screen = Screen::take()?;
    loop {
        while let Some(key) = screen.key()? {
            if keys::press(&mut board, key) == After::Leave {
                return Ok(false);
            }
        }
        if stop.is_set() || screen::has_hung_up() {
            return Ok(false);
        }
        if live.has_ended() {
            return Ok(true);
        }
        if Instant::now() >= next {
            board.update(sample(live)?);
            next += interval;
        }
        screen.draw(&board)?;
        live.wait(TICK);
    }
}

/// What the screen calls it.
fn title(target: &Target) -> String {
    match target {
        Target::Process(pid) => format!("process {pid}"),
        Target::Container(name) => format!("container {name}"),
        Target::Cgroup(path) => format!("control group {}", path.display()),
        Target::Build(build_id) => format!("build {build_id}"),
        Target::All | Target::Command(_) => "this machine".to_owned(),
    }
}

/// The version of Python, if there is only one.
fn python(live: &Live) -> String {
    let mut versions: Vec<_> = live
        .interpreters()
        .iter()
        .map(|interpreter| interpreter.version.as_deref())
        .collect();
    versions.dedup();
    match versions.as_slice() {
        [Some(version)] => format!(", Python {version}"),
        _ => String::new(),
    }
}
