"""The talk's notebook as a script: reads the text trace with pandas, makes holds and waits of its events, sums and histograms for each thread. What
`gilbuild report` is held against; it does not split waits over holders.

usage: notebook.py < TRACE
"""

import sys

import numpy
import pandas

FIELDS = ["time", "event", "tid", "gil", "forced", "hold_ns", "wait_ns"]
BINS = numpy.logspace(2, 10, 81)


def main():
    events = pandas.read_csv(sys.stdin, sep=" ", comment="#", names=FIELDS, header=None, on_bad_lines="skip", engine="c", low_memory=False)
    drops = events[events["event"] == "drop"].copy()
    for field in ("hold_ns", "wait_ns"):
        drops[field] = pandas.to_numeric(drops[field])
    drops = drops.sort_values("time", kind="stable")
    end = drops["time"] - drops["hold_ns"]
    holds = pandas.DataFrame({"tid": drops["tid"], "start": end, "end": drops["time"], "duration": drops["hold_ns"]})
    waits = pandas.DataFrame({"tid": drops["tid"], "start": end - drops["wait_ns"], "end": end, "duration": drops["wait_ns"]})
    waits = waits[waits["duration"] > 0]
    wall = drops["time"].max() - drops["time"].min()
    for name, intervals in (("holds", holds), ("waits", waits)):
        threads = intervals.groupby("tid")["duration"]
        print(name)
        print(threads.agg(["count", "sum", "mean", "min", "max"]).join(threads.quantile([0.5, 0.9, 0.99]).unstack()))
        print(threads.apply(lambda durations: numpy.histogram(durations, BINS)[0]))
        print(f"{intervals['duration'].sum() / wall:.3f} of the time")


main()
