//! What the header remembers between two markers, looked at from inside: a moment that has passed must never become a wait, a hold or
//! a pause, whoever attaches and detaches meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

/// The beginning of a program that plays the tracer itself: it counts the semaphore up and down.
const PREAMBLE: &str = r#"
#define GIL_MARKERS_LOCATE(thread_state, location) locate(thread_state, location)
struct gil_markers_location;
static void locate(const void *thread_state, struct gil_markers_location *location);
#include "gil_names.h"
#include <assert.h>
#include <stdlib.h>
#undef assert
#define assert(holds) do { if (!(holds)) { exit(__LINE__ % 200 + 1); } } while (0)
#define LONG_NS 20000000u
static int gil, mutex;
static void attach(void) { gil_markers_semaphore = 1; }
static void detach(void) { gil_markers_semaphore = 0; }
static void sleep_long(void) { struct timespec t = {0, LONG_NS}; nanosleep(&t, 0); }
static int located;
static void locate(const void *thread_state, struct gil_markers_location *location) {
    located++; location->thread_state = thread_state; location->line = 7;
}
static void *named(void *nothing) {
    gil_markers_name_thread(gil_markers_ident(), gil_markers_tid(), "short-lived"); return nothing;
}
static void take(void) { gil_markers_claim(&gil, 0, &gil); gil_markers_acquired(&gil); }
int main(void) {
#line 1
"#;

/// Compiles a program in two files, as CPython is, and runs it. Exits with the line whose assertion failed.
fn run(body: &str) {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first.c");
    let second = folder.path().join("second.c");
    let program = folder.path().join("program");
    fs_err::write(&first, format!("{PREAMBLE}{body}\nreturn 0;\n}}\n")).unwrap();
    // Another file that includes the header has the same thread-locals and semaphore.
    fs_err::write(
        &second,
        "#include \"gil_markers.h\"\nint other_waits(void);\nint other_waits(void) { return gil_markers_enabled() && \
         gil_markers_cycle.wanted_ns != 0; }\n",
    )
    .unwrap();
    let done = Command::new("cc")
        .args(["-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"])
        // Not every program plays every part.
        .arg("-Wno-unused")
        .arg(format!("-I{}/include", env!("CARGO_MANIFEST_DIR")))
        .arg("-o")
        .args([&program, &first, &second])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let status = Command::new(&program).status().unwrap();
    let line = status.code().unwrap_or(-1) - 1;
    assert!(
        status.success(),
        "line {line}: {}",
        body.lines()
            .nth(usize::try_from(line - 1).unwrap_or(usize::MAX))
            .unwrap_or("?")
    );
}

#[test]
fn files_share_what_is_remembered() {
    run("extern int other_waits(void);
        assert(!other_waits());
        attach(); gil_markers_claim(&gil, 1, &gil);
        assert(other_waits());");
}

#[test]
fn a_wait_counts_from_the_claim() {
    run(
        "attach(); gil_markers_claim(&gil, 1, &gil); sleep_long(); gil_markers_acquired(&gil);
        assert(gil_markers_cycle.wait_ns >= LONG_NS);
        assert(gil_markers_cycle.wanted_ns == 0);",
    );
}

#[test]
fn a_claim_that_found_the_gil_switched_off_leaves_nothing_behind() {
    run(
        "attach(); gil_markers_claim(&gil, 1, &gil); gil_markers_wait(); gil_markers_abandoned();
        assert(gil_markers_cycle.wanted_ns == 0);
        sleep_long(); take();
        assert(gil_markers_cycle.wait_ns == 0);",
    );
}

#[test]
fn nor_does_a_forced_drop() {
    run(
        "attach(); take(); gil_markers_yield(); gil_markers_drop(&gil, &gil);
        assert(gil_markers_cycle.wanted_ns != 0);
        gil_markers_abandoned(); sleep_long(); take();
        assert(gil_markers_cycle.wait_ns == 0);",
    );
}

#[test]
fn nor_one_of_a_session_that_has_ended() {
    run(
        "attach(); gil_markers_claim(&gil, 1, &gil); detach(); gil_markers_abandoned(); attach();
        assert(gil_markers_cycle.wanted_ns == 0);
        take(); assert(gil_markers_cycle.wait_ns == 0);",
    );
}

#[test]
fn a_hold_that_began_while_nobody_was_attached_is_not_known() {
    run(
        "attach(); take(); assert(gil_markers_cycle.acquired_ns != 0);
        detach(); gil_markers_drop(&gil, &gil); take();
        assert(gil_markers_cycle.acquired_ns == 0);",
    );
}

#[test]
fn a_pause_is_measured_from_when_the_world_had_stopped() {
    run(
        "attach(); gil_markers_stw_begin(1); sleep_long(); gil_markers_stw_stopped(1);
        assert(gil_markers_pause.wait_ns >= LONG_NS && gil_markers_pause.stopped_ns != 0);
        gil_markers_stw_end(1);
        assert(gil_markers_pause.stopped_ns == 0 && gil_markers_pause.asked_ns == 0);",
    );
}

#[test]
fn a_pause_of_a_session_that_has_ended_is_not_known() {
    run(
        "attach(); gil_markers_stw_begin(0); gil_markers_stw_stopped(0);
        detach(); gil_markers_stw_end(0);
        assert(gil_markers_pause.stopped_ns == 0);
        attach(); gil_markers_stw_begin(0); detach(); gil_markers_stw_stopped(0);
        assert(gil_markers_pause.asked_ns == 0 && gil_markers_pause.stopped_ns == 0);
        attach(); gil_markers_stw_begin(0); gil_markers_stw_stopped(0); detach(); gil_markers_stw_end(0);
        gil_markers_stw_begin(0); attach(); gil_markers_stw_stopped(0);
        assert(gil_markers_pause.wait_ns == 0);",
    );
}

#[test]
fn a_mutex_counts_only_when_its_waiter_slept() {
    run("attach();
        { GIL_MARKERS_WAITING(waiting, &mutex, 0);
        gil_markers_park(&waiting); assert(waiting.since_ns != 0); gil_markers_parked(&waiting, 0);
        assert(waiting.since_ns == 0 && !waiting.parked);
        gil_markers_park(&waiting); uint64_t first = waiting.since_ns; gil_markers_parked(&waiting, 1);
        gil_markers_park(&waiting); gil_markers_parked(&waiting, 0);
        assert(waiting.parked && waiting.since_ns == first); }
        detach();
        { GIL_MARKERS_WAITING(waiting, &mutex, 0);
        gil_markers_park(&waiting); assert(waiting.since_ns == 0);
        attach(); gil_markers_parked(&waiting, 1); assert(waiting.since_ns == 0); }");
}

#[test]
fn where_a_thread_waits_is_where_it_dropped_the_gil_in_that_very_state() {
    run(
        "attach(); gil_markers_functions_semaphore = 1;
        take(); gil_markers_drop(&gil, &gil);
        assert(gil_markers_cycle.location.thread_state == &gil && gil_markers_cycle.location.line == 7);
        take(); gil_markers_drop(&gil, 0); assert(gil_markers_cycle.location.thread_state == 0);",
    );
}

#[test]
fn nobody_who_did_not_ask_for_functions_pays_for_them() {
    run("attach(); take(); gil_markers_drop(&gil, &gil);
        assert(located == 0 && gil_markers_cycle.location.thread_state == 0);
        gil_markers_functions_semaphore = 1; detach(); take(); gil_markers_drop(&gil, &gil);
        assert(located == 0);");
}

#[test]
fn a_thread_state_that_never_got_the_gil_is_not_looked_into() {
    run("attach(); gil_markers_functions_semaphore = 1;
        gil_markers_claim(&gil, 1, &gil); gil_markers_drop(&gil, &gil);
        assert(located == 0);");
}

#[test]
fn where_a_thread_was_in_an_earlier_session_is_forgotten() {
    run("attach(); gil_markers_functions_semaphore = 1;
        take(); gil_markers_drop(&gil, &gil); assert(located == 1);
        detach(); take(); gil_markers_drop(&gil, &gil);
        assert(gil_markers_cycle.location.thread_state == 0);");
}

#[test]
fn names_are_told_once_to_whoever_attaches_and_once_more_soon_after() {
    run(
        "gil_markers_name_thread(gil_markers_ident(), gil_markers_tid(), \"one\");
        take(); assert(gil_markers_names_told == 0);
        attach(); gil_markers_names_semaphore = 1; take();
        assert(gil_markers_names_told == 1 && gil_markers_names_again_ns != 0);
        for (int i = 0; i < 6; i++) { sleep_long(); }
        take(); assert(gil_markers_names_again_ns == 0);
        gil_markers_names_semaphore = 0; take(); assert(gil_markers_names_told == 0);",
    );
}

#[test]
fn a_name_belongs_to_the_thread_that_is_in_the_list() {
    run(
        "uint64_t me = gil_markers_ident(), tid = gil_markers_tid();
        gil_markers_name_thread(me + 1, tid + 1, \"somebody who has ended\");
        assert(gil_markers_named_threads == 0);
        gil_markers_name_thread(me, tid, \"one\"); gil_markers_name_thread(me, tid, \"two\");
        assert(gil_markers_named_threads == gil_markers_own_name && gil_markers_own_name->next == 0);
        assert(strcmp(gil_markers_own_name->name, \"two\") == 0);
        gil_markers_forked(); assert(gil_markers_named_threads == gil_markers_own_name);",
    );
}

#[test]
fn a_thread_that_ends_leaves_the_list() {
    run(
        "gil_markers_name_thread(gil_markers_ident(), gil_markers_tid(), \"main\");
        pthread_t thread; pthread_create(&thread, 0, named, 0); pthread_join(thread, 0);
        assert(gil_markers_named_threads == gil_markers_own_name && gil_markers_own_name->next == 0);",
    );
}
