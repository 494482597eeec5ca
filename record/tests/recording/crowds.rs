//! Many threads, and output that cannot keep up: everything is counted, what is lost as well.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use gil_record::{Backend, Mode, Options, RecordError, Recording, Silent, Target, record};
use gil_report::{ArrowReader, Kind, TextReader};

use crate::machine;
use crate::trace::Trace;

fn run(python: &OsString, code: &str, output: &Path) -> Result<Recording, RecordError> {
    let command = vec![python.clone(), "-c".into(), code.into()];
    let options = Options {
        backend: Backend::Native,
        mode: Mode::Events,
        output: Some(output.to_owned()),
        ..Options::default()
    };
    record(&Target::Command(command), &options, &mut Silent)
}

/// How many threads there were beside the first, and how often each of their numbers gave the GIL up of its own will.
fn voluntary_drops(python: &OsString, code: &str) -> (usize, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.trace");
    let recording = run(python, code, &output).unwrap();
    assert!(recording.command_status.unwrap().success());
    assert_eq!(recording.lost, 0);
    let trace = Trace::read(&output);
    let introduced = trace
        .events
        .iter()
        .filter(|event| matches!(event.kind, Kind::Thread(_)) && event.tid != trace.pid);
    let drops = trace
        .by_thread()
        .iter()
        .filter(|(tid, _)| **tid != trace.pid && **tid != 0)
        .map(|(_, thread)| thread.drops - thread.forced)
        .collect();
    (introduced.count(), drops)
}

#[test]
fn a_thousand_threads_at_once() {
    let test = "a_thousand_threads_at_once";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let (threads, drops) = voluntary_drops(
        &python,
        "
import os, _thread, time
reader, writer = os.pipe()
zero = os.open('/dev/zero', os.O_RDONLY)
ended = []
def work():
    os.read(reader, 1)
    for _ in range(50):
        os.read(zero, 1)
    ended.append(1)
_thread.stack_size(65536)
for _ in range(1000):
    _thread.start_new_thread(work, ())
os.close(writer)
while len(ended) < 1000 or _thread._count() > 0:
    time.sleep(0.01)
",
    );
    assert_eq!((threads, drops.len()), (1000, 1000));
    // The pipe, the reads, and its end.
    assert!(drops.iter().all(|&drops| drops == 52), "{drops:?}");
}

#[test]
fn ten_thousand_threads_that_live_shortly() {
    let test = "ten_thousand_threads_that_live_shortly";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let (threads, drops) = voluntary_drops(
        &python,
        "
import os, _thread, time
zero = os.open('/dev/zero', os.O_RDONLY)
def work():
    for _ in range(3):
        os.read(zero, 1)
_thread.stack_size(65536)
for _ in range(10000):
    while _thread._count() > 50:
        time.sleep(0.001)
    _thread.start_new_thread(work, ())
while _thread._count() > 0:
    time.sleep(0.01)
",
    );
    assert_eq!(threads, 10_000);
    // Numbers are used again, where there are few.
    assert!(drops.iter().all(|&drops| drops % 4 == 0), "{drops:?}");
    assert_eq!(drops.iter().sum::<u64>(), 40_000);
}

/// A reader that takes a little and then nothing until the process has ended: what does not fit is counted.
#[test]
fn what_a_slow_reader_does_not_take_is_counted_as_lost() {
    let test = "what_a_slow_reader_does_not_take_is_counted_as_lost";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let done = folder.path().join("done");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let code = format!(
        "
import os
zero = os.open('/dev/zero', os.O_RDONLY)
for _ in range(2_000_000):
    os.read(zero, 1)
open({:?}, 'w').close()
",
        done.display().to_string()
    );
    let (recording, written) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut written = Vec::new();
            let mut file = File::open(&pipe).unwrap();
            let mut some = vec![0; 65536];
            let length = file.read(&mut some).unwrap();
            written.extend_from_slice(&some[..length]);
            while !done.exists() {
                thread::yield_now();
                thread::sleep(Duration::from_millis(20));
            }
            file.read_to_end(&mut written).unwrap();
            written
        });
        let recording = run(&python, &code, &pipe).unwrap();
        (recording, reader.join().unwrap())
    });
    assert!(recording.lost > 0, "the buffer was large enough for all");
    let copy = folder.path().join("copy.trace");
    fs_err::write(&copy, written).unwrap();
    let (events, lost, _) = counted(&copy);
    assert_eq!(lost, recording.lost, "the trace says so, too");
    assert_eq!(events, recording.events);
    assert!(events + lost > 2_000_000, "{events} and {lost} lost");
    // Nothing that was hit is in neither.
    assert_eq!(recording.cost.unwrap().hits, events + lost);
}

