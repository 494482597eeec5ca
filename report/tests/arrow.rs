//! A trace as an Arrow stream: the same answer as from text, whatever happened to the file.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fmt::Write as _;

use gil_report::render::json;
use gil_report::{
    AnalyseError, ArrowReader, ArrowTraceError, ArrowWriter, Header, Options, Report, Summary,
    TextReader, summarise, write_as_arrow,
};
use proptest::prelude::*;

const TRACE: &str = "\
# gil-trace 1 clock=monotonic pid=4711 python=3.13.5 start=2026-11-20T23:30:00.250+0000 start_ns=1000 mode=slow over_ns=5 command=python3%20a.py host=h
1000 thread 4713 4711 13 140213563344576 worker 1, \"the\" <first>
1100 claim 4713 7f8a5c0012a8
6100 request 4713 7f8a5c0012a8 140213571737280
6300 drop 4711 7f8a5c0012a8 1 5200 0
6400 acquired 4713 7f8a5c0012a8 5300
6900 drop 4713 7f8a5c0012a8 0 500 5300
6900 module 4711 0 path=/usr/lib/libpython3.13.so.1.0 build_id=ab12
6900 module 4711 1 path=/srv/hog.so build_id=-
6900 frames 4711 0 0+1a40 1+1139 -+7f00aa
6900 stack 4713 7f8a5c0012a8 0 500
7000 mode slow 50
9000 frames 4711 0 0+1a40:PyEval_SaveThread 1+1139:burn -+7f00aa:py::work:/srv/app.py
9000 total 4711 7f8a5c0012a8 hold 2 5600 5200 1
9000 spread 4711 7f8a5c0012a8 hold 400:1 5200:1
9000 total 4711 7f8a5c0012a8 wait 0 0 0 0
9000 lost 12 ring buffer full
9000 end duration
";

/// The lines below the header.
const EVENTS: usize = 17;

fn as_arrow(text: &str) -> Vec<u8> {
    write_as_arrow(text.as_bytes(), Vec::new()).unwrap()
}

fn read(trace: &[u8]) -> Result<Summary, AnalyseError> {
    summarise(trace, &Options::default(), &mut ())
}

fn as_json(summary: Summary) -> String {
    let mut written = Vec::new();
    json(
        &Report::new(summary, &Options::default().thresholds),
        &mut written,
    )
    .unwrap();
    String::from_utf8(written).unwrap()
}

#[test]
fn nothing_that_the_text_says_is_lost() {
    let arrow = as_arrow(TRACE);
    let mut text = TextReader::new(TRACE.as_bytes()).unwrap();
    let mut stream = ArrowReader::new(arrow.as_slice()).unwrap();
    assert_eq!(text.header(), stream.header());
    let mut events = Vec::new();
    while stream.next_batch(|event| events.push(event)).unwrap() {}
    for event in events {
        assert_eq!(text.next_event().unwrap(), Some(event));
    }
    assert_eq!(text.next_event().unwrap(), None);
    assert_eq!(
        as_json(read(TRACE.as_bytes()).unwrap()),
        as_json(read(&arrow).unwrap())
    );
    assert_eq!(write_as_arrow(arrow.as_slice(), Vec::new()).unwrap(), arrow);
}

#[test]
fn several_traces_in_one_file_are_read_as_such() {
    let second = TRACE.replace("pid=4711", "pid=1");
    let text = format!("{TRACE}{second}");
    let streams = [as_arrow(TRACE), as_arrow(&second)].concat();
    assert_eq!(as_arrow(&text), streams);
    assert_eq!(
        as_json(read(text.as_bytes()).unwrap()),
        as_json(read(&streams).unwrap())
    );
}

