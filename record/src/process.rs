//! Facts about a process out of `/proc`, and whether it is still there.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A hold on one process, which its number alone is not: a number is used again.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    handle: OwnedFd,
}

impl Process {
    /// `None` when there is no such process.
    pub(crate) fn open(pid: u32) -> Option<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let handle = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    /// Whether it has ended. A zombie has.
    pub(crate) fn has_ended(&self) -> bool {
        let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
        let now = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut handles, Some(&now)), Ok(ready) if ready > 0)
    }

    /// Sends a signal; to a process that has ended, nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }
}

impl Process {
    /// Stops it, and waits until it has: one that is starting a program does so first, which takes up to some milliseconds.
    pub(crate) fn stop(&self) {
        /// It may wait for a disk.
        const LONGEST: Duration = Duration::from_millis(200);
        const TICK: Duration = Duration::from_micros(50);
        self.signal(Signal::STOP);
        let begin = Instant::now();
        while !self.has_ended() && !self.is_stopped() && begin.elapsed() < LONGEST {
            thread::sleep(TICK);
        }
    }

    fn is_stopped(&self) -> bool {
        let state = status_line(self.pid, "State");
        state.is_some_and(|state| state.starts_with(['T', 't']))
    }
}

/// Whether there is such a process that can still do something: a zombie cannot.
pub(crate) fn is_alive(pid: u32) -> bool {
    Process::open(pid).is_some_and(|process| !process.has_ended())
}

/// The name (`comm`) of a process, lossily; empty when it is gone.
pub(crate) fn name(pid: u32) -> String {
    fs::read(format!("/proc/{pid}/comm"))
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .unwrap_or_default()
}

/// The command line of a process, its arguments separated by spaces; `None` for one that has none or is gone.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\0').replace('\0', " ");
    (!text.is_empty()).then_some(text)
}

/// All processes of this machine.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A line of `/proc/PID/status`, without its name.
fn status_line(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

/// Who started a process; 0 when nobody of its namespace did, `None` when it is gone.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    status_line(pid, "PPid")?.parse().ok()
}

/// The number of a process in its own pid namespace: the last of those that it has.
pub(crate) fn inner_pid(pid: u32) -> Option<u32> {
    let numbers = status_line(pid, "NSpid")?;
    numbers.split_ascii_whitespace().last()?.parse().ok()
}

/// The process `pid` and all that descend from it, parents before children.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while next < family.len() {
        for child in children(family[next]) {
            if !family.contains(&child) {
                family.push(child);
            }
        }
        next += 1;
    }
    family
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .flat_map(|thread| children_of_thread(&thread.path()))
        .collect()
}

fn children_of_thread(thread: &Path) -> Vec<u32> {
    let text = fs::read_to_string(thread.join("children")).unwrap_or_default();
    text.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