/// A minute at the full rate of one thread, while what is written goes to a disk that takes a fraction of it.
#[test]
fn a_minute_at_full_rate_on_a_slow_disk_hides_nothing() {
    const SECONDS: u64 = 60;
    /// What the disk takes; the events are ten times as much.
    const BYTES_A_SECOND: u64 = 4 << 20;
    let test = "a_minute_at_full_rate_on_a_slow_disk_hides_nothing";
    if !gil_tests::long_tests(test) {
        return;
    }
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let reads = folder.path().join("reads");
    let code = format!(
        "
import os, time
zero = os.open('/dev/zero', os.O_RDONLY)
count, until = 0, time.monotonic() + {SECONDS}
while time.monotonic() < until:
    for _ in range(1000):
        os.read(zero, 1)
    count += 1000
open({:?}, 'w').write(str(count))
",
        reads.display().to_string()
    );
    // The names say which form it has.
    for name in ["pipe.trace", "pipe.arrow"] {
        let pipe = folder.path().join(name);
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let copy = folder.path().join(format!("copy-{name}"));
        let recording = thread::scope(|scope| {
            scope.spawn(|| {
                let (mut from, mut to) = (File::open(&pipe).unwrap(), File::create(&copy).unwrap());
                let mut some = vec![0; 65536];
                loop {
                    let length = from.read(&mut some).unwrap();
                    if length == 0 {
                        break;
                    }
                    to.write_all(&some[..length]).unwrap();
                    // When the process has ended, the rest may come as it likes.
                    if !reads.exists() {
                        let micros = u64::try_from(length).unwrap() * 1_000_000 / BYTES_A_SECOND;
                        thread::sleep(Duration::from_micros(micros));
                    }
                }
            });
            run(&python, &code, &pipe).unwrap()
        });
        let reads_done: u64 = fs_err::read_to_string(&reads).unwrap().parse().unwrap();
        fs_err::remove_file(&reads).unwrap();
        let (events, lost, drops) = counted(&copy);
        assert!(
            recording.lost > 0,
            "{name}: the disk was quick enough for {events} events"
        );
        assert_eq!((events, lost), (recording.events, recording.lost), "{name}");
        // Each hit of a marker is an event or counted as lost.
        assert_eq!(recording.cost.unwrap().hits, events + lost, "{name}");
        assert!(
            drops < reads_done && drops + lost >= reads_done,
            "{name}: {drops} and {lost} of {reads_done}"
        );
        let report =
            gil_report::analyse(File::open(&copy).unwrap(), &gil_report::Options::default())
                .unwrap();
        let session = &report.summary.sessions[0];
        assert_eq!(session.losses.lost, lost, "{name}");
        assert_eq!(session.ended.as_deref(), Some("exit"), "{name}");
        assert!(session.wall_ns() >= SECONDS * 1_000_000_000, "{name}");
    }
}

/// The events of a trace that are hits of a marker, those that were lost, and how many of the former are drops.
fn counted(trace: &Path) -> (u64, u64, u64) {
    let (mut events, mut lost, mut drops) = (0, 0, 0);
    let mut count = |kind: &Kind| match kind {
        Kind::Drop { .. } => {
            events += 1;
            drops += 1;
        }
        Kind::Request { .. } | Kind::Acquired { .. } | Kind::Claim { .. } => events += 1,
        Kind::Lost { count, .. } => lost += count,
        _ => {}
    };
    let file = File::open(trace).unwrap();
    if trace.extension().is_some_and(|form| form == "arrow") {
        let mut reader = ArrowReader::new(file).unwrap();
        while reader.next_batch(|event| count(&event.kind)).unwrap() {}
    } else {
        let mut reader = TextReader::new(file).unwrap();
        while let Some(event) = reader.next_event().unwrap() {
            count(&event.kind);
        }
    }
    (events, lost, drops)
}

#[test]
fn a_full_disk_ends_the_recording_and_leaves_what_was_written() {
    let test = "a_full_disk_ends_the_recording_and_leaves_what_was_written";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return machine::not_run(test, "no tmpfs can be mounted here");
    }
    let output = folder.path().join("x.trace");
    let code = "
import os
zero = os.open('/dev/zero', os.O_RDONLY)
while True:
    os.read(zero, 1)
";
    let error = run(&python, code, &output).unwrap_err();
    let written = fs_err::read(&output).unwrap();
    assert!(
        Command::new("umount")
            .arg(folder.path())
            .status()
            .unwrap()
            .success()
    );
    assert!(matches!(error, RecordError::Write { .. }), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    let mut reader = TextReader::new(written.as_slice()).unwrap();
    let mut events = 0;
    while reader.next_event().unwrap().is_some() {
        events += 1;
    }
    assert!(events > 10_000, "{events}");
    assert_eq!(reader.skipped().lines, 0);
}