#[test]
fn a_stream_that_was_cut_off_is_read_up_to_there() {
    // Batches of one event each, so that there is something to cut between.
    let mut text = TextReader::new(TRACE.as_bytes()).unwrap();
    let mut writer = ArrowWriter::new(text.header(), Vec::new()).unwrap();
    let mut complete = vec![writer.output().len()];
    while let Some(event) = text.next_event().unwrap() {
        writer.event(&event).unwrap();
        writer.flush().unwrap();
        complete.push(writer.output().len());
    }
    let stream = writer.finish().unwrap();
    let mut whole = 0;
    for length in 0..stream.len() {
        let read = read(&stream[..length]);
        let Some(batches) = complete.iter().rposition(|&end| end <= length) else {
            assert!(
                matches!(
                    read,
                    Err(AnalyseError::Text(_) | AnalyseError::Arrow(ArrowTraceError::CutOff))
                ),
                "{length}"
            );
            continue;
        };
        let session = &read.unwrap().sessions[0];
        let lines: Vec<&str> = TRACE.lines().skip(1).take(batches).collect();
        let counted = ["thread", "claim", "request", "drop", "acquired"];
        let wanted = lines.iter().filter(|line| {
            let word = line.split(' ').nth(1).unwrap();
            counted.contains(&word)
        });
        assert_eq!(session.events, wanted.count() as u64, "{length}");
        assert_eq!(session.ended.is_some(), batches == EVENTS);
        whole += u64::from(session.losses.truncated == 0);
    }
    // Behind the schema, the dictionary and each batch: files that end with a message.
    assert_eq!(whole, 2 + EVENTS as u64);
}

#[test]
fn what_is_no_trace_is_refused_by_name() {
    let refused = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    let stream = as_arrow(TRACE);
    let put = |from: &[u8], to: &[u8]| {
        let at = stream
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        let mut changed = stream.clone();
        changed[at..at + to.len()].copy_from_slice(to);
        changed
    };
    assert!(refused(b"ARROW1\0\0").contains("an Arrow file"));
    assert!(refused(&put(b"gil-trace", b"gil-Trace")).contains("no GIL trace"));
    assert!(refused(&put(b"monotonic", b"wallclock")).contains("clock=wallclock"));
    assert!(
        refused(&put(b"hold_ns", b"held_ns"))
            .contains("column 6 of this Arrow stream is not `hold_ns`")
    );
    assert!(refused(&[0xff; 64]).contains("no GIL trace: it begins like an Arrow stream"));
    let mut twice = as_arrow(TRACE);
    twice.truncate(twice.len() - 8);
    twice.extend_from_slice(&stream);
    assert!(refused(&twice).contains("one schema"));
    let mut garbage = stream.clone();
    garbage.truncate(stream.len() - 8);
    garbage.extend_from_slice(b"and something else");
    assert!(refused(&garbage).contains("message 4"));
}

#[test]
fn a_claim_to_be_huge_takes_no_memory() {
    let mut stream = as_arrow(TRACE);
    let schema = ArrowWriter::new(&Header::default(), Vec::new())
        .unwrap()
        .output()
        .len();
    assert!(schema > 0);
    // The length of the last message's description.
    stream.truncate(stream.len() - 8);
    stream.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert!(
        read(&stream)
            .unwrap_err()
            .to_string()
            .contains("larger than any")
    );
}

