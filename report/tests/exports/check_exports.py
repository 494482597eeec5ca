"""Reads the exports with the programs they are for and compares sums with the report; exit status 77: they are not installed.

usage: check_exports.py FOLDER
"""

import csv
import json
import os
import pathlib
import subprocess
import sys

NOTEBOOK = pathlib.Path(__file__).resolve().parents[3] / "docs/intervals.ipynb"

try:
    import bokeh.plotting  # noqa: F401  the notebook needs it
    import duckdb
    import pandas
    import pyarrow.ipc
    import pyarrow.parquet
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig
except ImportError as missing:
    print(f"{missing.name} is not installed; set GILBUILD_TEST_PYTHON to a Python with: bokeh duckdb pandas perfetto protobuf pyarrow", file=sys.stderr)
    sys.exit(77)


def main():
    folder = pathlib.Path(sys.argv[1])
    threads = json.loads((folder / "report.json").read_text())["sessions"][0]["gils"][0]["threads"]
    wanted = {
        (thread["name"], state): (thread[field]["count"], thread[field]["total_ns"])
        for thread in threads
        for state, field in (("hold", "holds"), ("wait", "waits"))
        if thread[field]["count"]
    }
    for name, found in readers(folder):
        assert found == wanted, f"{name}: {found} instead of {wanted}"
        print(f"{name} agrees")
    events(folder)
    notebook(folder, wanted)


def events(folder):
    """The events as tables, the first of which is a trace in Arrow's form: sums of holds and waits of each thread, and names, as the text has them."""
    names, sums = {}, {}
    for line in (folder / "events.trace").read_text().splitlines():
        fields = line.split(" ", 6)
        if fields[1] == "thread":
            names[int(fields[2])] = fields[6]
        elif fields[1] == "drop":
            tid, hold, wait = int(fields[2]), int(fields[5]), int(fields[6])
            count, held, waited = sums.get(tid, (0, 0, 0))
            sums[tid] = (count + 1, held + hold, waited + wait)

    with pyarrow.ipc.open_stream(folder / "events.arrow") as stream:
        trace = stream.read_all()
    assert trace.schema.metadata[b"gil-trace"] == b"1" and trace.schema.metadata[b"pid"] == b"4711"
    table = trace.to_pandas()
    threads = table[table["event"] == "thread"]
    assert dict(zip(threads["tid"], threads["text"])) == names
    assert all(numbers[0] == 4711 and numbers[2] > 0 for numbers in threads["numbers"])

    def by_pandas(table):
        drops = table[table["event"] == "drop"].groupby("tid")
        return {tid: (len(group), int(group["hold_ns"].sum()), int(group["wait_ns"].sum())) for tid, group in drops}

    found = {
        "Arrow": by_pandas(table),
        "Parquet": by_pandas(pyarrow.parquet.read_table(folder / "events.parquet").to_pandas()),
        "CSV": by_pandas(pandas.read_csv(folder / "events.csv")),
    }
    for source in ("trace", f"'{folder / 'events.parquet'}'", f"'{folder / 'events.csv'}'"):
        rows = duckdb.sql(f"SELECT tid, count(*), sum(hold_ns), sum(wait_ns) FROM {source} WHERE event = 'drop' GROUP BY tid").fetchall()
        found[f"DuckDB on {source}"] = {tid: (count, int(held), int(waited)) for tid, count, held, waited in rows}
    for name, one in found.items():
        assert one == sums, f"events, {name}: {one} instead of {sums}"
        print(f"events, {name} agrees")


def notebook(folder, wanted):
    """Runs the cells of the notebook in the documentation one after the other."""
    os.environ["INTERVALS"] = str(folder / "intervals.parquet")
    os.environ["TIMELINE"] = str(folder / "timeline.html")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    totals = names["totals"]
    assert {(thread, state): int(totals.loc[thread, state]) for thread, state in wanted} == {key: total for key, (_, total) in wanted.items()}
    assert (folder / "timeline.html").stat().st_size > 10_000


