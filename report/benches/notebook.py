"""The talk's notebook as a script: reads the text trace with pandas, pairs events, sums holds and waits by thread. What `gilbuild report` is held against.

usage: notebook.py TRACE
"""

import sys

import pandas

FIELDS = ["time", "event", "tid", "gil", "forced", "hold_ns", "wait_ns"]


def main():
    events = pandas.read_csv(sys.argv[1], sep=" ", comment="#", names=FIELDS, header=None, on_bad_lines="skip", engine="c", low_memory=False)
    drops = events[events["event"] == "drop"].copy()
    for field in ("hold_ns", "wait_ns"):
        drops[field] = pandas.to_numeric(drops[field])
    drops = drops.sort_values("time", kind="stable")
    drops["hold_start"] = drops["time"] - drops["hold_ns"]
    wall = drops["time"].max() - drops["time"].min()
    waits = drops[drops["wait_ns"] > 0]
    quantiles = [0.5, 0.9, 0.99]
    holds_by_thread = drops.groupby("tid")["hold_ns"].agg(["count", "sum", "mean", "min", "max"])
    waits_by_thread = waits.groupby("tid")["wait_ns"].agg(["count", "sum", "mean", "min", "max"])
    print(holds_by_thread.join(drops.groupby("tid")["hold_ns"].quantile(quantiles).unstack()))
    print(waits_by_thread.join(waits.groupby("tid")["wait_ns"].quantile(quantiles).unstack()))
    print(f"utilisation {drops['hold_ns'].sum() / wall:.3f}, wait ratio {drops['wait_ns'].sum() / wall:.3f}")


main()
