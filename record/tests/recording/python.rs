//! A real interpreter with markers: the one that `GILBUILD_TEST_PYTHON` names.

use std::path::Path;

use gil_record::{Options, Silent, StopReason, Target, record};
use gil_report::Kind;

use crate::machine;
use crate::trace::{Sums, Trace};

#[test]
fn the_cpu_thread_is_the_one_that_is_asked_to_drop() {
    let test = "the_cpu_thread_is_the_one_that_is_asked_to_drop";
    let Some((_turn, python)) = machine::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("io_and_cpu.trace");
    let workload = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/workloads/io_and_cpu.py");
    let command = vec![
        python,
        workload.into_os_string(),
        "--seconds".into(),
        "2".into(),
    ];
    let options = Options {
        output: Some(output.clone()),
        ..Options::default()
    };
    let recording = record(&Target::Command(command), &options, &mut Silent).unwrap();
    assert_eq!(recording.reason, StopReason::Exit);
    assert!(
        recording
            .command_status
            .is_some_and(|status| status.success())
    );
    let version = recording.interpreter.version.unwrap();
    assert!(
        version.starts_with("3.") && version.matches('.').count() == 2,
        "a point release: {version}"
    );

    let trace = Trace::read(&output);
    let threads = trace.by_thread();
    let named = |name: &str| -> &Sums {
        threads
            .values()
            .find(|thread| thread.names.last().is_some_and(|last| last == name))
            .unwrap()
    };
    let (first, second, cpu) = (named("io-1"), named("io-2"), named("cpu"));
    assert!(cpu.forced > 0, "{cpu:?}");
    assert_eq!(first.gils, cpu.gils);
    assert!(
        first.requests > 0 && second.requests > 0,
        "{first:?} {second:?}"
    );
    let asked = |event: &&gil_report::Event| matches!(event.kind, Kind::Request { holder, .. } if holder == cpu.ident);
    assert!(
        trace.events.iter().any(|event| asked(&event)),
        "somebody asked the cpu thread"
    );
}