def readers(folder):
    def by_pandas(frame):
        groups = frame.groupby(["name", "state"], observed=True)["duration_ns"].agg(["count", "sum"])
        return {key: (int(row["count"]), int(row["sum"])) for key, row in groups.iterrows()}

    with pyarrow.ipc.open_stream(folder / "intervals.arrow") as stream:
        yield "Arrow", by_pandas(stream.read_all().to_pandas())
    yield "Parquet", by_pandas(pyarrow.parquet.read_table(folder / "intervals.parquet").to_pandas())
    yield "CSV by pandas", by_pandas(pandas.read_csv(folder / "intervals.csv"))
    for name in ("intervals.parquet", "intervals.csv"):
        rows = duckdb.sql(f"SELECT name, state, count(*), sum(duration_ns) FROM '{folder / name}' GROUP BY ALL").fetchall()
        yield f"DuckDB on {name}", {(thread, state): (count, int(total)) for thread, state, count, total in rows}
    with open(folder / "intervals.csv", newline="") as file:
        assert all(None not in row.values() for row in csv.DictReader(file))
    yield "Perfetto", by_perfetto(folder / "trace.perfetto")
    yield "Firefox", by_firefox(json.loads((folder / "profile.json").read_text()))


def by_perfetto(path):
    query = """
        SELECT coalesce(thread.name, up.name) AS name, slice.category AS state, count(*) AS count, sum(slice.dur) AS total
        FROM slice JOIN track ON slice.track_id = track.id
        LEFT JOIN thread_track ON thread_track.id = track.id LEFT JOIN thread USING (utid)
        LEFT JOIN (SELECT thread_track.id, thread.name FROM thread_track JOIN thread USING (utid)) up ON up.id = track.parent_id
        WHERE slice.category IN ('hold', 'wait') GROUP BY 1, 2
    """
    try:
        processor = TraceProcessor(trace=str(path), config=TraceProcessorConfig())
    except (subprocess.CalledProcessError, OSError) as error:
        # The package fetches its program when it is first used, from a host that is not PyPI.
        print(f"Perfetto's trace processor cannot be had ({error}): read by Perfetto's own schema instead", file=sys.stderr)
        return by_perfetto_schema(path)
    with processor:
        found = {(row.name, row.state): (row.count, row.total) for row in processor.query(query)}
        assert next(iter(processor.query("SELECT count(*) AS count FROM flow"))).count > 0
        errors = processor.query("SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0")
        assert not [row.name for row in errors]
    return found


def by_perfetto_schema(path):
    trace = perfetto_trace_pb2.Trace.FromString(path.read_bytes())
    events = perfetto_trace_pb2.TrackEvent
    names, parents, open_slices, found = {}, {}, {}, {}
    began, ended = set(), set()
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            parents[track.uuid] = track.parent_uuid
            if track.HasField("thread"):
                names[track.uuid] = track.thread.thread_name
            continue
        event = packet.track_event
        began.update(event.flow_ids)
        ended.update(event.terminating_flow_ids)
        if event.type == events.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_slices, "slices of one track do not overlap"
            open_slices[event.track_uuid] = (packet.timestamp, event.categories[0])
        elif event.type == events.TYPE_SLICE_END:
            start, state = open_slices.pop(event.track_uuid)
            name = names.get(event.track_uuid) or names.get(parents[event.track_uuid])
            if state != "gil":
                count, total = found.get((name, state), (0, 0))
                found[name, state] = (count + 1, total + packet.timestamp - start)
    assert not open_slices and began and began == ended
    return found


def by_firefox(profile):
    found = {}
    for thread in profile["threads"]:
        strings = profile["shared"]["stringArray"] if "shared" in profile else thread["stringArray"]
        markers = thread["markers"]
        for name, start, end in zip(markers["name"], markers["startTime"], markers["endTime"]):
            state = {"GIL held": "hold", "GIL wait": "wait"}[strings[name]]
            count, total = found.get((thread["name"], state), (0, 0))
            found[thread["name"], state] = (count + 1, total + (end - start) * 1e6)
    return {key: (count, round(total)) for key, (count, total) in found.items()}


main()
