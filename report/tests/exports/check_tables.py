"""Reads the tables with the programs they are for and compares sums with the report; exit status 77: they are not installed.

usage: check_tables.py FOLDER
"""

import csv
import json
import os
import pathlib
import sys

import report_sums

NOTEBOOK = pathlib.Path(__file__).resolve().parents[3] / "docs/intervals.ipynb"

try:
    import bokeh.plotting  # noqa: F401  the notebook needs it
    import duckdb
    import pandas
    import polars
    import pyarrow.ipc
    import pyarrow.parquet
except ImportError as missing:
    print(f"{missing.name} is not installed; set GILBUILD_TEST_PYTHON to a Python with: bokeh duckdb pandas polars pyarrow", file=sys.stderr)
    sys.exit(77)


def main():
    folder = pathlib.Path(sys.argv[1])
    wanted = report_sums.sums(folder)
    report_sums.compare(intervals(folder), wanted)
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
    for name, table in by_polars(folder, "events"):
        drops = table.filter(polars.col("event") == "drop").group_by("tid").agg(polars.len(), polars.sum("hold_ns"), polars.sum("wait_ns"))
        found[name] = {tid: (count, held, waited) for tid, count, held, waited in drops.iter_rows()}
    report_sums.compare(((f"events, {name}", one) for name, one in found.items()), sums)


def by_polars(folder, name):
    """The three forms of a table as polars reads them."""
    yield "polars on Arrow", polars.read_ipc_stream(folder / f"{name}.arrow")
    yield "polars on Parquet", polars.read_parquet(folder / f"{name}.parquet")
    yield "polars on CSV", polars.read_csv(folder / f"{name}.csv")


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


def intervals(folder):
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
    for name, table in by_polars(folder, "intervals"):
        rows = table.group_by("name", "state").agg(polars.len(), polars.sum("duration_ns")).iter_rows()
        yield name, {(thread, state): (count, total) for thread, state, count, total in rows}
    with open(folder / "intervals.csv", newline="") as file:
        assert all(None not in row.values() for row in csv.DictReader(file))


main()
