//! What a user is told about programs whose truth is known.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod simulation;

use gil_report::render::{TextOptions, diff_text};
use gil_report::summary::{Losses, Thread};
use gil_report::{Diff, Options, Pattern, Report, VerdictKind, analyse};
use simulation::{Behaviour, MS, Markers, SECOND, Truth, io_threads, simulate, with_cpu_thread};

fn run(threads: &[Behaviour], seconds: u64, markers: Markers) -> (Report, Vec<Truth>) {
    let mut trace = Vec::new();
    let truth = simulate(threads, seconds * SECOND, markers, &mut trace).unwrap();
    let report = analyse(trace.as_slice(), &Options::default()).unwrap();
    (report, truth)
}

fn threads(report: &Report) -> &[Thread] {
    &report.summary.sessions[0].gils[0].threads
}

fn assert_blame_adds_up(report: &Report) {
    for gil in report.summary.sessions.iter().flat_map(|one| &one.gils) {
        for (place, thread) in gil.threads.iter().enumerate() {
            let row: u64 = gil
                .blame
                .iter()
                .filter(|blame| blame.waiter == place)
                .map(|blame| blame.wait_ns)
                .sum();
            assert_eq!(
                row + thread.wait_on_nobody_ns + thread.wait_unattributed_ns,
                thread.waits.total_ns()
            );
        }
    }
}

#[test]
fn two_threads_that_sleep_have_no_problem() {
    for markers in [Markers::All, Markers::DropOnly] {
        let (report, _) = run(&io_threads(), 15, markers);
        assert_eq!(report.verdict.kind, VerdictKind::NotTheGil);
        assert!(report.verdict.line.contains("not the GIL"));
        assert!(report.gils[0].figures.utilisation < 0.02);
        assert!(report.gils[0].advice.is_empty());
    }
}

#[test]
fn a_busy_thread_gives_them_one() {
    for markers in [Markers::All, Markers::DropOnly] {
        let (report, _) = run(&with_cpu_thread(), 15, markers);
        assert_eq!(report.verdict.kind, VerdictKind::GilBound);
        let line = &report.verdict.line;
        assert!(line.contains("it is the GIL"), "{line}");
        assert!(line.contains("thread \"cpu\""), "{line}");
        assert!(report.gils[0].figures.utilisation > 0.95);
        for io in &threads(&report)[..2] {
            let median = io.waits.quantile_ns(0.5);
            assert!((4 * MS..9 * MS).contains(&median), "{median}");
        }
        let [Pattern::SwitchInterval { threads, .. }] = &report.gils[0].patterns[..] else {
            panic!("{:?}", report.gils[0].patterns);
        };
        assert_eq!(threads.len(), 2);
        assert!(!threads.contains(&2));
        let first = &report.gils[0].advice[0].text;
        assert!(first.contains("gives the GIL up when asked"), "{first}");
        assert_blame_adds_up(&report);
    }
}

#[test]
fn a_busy_thread_alone_has_no_problem() {
    let alone = [Behaviour::new("cpu", 1_000, 20 * MS)];
    let (report, _) = run(&alone, 5, Markers::All);
    assert!(report.gils[0].figures.utilisation > 0.95);
    assert_eq!(report.verdict.kind, VerdictKind::NotTheGil);
    assert!(report.verdict.line.contains("not the GIL"));
}

#[test]
fn a_busy_thread_that_never_drops_is_seen_where_acquisitions_are() {
    let alone = [Behaviour::new("cpu", 0, u64::MAX >> 8)];
    let (report, _) = run(&alone, 5, Markers::All);
    assert!(report.gils[0].figures.utilisation > 0.99);
    assert_eq!(threads(&report)[0].open_hold_ns, 5 * SECOND - 1);
    assert_eq!(report.verdict.kind, VerdictKind::NotTheGil);
    let (report, _) = run(&alone, 5, Markers::DropOnly);
    assert_eq!(report.verdict.kind, VerdictKind::Unknown);
    assert!(report.verdict.line.contains("cannot tell"));
}

