//! A recording that costs too much goes on with less, and ends where that is still too much.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use gil_record::{Backend, Mode, Observer, Options, Recording, StopReason, Target, record};
use gil_report::{DropInfo, Kind};

use crate::machine;
use crate::trace::Trace;

/// How often it was told what.
#[derive(Default)]
struct Told {
    over_budget: u32,
    uses_less: u32,
}

impl Observer for Told {
    fn over_budget(&mut self, share: f64) {
        assert!(share > 0.01, "{share}");
        self.over_budget += 1;
    }

    fn uses_less(&mut self, over: Duration) {
        assert_eq!(over, Duration::from_millis(50));
        self.uses_less += 1;
    }
}

fn run(python: &OsString, code: &str, mode: Mode, output: &Path) -> (Recording, Told) {
    let options = Options {
        backend: Backend::Native,
        mode,
        max_overhead: Some(0.01),
        adaptive: Some(Duration::from_millis(50)),
        duration: Some(Duration::from_secs(60)),
        output: Some(output.to_owned()),
        ..Options::default()
    };
    let mut told = Told::default();
    let command = vec![python.clone(), "-c".into(), code.into()];
    let recording = record(&Target::Command(command), &options, &mut told).unwrap();
    (recording, told)
}

/// It churns until the recording has had to leave something out, and a while longer; then there is not much going on. It looks at its budget every second
/// and ends after being over it four times: two seconds are part of three looks at most, of which the first leaves something out.
#[test]
fn a_recording_that_went_on_with_less_has_counted_everything() {
    let test = "a_recording_that_went_on_with_less_has_counted_everything";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.arrow");
    let reads = folder.path().join("reads");
    let code = format!(
        "
import os, threading, time
zero = os.open('/dev/zero', os.O_RDONLY)
def work():
    count, until = 0, time.monotonic() + 2
    while time.monotonic() < until:
        for _ in range(1000):
            os.read(zero, 1)
        count += 1000
    open({:?}, 'w').write(str(count))
thread = threading.Thread(target=work)
thread.start()
thread.join()
time.sleep(2)
",
        reads.display().to_string()
    );
    // A machine that gives the recorder no processor while a million events a second come loses some of them, and says so: then it
    // is tried again.
    let attempts = (0..3).map(|_| run(&python, &code, Mode::Events, &output));
    let without_loss = attempts
        .inspect(|(recording, told)| {
            assert_eq!(recording.reason, StopReason::Exit);
            assert_eq!(told.uses_less, 1);
        })
        .find(|(recording, _)| recording.lost == 0);
    let (recording, _) = without_loss.expect("each of three recordings has lost events");
    let reads: u64 = fs_err::read_to_string(reads).unwrap().parse().unwrap();

    let trace = Trace::read(&output);
    let threads = trace.by_thread();
    let churn = threads
        .values()
        .max_by_key(|thread| thread.total_holds.0)
        .unwrap();
    let (holds, _, forced) = churn.total_holds;
    // Opening, writing and closing the file have some more.
    let others = (holds - forced).checked_sub(reads).unwrap();
    assert!(others < 20, "{others} besides {reads}");
    assert!(churn.drops > 10_000, "at first every cycle was an event");
    assert!(churn.drops < holds, "and later not");
    let changed: Vec<_> = trace
        .events
        .iter()
        .filter(|event| {
            matches!(
                event.kind,
                Kind::Mode {
                    over_ns: 50_000_000
                }
            )
        })
        .collect();
    assert_eq!(changed.len(), 1);
    let short = trace.events.iter().filter(|event| {
        // What was on its way when it was changed.
        let later = event.time_ns > changed[0].time_ns + 10_000_000;
        later && matches!(event.kind, Kind::Drop(DropInfo { hold_ns, wait_ns, .. }) if hold_ns.max(wait_ns) < 50_000_000)
    });
    assert_eq!(short.count(), 0);
    // Every hit was paid for.
    let hits = recording.cost.unwrap().hits;
    assert!(hits >= holds, "{hits} hits, {holds} holds");

    let file = fs_err::File::open(output).unwrap();
    let report = gil_report::analyse(file, &gil_report::Options::default()).unwrap();
    let session = &report.summary.sessions[0];
    assert_eq!(session.events_over_from_ns, Some(changed[0].time_ns));
    assert!(!session.losses.is_lossy(), "{:?}", session.losses);
    let figures = session.gils[0].threads.iter();
    let most = figures.map(|thread| thread.holds.count()).max().unwrap();
    assert!(most == holds, "the report counts {most} of {holds}");
}

#[test]
fn a_recording_that_stays_too_dear_ends() {
    let test = "a_recording_that_stays_too_dear_ends";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let code = "
import os
zero = os.open('/dev/zero', os.O_RDONLY)
while True:
    os.read(zero, 1)
";
    let folder = tempfile::tempdir().unwrap();
    for (mode, uses_less) in [
        (Mode::Events, 1),
        (Mode::Slow(Duration::from_millis(50)), 0),
    ] {
        let output = folder.path().join(format!("{uses_less}.trace"));
        let (recording, told) = run(&python, code, mode, &output);
        assert_eq!(recording.reason, StopReason::Overhead);
        assert_eq!(told.uses_less, uses_less);
        assert_eq!(told.over_budget, uses_less + 3);
        let trace = Trace::read(&output);
        assert_eq!(trace.end.as_deref(), Some("overhead"));
        let threads = trace.by_thread();
        assert!(threads.values().any(|thread| thread.total_holds.0 > 50_000));
    }
}
