//! Short traces, written by hand, and what they must give.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use gil_report::render::{TextOptions, folded, json, pprof, speedscope, text};
use gil_report::summary::{Gil, Session};
use gil_report::{AnalyseError, Options, Report, TextError, VerdictKind, analyse};

const HEADER: &str = "# gil-trace 1 clock=monotonic pid=10 start_ns=1000\n";

fn report(events: &str) -> Report {
    analyse(format!("{HEADER}{events}").as_bytes(), &Options::default()).unwrap()
}

fn session(events: &str) -> Session {
    report(events).summary.sessions.remove(0)
}

fn gil(events: &str) -> Gil {
    session(events).gils.remove(0)
}

#[test]
fn blame_is_split_over_holders() {
    let gil = gil("\
        1100 drop 11 a 0 100 0\n\
        1150 drop 12 a 0 40 30\n\
        1300 drop 13 a 0 100 180\n");
    // 13 waited from 1020 to 1200: behind 11 until 1100, nobody until 1110, behind 12 until 1150, nobody after that.
    let row: Vec<_> = gil.blame.iter().filter(|blame| blame.waiter == 2).collect();
    assert_eq!((row[0].holder, row[0].wait_ns), (0, 80));
    assert_eq!((row[1].holder, row[1].wait_ns), (1, 40));
    assert_eq!(gil.threads[2].wait_on_nobody_ns, 60);
    assert_eq!(gil.threads[2].waits.total_ns(), 180);
    assert_eq!(gil.switches, 2);
}

#[test]
fn a_hold_from_before_tracing_counts_from_its_beginning() {
    let gil = gil("1500 drop 11 a 1 0 0\n1900 drop 12 a 0 0 0\n");
    assert_eq!(gil.threads[0].holds.total_ns(), 500);
    // 12's hold is not known: 11 had the GIL when tracing began.
    assert_eq!(gil.threads[1].holds.count(), 0);
    assert_eq!(gil.threads[1].voluntary_drops, 1);
}

#[test]
fn what_is_open_at_the_end_is_counted_up_to_there() {
    let session = session(
        "\
        1010 acquired 11 a 0\n\
        1020 claim 12 a\n\
        1100 drop 11 a 1 90 0\n\
        1110 acquired 12 a 90\n\
        1300 end duration\n",
    );
    let gil = &session.gils[0];
    assert_eq!(gil.threads[1].open_hold_ns, 190);
    assert_eq!(gil.threads[1].waits.total_ns(), 90);
    // After a forced drop a thread waits on.
    assert_eq!(gil.threads[0].open_wait_ns, 200);
    assert!(gil.longest_holds[0].open);
    assert_eq!(gil.blame.len(), 2);
    assert_eq!(session.ended.as_deref(), Some("duration"));
}

#[test]
fn holds_that_contradict_each_other_are_cut() {
    let session = session("1500 drop 11 a 0 400 0\n1600 drop 12 a 0 300 0\n");
    let gil = &session.gils[0];
    assert_eq!(gil.threads[1].holds.total_ns(), 100);
    assert_eq!(session.losses.clipped, 1);
}

#[test]
fn several_gils_and_processes_are_kept_apart() {
    let session = session(
        "\
        1000 thread 11 10 1 7 main\n\
        1000 thread 21 20 1 7 main\n\
        1500 drop 11 a 0 400 0\n\
        1600 drop 11 b 0 300 0\n\
        1600 drop 21 a 0 300 0\n",
    );
    let gils: Vec<_> = session
        .gils
        .iter()
        .map(|gil| (gil.pid, gil.address))
        .collect();
    assert_eq!(gils, [(10, 0xa), (10, 0xb), (20, 0xa)]);
}

#[test]
fn a_reused_tid_is_another_thread() {
    let gil = gil("\
        1000 thread 11 10 1 7 first\n\
        1200 drop 11 a 0 100 0\n\
        1300 thread 11 10 1 8 second\n\
        1500 drop 11 a 0 100 0\n");
    let names: Vec<_> = gil.threads.iter().map(|one| one.name.as_deref()).collect();
    assert_eq!(names, [Some("first"), Some("second")]);
}

