//! Fires the markers with which an interpreter tells what its threads are called and where in Python code they are.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use gil_record::{Backend, Options, Silent, Target, Told};
use gil_report::{Kind, TextReader};

use super::FireError;

/// A thread with a name that no other program gives, in a function with a name that no other has. It is not the first to run, so that the
/// tracer must be told of it.
const PROGRAM: &str = "
import threading, time
end = time.monotonic() + 2
def sleeps_in_here():
    while time.monotonic() < end:
        time.sleep(0.005)
thread = threading.Thread(target=sleeps_in_here, name='a sleeper with a longer name')
thread.start()
thread.join()
";
const NAME: &str = "a sleeper with a longer name";
const FUNCTION: &str = "function=sleeps_in_here ";

/// How often it told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fired {
    /// `thread__name`, of the thread above
    pub names: u64,
    /// Drops with a place in the function above
    pub places: u64,
}

impl fmt::Display for Fired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "thread__name {}, gil__drop with a function {}",
            self.names, self.places
        )
    }
}

/// Runs a small program with the native tracer attached, and demands its names.
///
/// # Errors
/// When this machine cannot trace, or the markers do not tell what they should.
pub fn fire(python: &Path, arguments: &[&str]) -> Result<Fired, FireError> {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("told.trace");
    let mut command: Vec<OsString> = vec![python.into(), "-I".into()];
    command.extend(arguments.iter().map(OsString::from));
    command.extend(["-c".into(), PROGRAM.into()]);
    let options = Options {
        backend: Backend::Native,
        told: Told {
            functions: true,
            spans: false,
        },
        output: Some(trace.clone()),
        ..Options::default()
    };
    gil_record::record(&Target::Command(command), &options, &mut Silent)?;
    let mut reader = TextReader::new(std::io::BufReader::new(fs_err::File::open(&trace)?))?;
    let mut fired = Fired::default();
    let mut place = None;
    while let Some(event) = reader.next_event()? {
        match event.kind {
            Kind::Thread(thread) => fired.names += u64::from(thread.name == NAME),
            Kind::Location { number, facts } if facts.contains(FUNCTION) => place = Some(number),
            Kind::At { location } => fired.places += u64::from(place == Some(location)),
            _ => {}
        }
    }
    match (fired.names, fired.places) {
        (0, _) => Err(implausible("thread__name told no name of a thread", fired)),
        (_, 0) => Err(implausible("gil__drop never said where it was", fired)),
        _ => Ok(fired),
    }
}

fn implausible(what: &str, fired: Fired) -> FireError {
    FireError::Implausible(format!("{what} ({fired})"))
}
