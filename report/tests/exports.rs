//! What other programs make of the exports: they must find the sums of the report.

#[expect(dead_code, reason = "each test uses its part")]
mod simulation;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use gil_report::render::{PerfettoSink, TableError, TableFormat, TableSink, events, firefox, json};
use gil_report::{IntervalSink, Options, Report, Summary, TimelineSink, summarise};
use simulation::{Behaviour, MS, Markers, SECOND, simulate, with_cpu_thread};

fn trace() -> Vec<u8> {
    let mut threads = with_cpu_thread();
    threads.push(Behaviour::new("hog, \"the\" <hog>", 700 * MS, 90 * MS).stubborn());
    let mut trace = Vec::new();
    let truth = simulate(&threads, 4 * SECOND, Markers::All, &mut trace);
    assert!(truth.is_ok_and(|truth| truth.len() == 4));
    trace
}

#[expect(clippy::unwrap_used, reason = "a test may fail anywhere")]
fn read(trace: &[u8], sink: &mut impl IntervalSink) -> Summary {
    summarise(trace, &Options::default(), sink).unwrap()
}

/// Runs a script of `tests/exports` on a folder; status 77 says that what it needs is not here.
#[expect(clippy::unwrap_used, reason = "a test may fail anywhere")]
fn check(test: &str, script: &str, folder: &Path) {
    let python = std::env::var("GILBUILD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports");
    let output = Command::new(&python)
        .arg(scripts.join(script))
        .arg(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        gil_tests::not_run(test, said.trim());
        return;
    }
    assert!(output.status.success(), "{said}");
}

/// What the report itself says, for the scripts to compare with.
#[expect(clippy::unwrap_used, reason = "a test may fail anywhere")]
fn write_report(summary: Summary, folder: &Path) {
    let report = Report::new(summary, &Options::default().thresholds);
    json(
        &report,
        &mut File::create(folder.join("report.json")).unwrap(),
    )
    .unwrap();
}

#[test]
fn notebooks_and_databases_read_the_tables_and_agree() {
    let trace = trace();
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str| BufWriter::new(File::create(folder.path().join(name)).unwrap());
    for (name, format) in [
        ("intervals.arrow", TableFormat::Arrow),
        ("intervals.parquet", TableFormat::Parquet),
        ("intervals.csv", TableFormat::Csv),
    ] {
        let mut table = TableSink::new(format, create(name)).unwrap();
        read(&trace, &mut table);
        table.finish().unwrap();
    }
    std::fs::write(folder.path().join("events.trace"), &trace).unwrap();
    for (name, format) in [
        ("events.arrow", TableFormat::Arrow),
        ("events.parquet", TableFormat::Parquet),
        ("events.csv", TableFormat::Csv),
    ] {
        events(trace.as_slice(), format, create(name)).unwrap();
    }
    write_report(read(&trace, &mut ()), folder.path());
    check(
        "notebooks_and_databases_read_the_tables_and_agree",
        "check_tables.py",
        folder.path(),
    );
}

#[test]
fn profilers_read_their_formats_and_agree() {
    let trace = trace();
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str| BufWriter::new(File::create(folder.path().join(name)).unwrap());
    let mut perfetto = PerfettoSink::new(create("trace.perfetto"));
    let summary = read(&trace, &mut perfetto);
    perfetto.finish().unwrap();
    let mut timelines = TimelineSink::new();
    read(&trace, &mut timelines);
    firefox(&timelines.into_timelines(), &mut create("profile.json")).unwrap();
    write_report(summary, folder.path());
    check(
        "profilers_read_their_formats_and_agree",
        "check_profiles.py",
        folder.path(),
    );
}

#[test]
fn a_table_of_events_takes_one_trace_unless_it_is_arrow() {
    let twice = [trace(), trace()].concat();
    let written = events(twice.as_slice(), TableFormat::Csv, Vec::new());
    assert!(matches!(written, Err(TableError::SeveralTraces)));
    let streams = events(twice.as_slice(), TableFormat::Arrow, Vec::new()).unwrap();
    let again = read(&streams, &mut ());
    assert_eq!(
        again.sessions[0].events,
        read(&twice, &mut ()).sessions[0].events
    );
    let nothing = events(&b"{}"[..], TableFormat::Parquet, Vec::new());
    assert!(nothing.is_err_and(|error| error.to_string().contains("no GIL trace")));
}

#[test]
fn a_table_that_cannot_be_written_says_so() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(TableSink::new(TableFormat::Csv, Full).is_err());
    for format in [TableFormat::Arrow, TableFormat::Parquet, TableFormat::Csv] {
        assert!(events(trace().as_slice(), format, Full).is_err());
    }
    let mut perfetto = PerfettoSink::new(Full);
    read(&trace(), &mut perfetto);
    assert!(perfetto.finish().is_err());
}