#[test]
fn a_renamed_thread_is_the_same_under_its_last_name() {
    let gil = gil("\
        1000 thread 11 10 1 7 Thread-1\n\
        1200 drop 11 a 0 100 0\n\
        1300 thread 11 10 1 7 metrics\n\
        1500 drop 11 a 0 100 0\n\
        1600 thread 11 10 1 8 Thread-2\n\
        1700 thread 11 10 1 8 requests\n\
        1900 drop 11 a 0 50 0\n");
    let threads = gil.threads.iter();
    let holds: Vec<_> = threads
        .map(|one| (one.name.as_deref(), one.holds.total_ns()))
        .collect();
    assert_eq!(
        holds,
        [(Some("metrics"), 200), (Some("requests"), 50)],
        "a name belongs to the thread that had it, not to its number"
    );
}

#[test]
fn a_name_as_long_as_any_is_cut_where_there_is_no_room_and_whole_where_there_is() {
    let name = |letter: &str| letter.repeat(255);
    let (holder, waiter) = (name("h"), name("w"));
    let report = report(&format!(
        "\
        1000 thread 11 10 1 7 {holder}\n\
        1000 thread 12 10 2 8 {waiter}\n\
        500001000 drop 11 a 1 500000000 0\n\
        500002000 drop 12 a 0 900 400000000\n\
        500003000 claim 12 a\n\
        500003100 acquired 11 a 0\n\
        900003000 end duration\n"
    ));
    let mut page = Vec::new();
    text(&report, &TextOptions::default(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    for line in page.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(page.contains("hhh…") && page.contains("www…"), "{page}");
    let mut saved = Vec::new();
    json(&report, &mut saved).unwrap();
    let saved = String::from_utf8(saved).unwrap();
    assert!(saved.contains(&holder) && saved.contains(&waiter));
}

#[test]
fn drop_requests_are_counted_on_both_sides() {
    let gil = gil("\
        1000 thread 11 10 1 7 holder\n\
        1200 request 12 a 7\n\
        1300 drop 11 a 1 100 0\n");
    assert_eq!(gil.threads[0].requests_received, 1);
    assert_eq!(gil.threads[1].requests_made, 1);
}

#[test]
fn losses_are_told() {
    let report = report("1200 drop 11 a 0 100 0\n1300 lost 12 ring buffer full\nLost 3 events\n");
    let losses = &report.summary.sessions[0].losses;
    assert_eq!(losses.lost, 15);
    assert!(report.gils[0].figures.lower_bounds);
    let mut page = Vec::new();
    text(&report, &TextOptions::default(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("15 events were lost"), "{page}");
    assert!(page.contains("lower bounds"), "{page}");
}

#[test]
fn odd_lines_are_skipped_and_counted() {
    let session = session(
        "\
        Attaching 4 probes...\n\
        # a comment\n\
        1200 drop 11 a 0 100 0\n\
        1210 drop eleven a 0 100 0\n\
        nonsense\n\
        1220 sneeze 11\n\
        99999999999999999999 drop 11 a 0 1 0\n\
        1250 drop 11 a 0 10 0 something new\r\n\
        1260 drop 11 a 0 1",
    );
    assert_eq!(session.losses.skipped_lines, 4);
    assert_eq!(session.losses.first_skipped_line, 5);
    assert_eq!(session.losses.truncated, 1);
    assert_eq!(session.ended, None);
    assert_eq!(session.gils[0].threads[0].holds.count(), 2);
}

#[test]
fn two_traces_in_one_file_are_two_recordings() {
    let other = HEADER.replace("pid=10", "pid=20").replace("1000", "500");
    let report = report(&format!(
        "1200 drop 11 a 0 100 0\n{other}700 drop 21 a 0 100 0\n"
    ));
    let pids: Vec<_> = report.summary.sessions.iter().map(|one| one.pid).collect();
    assert_eq!(pids, [20, 10]);
    assert_eq!(report.summary.sessions[0].losses.late, 0);
}

#[test]
fn foreign_and_broken_files_are_refused_with_a_reason() {
    let error = |bytes: &[u8]| analyse(bytes, &Options::default()).unwrap_err();
    assert!(matches!(error(b""), AnalyseError::Text(TextError::Empty)));
    let foreign = error(b"\x7fELF\x02\x01\x01\0\0\0\n\0\0");
    assert!(foreign.to_string().contains("no GIL trace"), "{foreign}");
    assert!(
        error(&vec![0xff; 300_000])
            .to_string()
            .contains("no GIL trace")
    );
    assert!(
        error(b"# gil-trace 2 clock=monotonic pid=1\n")
            .to_string()
            .contains("version 2")
    );
    assert!(
        error(b"# gil-trace 1 pid=1\n")
            .to_string()
            .contains("`clock`")
    );
    assert!(
        error(b"{\"format\":\"x\"}")
            .to_string()
            .contains("no saved report")
    );
    let mixed = format!("{HEADER}1200 drop 11 a 0 100 0\n# gil-trace 9 pid=1\n");
    let mixed = error(mixed.as_bytes()).to_string();
    assert!(
        mixed.contains("line 3") && mixed.contains("version 9"),
        "{mixed}"
    );
}

#[test]
fn a_trace_without_holds_says_so() {
    let empty = report("2000000000 end duration\n");
    assert_eq!(empty.verdict.kind, VerdictKind::Unknown);
    assert!(empty.verdict.line.contains("cannot tell"));
    let mut page = Vec::new();
    text(&empty, &TextOptions::default(), &mut page).unwrap();
}

#[test]
fn names_with_escapes_stay_names() {
    let report = report("1000 thread 11 10 1 7 \u{1b}[2J<script>\n1200 drop 11 a 0 100 0\n");
    let mut page = Vec::new();
    text(&report, &TextOptions::default(), &mut page).unwrap();
    assert!(!page.contains(&0x1b));
}

#[test]
fn a_hundred_thousand_threads_fit() {
    let lines: Vec<_> = (0..100_000)
        .map(|n| format!("{} drop {} a 0 50 30\n", 2000 + n * 100, n + 100))
        .collect();
    let session = session(&lines.concat());
    let gil = &session.gils[0];
    assert_eq!(gil.threads.len(), 10_001);
    let holds: u64 = gil.threads.iter().map(|thread| thread.holds.count()).sum();
    assert_eq!(holds, 100_000);
}

#[test]
fn totals_take_the_place_of_what_events_add_up_to() {
    let trace = "# gil-trace 1 clock=monotonic pid=10 start_ns=1000 mode=slow over_ns=50\n\
        1100 drop 11 a 1 60 0\n\
        1200 total 11 a hold 4 90 60 1\n\
        1200 spread 11 a hold 10:2 60:1\n\
        1200 total 12 a hold 2 6 4 0\n\
        1200 spread 12 a hold 2:1 4:1\n\
        1200 total 12 a wait 1 7 7 0\n\
        1200 spread 12 a wait 7:1\n\
        1200 end duration\n";
    let report = analyse(trace.as_bytes(), &Options::default()).unwrap();
    let session = &report.summary.sessions[0];
    assert_eq!(session.events_over_ns, Some(50));
    assert!(!session.losses.is_lossy(), "{:?}", session.losses);
    let [one, other] = &session.gils[0].threads[..] else {
        panic!("two threads");
    };
    assert_eq!((one.holds.count(), one.holds.total_ns()), (4, 90));
    assert_eq!((one.forced_drops, one.voluntary_drops), (1, 3));
    // The fourth, of which nothing was told, counts as of mean length.
    assert_eq!(one.holds.buckets(), [(10, 2), (22, 1), (60, 1)]);
    assert_eq!(other.waits.total_ns(), 7);
    assert_eq!(session.gils[0].longest_holds.len(), 1);

    // Cut off before the totals: what is left is said to be a part.
    let cut = trace.split_once("1200 total").unwrap().0;
    let report = analyse(cut.as_bytes(), &Options::default()).unwrap();
    assert!(report.summary.sessions[0].losses.is_lossy());
}

const STACKS: &str = "\
    1000 thread 11 10 11 5 main;thread\n\
    1000 module 10 0 path=/usr/lib/libpython3.13.so.1.0 build_id=ab\n\
    1000 module 10 1 path=/srv/hog.so build_id=cd\n\
    1100 drop 11 a 0 60 0\n\
    1100 frames 10 0 0+1 1+2 0+3\n\
    1100 stack 11 a 0 60\n\
    1300 drop 11 a 0 80 0\n\
    1300 stack 11 a 0 80\n\
    1300 drop 12 a 0 0 0\n\
    1400 drop 11 a 1 70 0\n\
    1400 frames 10 1 0+1 0+9 0+3\n\
    1400 stack 11 a 1 70\n\
    1500 frames 10 0 0+1:PyEval_SaveThread 1+2:burn 0+3:main\n\
    1500 frames 10 1 0+1:drop_gil 0+9:_Py_HandlePending 0+3:_PyEval_EvalFrameDefault\n\
    1500 end duration\n";

#[test]
fn a_long_hold_says_which_function_it_was_in() {
    let report = report(STACKS);
    let gil = &report.summary.sessions[0].gils[0];
    let holds: Vec<_> = gil
        .longest_holds
        .iter()
        .map(|hold| (hold.duration_ns, hold.function.as_deref()))
        .collect();
    let burn = Some("burn (hog.so)");
    assert_eq!(holds, [(80, burn), (70, Some("Python code")), (60, burn)]);

    let mut page = Vec::new();
    text(&report, &TextOptions::default(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert_eq!(
        page.matches("\n    ended in burn (hog.so)\n").count(),
        2,
        "{page}"
    );

    let mut lines = Vec::new();
    folded(&report, &mut lines).unwrap();
    assert_eq!(
        String::from_utf8(lines).unwrap(),
        "main:thread;_PyEval_EvalFrameDefault (libpython3.13.so.1.0);_Py_HandlePending (libpython3.13.so.1.0);\
         drop_gil (libpython3.13.so.1.0) 70\n\
         main:thread;main (libpython3.13.so.1.0);burn (hog.so);PyEval_SaveThread (libpython3.13.so.1.0) 140\n"
    );
}

/// The same holds of a thread at one place, of which the long ones have stacks: each nanosecond once.
#[test]
fn what_flame_graphs_are_drawn_from_adds_up() {
    let report = report(
        "1000 thread 11 10 1 7 metrics\n\
         1000 module 10 0 path=/usr/lib/libpython3.13.so.1.0 build_id=-\n\
         1000 module 10 1 path=/srv/hog.so build_id=-\n\
         1000 location 10 5 line=41 function=Metrics.collect file=/srv/metrics.py\n\
         2000 at 11 5\n\
         2000 drop 11 a 0 100 0\n\
         9000 at 11 5\n\
         9000 drop 11 a 0 5000 300\n\
         9000 frames 10 0 0+1:drop_gil 0+2:PyEval_SaveThread 1+3:burn 0+4:cfunction_call 0+5:_PyEval_EvalFrameDefault 0+6:main\n\
         9000 stack 11 a 0 5000\n\
         9500 end duration\n",
    );
    let gil = &report.summary.sessions[0].gils[0];
    let mut lines = Vec::new();
    folded(&report, &mut lines).unwrap();
    assert_eq!(
        String::from_utf8(lines).unwrap(),
        "metrics;Metrics.collect (metrics.py:41) 100\n\
         metrics;Metrics.collect (metrics.py:41);cfunction_call (libpython3.13.so.1.0);burn (hog.so) 5000\n"
    );

    let mut file = Vec::new();
    speedscope(&report, &mut file).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    for (profile, total_ns) in [(0, gil.hold_ns()), (1, gil.wait_ns())] {
        let profile = &file["profiles"][profile];
        let weights = profile["weights"].as_array().unwrap();
        let sum: u64 = weights.iter().map(|weight| weight.as_u64().unwrap()).sum();
        assert_eq!((sum, &profile["endValue"]), (total_ns, &total_ns.into()));
        let samples = profile["samples"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len());
        let frames = file["shared"]["frames"].as_array().unwrap().len() as u64;
        let mut named = samples.iter().flat_map(|sample| sample.as_array().unwrap());
        assert!(named.all(|frame| frame.as_u64().unwrap() < frames));
    }

    let mut file = Vec::new();
    pprof(&report, &mut file).unwrap();
    let profile = <Profile as prost::Message>::decode(file.as_slice()).unwrap();
    let mut sums = [0; 4];
    for sample in &profile.sample {
        for (sum, value) in sums.iter_mut().zip(&sample.value) {
            *sum += value;
        }
    }
    assert_eq!(sums, [2, 5100, 1, 300]);
    assert_eq!(profile.string_table[0], "");
    assert!(
        profile
            .string_table
            .iter()
            .any(|text| text == "Metrics.collect")
    );
}

/// What is looked at of a profile for pprof.
#[derive(Clone, PartialEq, prost::Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

/// Saved, read again and merged with itself, the same functions have held twice as long.
#[test]
fn stacks_are_saved_and_merged() {
    let report = report(STACKS);
    let mut saved = Vec::new();
    json(&report, &mut saved).unwrap();
    let again = analyse(saved.as_slice(), &Options::default()).unwrap();
    let mut summary = report.summary.clone();
    assert_eq!(
        again.summary.sessions[0].gils[0].stacks,
        summary.sessions[0].gils[0].stacks
    );
    summary.merge(again.summary);
    let stacks = &summary.sessions[0].gils[0].stacks;
    let held: Vec<_> = stacks
        .iter()
        .map(|stack| (stack.holds, stack.hold_ns))
        .collect();
    assert_eq!(held, [(4, 280), (2, 140)]);
}

#[test]
fn a_trace_that_went_on_with_less_has_exact_sums_and_says_so() {
    let trace = "1100 drop 11 a 0 10 0\n\
        1200 mode slow 50\n\
        1300 drop 11 a 0 60 0\n\
        1500 total 11 a hold 9 120 60 1\n\
        1500 end duration\n";
    let report = report(trace);
    let session = &report.summary.sessions[0];
    assert_eq!(session.events_over_ns, Some(50));
    assert_eq!(session.events_over_from_ns, Some(1200));
    assert!(!session.losses.is_lossy());
    assert_eq!(session.gils[0].threads[0].holds.count(), 9);
    let mut page = Vec::new();
    text(&report, &TextOptions::default(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap().replace("\n  ", " ");
    assert!(
        page.contains("after the first 200 ns, of cycles from 50 ns on"),
        "{page}"
    );
    // Without the totals nothing tells how much was left out.
    let cut = trace.split_once("1500 total").unwrap().0;
    assert!(self::session(cut).losses.is_lossy());
}

/// While a hold goes on its thread may be looked at several times; the deepest stack of that hold counts.
#[test]
fn what_a_thread_was_in_during_a_hold_says_more_than_its_end() {
    let gil = gil("\
        1000 module 10 0 path=/usr/lib/libpython3.13.so.1.0\n\
        1000 module 10 1 path=/srv/hog.so\n\
        1000 frames 10 0 1+1:burn 0+2:call 0+3:_PyEval_EvalFrameDefault\n\
        1000 frames 10 1 0+9:memcpy 0+3:_PyEval_EvalFrameDefault\n\
        1000 frames 10 2 0+5:drop_gil 0+3:_PyEval_EvalFrameDefault\n\
        1050 stack 11 a 0 0\n\
        1060 stack 11 a 1 0\n\
        1100 drop 11 a 1 80 0\n\
        1100 stack 11 a 2 80\n\
        1250 stack 11 a 1 0\n\
        1300 drop 11 a 1 70 0\n\
        1300 stack 11 a 2 70\n\
        1400 drop 11 a 1 60 0\n\
        1400 stack 11 a 2 60\n");
    let within: Vec<_> = gil
        .longest_holds
        .iter()
        .map(|hold| hold.within.as_deref())
        .collect();
    let python = Some("memcpy (libpython3.13.so.1.0)");
    assert_eq!(within, [Some("burn (hog.so)"), python, None]);
    let ended = gil
        .longest_holds
        .iter()
        .all(|hold| hold.function.as_deref() == Some("Python code"));
    assert!(ended);
    // Each hold counts once.
    let mut held: Vec<_> = gil.stacks.iter().map(|stack| stack.hold_ns).collect();
    held.sort_unstable();
    assert_eq!(held, [60, 70, 80]);
}

#[test]
fn a_recording_that_is_given_twice_is_told() {
    let says_so = |report: &Report| {
        let advice = report.gils[0].advice.iter();
        advice
            .filter(|advice| advice.text.contains("more than once"))
            .count()
    };
    let once = report("5000000 drop 11 a 0 4000000 0\n9000000 drop 12 a 0 1000000 0\n");
    assert_eq!(says_so(&once), 0);
    let mut twice = once.summary.clone();
    twice.merge(once.summary);
    let twice = Report::new(twice, &Options::default().thresholds);
    assert_eq!(says_so(&twice), 1);
}

const TRACE: u128 = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;

/// A request with a part that a thread of a pool works for, and a thread that makes it wait.
#[test]
fn a_request_has_what_all_its_threads_had_for_it() {
    let session = session(
        "1000 thread 11 10 1 7 request\n\
         1000 thread 12 10 2 8 pool\n\
         1000 thread 13 10 3 9 metrics\n\
         2000 span_begin 11 a1 0 000102030405060708090a0b0c0d0e0f GET /tasks\n\
         2500 drop 11 a 0 1000 0\n\
         3000 span_begin 12 a2 a1 000102030405060708090a0b0c0d0e0f query\n\
         3100 drop 12 a 0 300 0\n\
         8100 drop 13 a 0 5000 0\n\
         8400 drop 12 a 0 200 5000\n\
         8500 span_switch 12 0\n\
         8600 drop 12 a 0 100 0\n\
         8700 span_end 12 a2\n\
         8800 drop 12 a 0 100 0\n\
         9000 span_end 11 a1\n\
         9100 drop 11 a 0 300 0\n\
         9200 span_begin 11 a3 0 000102030405060708090a0b0c0d0e0f GET /open\n\
         9300 span_end 11 ff\n\
         9400 end duration\n",
    );
    let requests = session.requests.unwrap();
    assert_eq!((requests.count(), requests.cut), (1, 2));
    let [request] = &requests.worst[..] else {
        panic!("{requests:?}")
    };
    assert_eq!((request.name.as_str(), request.pid), ("GET /tasks", 10));
    assert_eq!((request.trace, request.span), (TRACE, 0xa1));
    assert_eq!((request.start_ns, request.duration_ns), (2000, 7000));
    // Of 11: 2000 to 2500, 8800 to 9000. Of 12: 3000 to 3100, and 8200 to 8400.
    assert_eq!(request.hold_ns, 500 + 200 + 100 + 200);
    assert_eq!(request.wait_ns, 5000);
    let [metrics] = &request.waited_for[..] else {
        panic!("{request:?}")
    };
    assert_eq!(metrics.who.name.as_deref(), Some("metrics"));
    assert_eq!(metrics.wait_ns, 4900);
    let [name] = &requests.names[..] else {
        panic!("{requests:?}")
    };
    assert_eq!(
        (name.durations.max_ns(), name.waits.total_ns()),
        (7000, 5000)
    );
}

#[test]
fn requests_are_saved_and_merged() {
    let events = "2000 span_begin 11 a1 0 000102030405060708090a0b0c0d0e0f GET /tasks\n\
         2500 drop 11 a 0 1000 0\n\
         9000 span_end 11 a1\n\
         9100 drop 11 a 0 300 200\n";
    let report = report(events);
    let mut saved = Vec::new();
    json(&report, &mut saved).unwrap();
    let again = analyse(saved.as_slice(), &Options::default()).unwrap();
    let mut summary = report.summary.clone();
    summary.merge(again.summary);
    let requests = summary.sessions[0].requests.as_ref().unwrap();
    assert_eq!(requests.count(), 2);
    assert_eq!(requests.worst.len(), 2);
    assert_eq!(requests.worst[0], requests.worst[1]);
}