fn line() -> impl Strategy<Value = String> {
    let time = prop_oneof![9 => 0..2_000_u64, 1 => 0..u64::MAX >> 4];
    let tid = 10..16_u32;
    let gil = prop_oneof![Just("a"), Just("b")];
    let duration = prop_oneof![0..300_u64, Just(0), Just(u64::MAX)];
    let state = prop_oneof![Just("hold"), Just("wait")];
    prop_oneof![
        6 => (time.clone(), tid.clone(), gil.clone(), 0..2_u8, duration.clone(), duration.clone())
            .prop_map(|(time, tid, gil, forced, hold, wait)| format!("{time} drop {tid} {gil} {forced} {hold} {wait}")),
        2 => (time.clone(), tid.clone(), gil.clone()).prop_map(|(time, tid, gil)| format!("{time} claim {tid} {gil}")),
        2 => (time.clone(), tid.clone(), gil.clone(), duration)
            .prop_map(|(time, tid, gil, wait)| format!("{time} acquired {tid} {gil} {wait}")),
        1 => (time.clone(), tid.clone(), gil.clone(), 0..4_u64).prop_map(|(time, tid, gil, holder)| format!("{time} request {tid} {gil} {holder}")),
        1 => (time.clone(), tid.clone(), 1..3_u32, 0..4_u64, "\\PC{0,8}")
            .prop_map(|(time, tid, pid, ident, name)| format!("{time} thread {tid} {pid} {tid} {ident} {name}")),
        1 => (time.clone(), tid.clone(), gil.clone(), state.clone(), 0..9_u64, 0..900_u64)
            .prop_map(|(time, tid, gil, state, count, sum)| format!("{time} total {tid} {gil} {state} {count} {sum} {sum} 0")),
        1 => (time.clone(), tid.clone(), gil.clone(), state, 0..9_u64, 0..900_u64)
            .prop_map(|(time, tid, gil, state, count, value)| format!("{time} spread {tid} {gil} {state} {value}:{count} 5:1")),
        1 => (time.clone(), tid.clone(), gil.clone(), 0..3_u32, 0..900_u64)
            .prop_map(|(time, tid, gil, number, hold)| format!("{time} stack {tid} {gil} {number} {hold}")),
        1 => (time.clone(), 0..3_u32, "\\PC{0,8}")
            .prop_map(|(time, number, name)| format!("{time} frames 1 {number} 0+1:drop_gil 1+2:{name} 0+3")),
        1 => (time.clone(), 0..3_u32, "\\PC{0,8}")
            .prop_map(|(time, number, path)| format!("{time} module 1 {number} path=/{path} build_id=-")),
        2 => (time.clone(), tid.clone(), 0..5_u32).prop_map(|(time, tid, place)| format!("{time} at {tid} {place}")),
        1 => (time.clone(), 0..4_u32, 0..90_u32, "\\PC{0,8}")
            .prop_map(|(time, place, line, name)| format!("{time} location 1 {place} line={line} function={name} file=/srv/{name}.py")),
        1 => (time.clone(), tid.clone(), 0..4_u32, 0..4_u32, "\\PC{0,8}")
            .prop_map(|(time, tid, span, parent, name)| format!("{time} span_begin {tid} {span:x} {parent:x} 0123456789abcdef0123456789abcdef {name}")),
        1 => (time.clone(), tid.clone(), 0..4_u32, prop_oneof![Just("span_end"), Just("span_switch")])
            .prop_map(|(time, tid, span, word)| format!("{time} {word} {tid} {span:x}")),
        1 => (time.clone(), 0..90_u64).prop_map(|(time, over)| format!("{time} mode slow {over}")),
        1 => (time.clone(), 0..5_u64).prop_map(|(time, count)| format!("{time} lost {count} full")),
        1 => time.prop_map(|time| format!("{time} end exit")),
    ]
}

proptest! {
    #[test]
    fn text_and_arrow_give_the_same_answer(lines in prop::collection::vec(line(), 0..80), window in 1..100_usize) {
        let mut text = "# gil-trace 1 clock=monotonic pid=1 start_ns=100 over_ns=7\n".to_owned();
        for line in &lines {
            writeln!(text, "{line}").unwrap();
        }
        let options = Options { reorder_window: window, ..Options::default() };
        let read = |trace: &[u8]| as_json(summarise(trace, &options, &mut ()).unwrap());
        prop_assert_eq!(read(text.as_bytes()), read(&as_arrow(&text)));
    }

    #[test]
    fn damage_anywhere_is_an_answer_or_an_error(
        lines in prop::collection::vec(line(), 0..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut stream = as_arrow(&format!("# gil-trace 1 clock=monotonic pid=1\n{}\n", lines.join("\n")));
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let _ = read(&stream);
        let _ = read(&stream[..length.index(stream.len())]);
    }
}
