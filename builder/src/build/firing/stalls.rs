//! Fires the markers that a free-threaded interpreter has besides.

use std::fmt;
use std::path::Path;

use gil_report::{Kind, Stall};

use super::{FireError, PLAUSIBLE_NS, demand, events};

/// One thread collects garbage, which stops the world; two others want a lock, and each keeps it for longer than anybody spins. (It is the
/// one kind of mutex that a program can keep for as long as it likes.)
const PROGRAM: &str = "
import gc, threading, time
end = time.monotonic() + 2
lock = threading.Lock()
def collects():
    while time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
def keeps():
    while time.monotonic() < end:
        with lock:
            time.sleep(0.05)
threads = [threading.Thread(target=target) for target in (collects, keeps, keeps)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
";

/// How often each marker fired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fired {
    /// `stw__begin`
    pub begins: u64,
    /// `stw__stopped`
    pub stopped: u64,
    /// `stw__end` with a `stopped_ns` that is known
    pub ends: u64,
    /// `mutex__wait`
    pub mutexes: u64,
}

impl fmt::Display for Fired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "stw__begin {}, stw__stopped {}, stw__end {}, mutex__wait {}",
            self.begins, self.stopped, self.ends, self.mutexes
        )
    }
}

/// Runs a small program on a free-threaded interpreter with a tracer attached, and demands each marker with plausible values.
///
/// # Errors
/// When this machine cannot trace, or the markers do not fire as the contract says.
pub fn fire(python: &Path) -> Result<Fired, FireError> {
    let mut fired = Fired::default();
    for event in events(python, &["-X", "gil=0"], PROGRAM)? {
        let Kind::Stall(stall) = event.kind else {
            continue;
        };
        match stall {
            Stall::StwBegin { .. } => fired.begins += 1,
            Stall::StwStopped { wait_ns, .. } => {
                demand(wait_ns < PLAUSIBLE_NS, "stw__stopped", "wait_ns", wait_ns)?;
                fired.stopped += 1;
            }
            Stall::StwEnd {
                stopped_ns,
                wait_ns,
                ..
            } => {
                let plausible = stopped_ns < PLAUSIBLE_NS && wait_ns < PLAUSIBLE_NS;
                demand(plausible, "stw__end", "stopped_ns", stopped_ns)?;
                fired.ends += u64::from(stopped_ns > 0);
            }
            Stall::Mutex {
                address, wait_ns, ..
            } => {
                demand(address != 0, "mutex__wait", "address", address)?;
                let plausible = (1..PLAUSIBLE_NS).contains(&wait_ns);
                demand(plausible, "mutex__wait", "wait_ns", wait_ns)?;
                fired.mutexes += 1;
            }
        }
    }
    let never = [
        (fired.begins, "stw__begin"),
        (fired.stopped, "stw__stopped"),
        (fired.ends, "stw__end with a known stopped_ns"),
        (fired.mutexes, "mutex__wait"),
    ];
    match never.iter().find(|(count, _)| *count == 0) {
        Some((_, marker)) => Err(FireError::Implausible(format!(
            "{marker} did not fire ({fired})"
        ))),
        None => Ok(fired),
    }
}