#[test]
fn a_thread_that_keeps_it_periodically_is_found_and_named() {
    let mut threads: Vec<_> = (0..8)
        .map(|n| Behaviour::new(&format!("worker-{n}"), 20 * MS, MS))
        .collect();
    threads.push(Behaviour::new("metrics", 2 * SECOND - 500 * MS, 500 * MS).stubborn());
    let (report, _) = run(&threads, 30, Markers::DropOnly);
    assert!(report.verdict.kind >= VerdictKind::Contended);
    assert!(report.verdict.line.contains("metrics"));
    let periodic = report.gils[0]
        .patterns
        .iter()
        .find_map(|pattern| match pattern {
            Pattern::Periodic {
                thread,
                period_ns,
                duration_ns,
                ..
            } => Some((*thread, *period_ns, *duration_ns)),
            _ => None,
        });
    let (thread, period, duration) = periodic.unwrap();
    assert_eq!(thread, 8);
    assert!(period.abs_diff(2 * SECOND) < 20 * MS, "{period}");
    assert_eq!(duration, 500 * MS);
    let advice = &report.gils[0].advice[0];
    assert!(advice.text.contains("metrics"), "{}", advice.text);
    assert!(advice.text.contains("every 2.0"), "{}", advice.text);
    assert!(advice.at_most_ns.unwrap() > 10 * SECOND);
    let gil = &report.summary.sessions[0].gils[0];
    assert_eq!(gil.longest_holds[0].thread, 8);
    assert_eq!(gil.longest_holds[0].others.len(), 8);
    assert_eq!(gil.longest_waits[0].others[0].0, 8);
    assert_blame_adds_up(&report);
}

#[test]
fn sums_are_those_of_the_truth() {
    let threads = [
        Behaviour::new("a", 3 * MS, 2 * MS),
        Behaviour::new("b", 700_000, 11 * MS),
        Behaviour::new("c", 13 * MS, 50_000),
        Behaviour::new("d", 40 * MS, 30 * MS).stubborn(),
    ];
    let (report, truth) = run(&threads, 20, Markers::DropOnly);
    assert_eq!(report.summary.sessions[0].losses, Losses::default());
    for (thread, truth) in self::threads(&report).iter().zip(&truth) {
        let found = Truth {
            holds: thread.holds.count(),
            hold_ns: thread.holds.total_ns(),
            waits: thread.waits.count(),
            wait_ns: thread.waits.total_ns(),
        };
        assert_eq!(found, *truth);
    }
    assert_blame_adds_up(&report);
    let (with_all, _) = run(&threads, 20, Markers::All);
    for (thread, truth) in self::threads(&with_all).iter().zip(&truth) {
        let finished = thread.holds.total_ns() - thread.open_hold_ns;
        assert_eq!(finished, truth.hold_ns);
    }
    assert_blame_adds_up(&with_all);
}

#[test]
fn the_order_of_lines_does_not_matter() {
    let mut trace = Vec::new();
    let threads = with_cpu_thread();
    simulate(&threads, 5 * SECOND, Markers::All, &mut trace).unwrap();
    let trace = String::from_utf8(trace).unwrap();
    let (header, events) = trace.split_once('\n').unwrap();
    // As two CPUs' buffers, read one after the other.
    let lines: Vec<_> = events.lines().collect();
    let (mut first, second): (Vec<_>, Vec<_>) = lines
        .iter()
        .enumerate()
        .partition(|(place, line)| place / 7 % 2 == 0 || line.contains("thread"));
    first.extend(second);
    let shuffled: Vec<_> = first.into_iter().map(|(_, line)| *line).collect();
    let shuffled = format!("{header}\n{}\n", shuffled.join("\n"));
    let read = |trace: &str| {
        let report = analyse(trace.as_bytes(), &Options::default()).unwrap();
        serde_json::to_value(&report).unwrap()
    };
    assert_eq!(read(&shuffled), read(&trace));
}

#[test]
fn a_fix_shows_in_the_comparison() {
    let worker = |n: u64| Behaviour::new(&format!("worker-{n}"), 20 * MS, MS);
    let metrics = Behaviour::new("metrics", SECOND, 500 * MS).stubborn();
    let mut before: Vec<_> = (0..4).map(worker).collect();
    before.push(metrics);
    let mut after: Vec<_> = (0..4).map(worker).collect();
    after.push(Behaviour::new("exporter", SECOND, MS));
    let (before, _) = run(&before, 20, Markers::DropOnly);
    let (after, _) = run(&after, 20, Markers::DropOnly);
    let diff = Diff::new(&before, &after);
    assert!(diff.after.hold_share < diff.before.hold_share);
    assert!(diff.after.wait_share < diff.before.wait_share / 10.0);
    let find = |name: &str| diff.threads.iter().find(|one| one.name == name).unwrap();
    assert_eq!(find("metrics").after, None);
    assert_eq!(find("exporter").before, None);
    assert!(find("worker-1").before.is_some() && find("worker-1").after.is_some());
    let mut page = Vec::new();
    diff_text(&diff, &TextOptions::default(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("gone") && page.contains("new"), "{page}");
    assert!(
        page.lines().all(|line| line.chars().count() <= 100),
        "{page}"
    );
}
