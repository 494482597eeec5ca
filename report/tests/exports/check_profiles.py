"""Reads the exports for two profilers with the profilers' own programs and compares sums with the report; exit status 77: they are not here.

Perfetto: its trace processor, as WebAssembly. Firefox: the Profiler's command line, which is its page without the page.

usage: check_profiles.py FOLDER
"""

import json
import os
import pathlib
import subprocess
import sys

import report_sums

TRACE_PROCESSOR = pathlib.Path(__file__).with_name("trace_processor.mjs")

# More markers are not listed at once.
MARKERS_LIMIT = 100_000

try:
    NODE = os.environ["GILBUILD_TEST_NODE"]
    PROFILERS = pathlib.Path(os.environ["GILBUILD_TEST_PROFILERS"])
except KeyError as missing:
    print(f"{missing} is not set: tests/run installs Node.js and the profilers' programs and sets it", file=sys.stderr)
    sys.exit(77)


def main():
    folder = pathlib.Path(sys.argv[1])
    report_sums.compare([("Perfetto", by_perfetto(folder)), ("Firefox", by_firefox(folder))], report_sums.sums(folder))


def node(*arguments, **more):
    return subprocess.run([NODE, *arguments], check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def by_perfetto(folder):
    # Holds lie on the thread's own track, waits on one below it.
    slices = """
        SELECT coalesce(thread.name, up.name), slice.category, count(*), sum(slice.dur)
        FROM slice JOIN track ON slice.track_id = track.id
        LEFT JOIN thread_track ON thread_track.id = track.id LEFT JOIN thread USING (utid)
        LEFT JOIN (SELECT thread_track.id, thread.name FROM thread_track JOIN thread USING (utid)) up ON up.id = track.parent_id
        WHERE slice.category IN ('hold', 'wait') GROUP BY 1, 2
    """
    holders = "SELECT name, count(*), sum(dur) FROM slice WHERE category = 'gil' GROUP BY 1"
    # Besides ours, the idle task and the process itself are there.
    threads = "SELECT tid, name FROM thread WHERE name IS NOT NULL AND tid != 0"
    flows = "SELECT out.category, into_.category FROM flow JOIN slice out ON out.id = slice_out JOIN slice into_ ON into_.id = slice_in"
    errors = "SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0"
    said = node(TRACE_PROCESSOR, PROFILERS / "trace-processor", folder / "trace.perfetto", slices, holders, threads, flows, errors)
    slices, holders, threads, flows, errors = map(json.loads, said.splitlines())

    assert not errors, errors
    assert flows and all(flow == ["wait", "blame"] for flow in flows), flows
    names = {thread["tid"]: thread["name"] for thread in report_sums.threads(folder)}
    assert dict(threads) == names, threads
    found = {(name, state): (count, total) for name, state, count, total in slices}
    on_gil = {(name, "hold"): (count, total) for name, count, total in holders}
    assert on_gil == {key: value for key, value in found.items() if key[1] == "hold"}
    return found


def by_firefox(folder):
    program = PROFILERS / "node_modules/@firefox-devtools/profiler-cli/dist/profiler-cli.js"
    # It keeps the profile in a process of its own. Nothing here has symbols to ask for.
    environment = os.environ | {"PROFILER_CLI_SESSION_DIR": str(folder / "profiler"), "PROFILER_CLI_NO_SYMBOLICATE": "1"}

    def ask(*arguments):
        return node(program, *arguments, "--session", "exports", env=environment)

    ask("load", folder / "profile.json")
    try:
        tids = {thread["threadHandle"]: int(thread["tid"]) for thread in json.loads(ask("thread", "list", "--json"))["threads"]}
        markers = json.loads(ask("profile", "markers", "--json", "--limit", str(MARKERS_LIMIT)))["markers"]
    finally:
        ask("stop")
    assert len(markers) < MARKERS_LIMIT, "not all are listed"
    names = {thread["tid"]: thread["name"] for thread in report_sums.threads(folder)}
    found = {}
    for marker in markers:
        key = (names[tids[marker["threadHandle"]]], {"GIL held": "hold", "GIL wait": "wait"}[marker["name"]])
        count, total = found.get(key, (0, 0))
        # Milliseconds, which a profile has as floating-point numbers.
        found[key] = (count + 1, total + round(marker["duration"] * 1e6))
    return found


main()
