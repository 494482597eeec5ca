"""Measures the report on a large trace: events a second, memory, size of the page; beside it the talk's notebook on the same trace.

usage: run.py [SECONDS_OF_TRACE]     120 s are 5 million events, 1130 s are 50 million (2.6 GB in the temporary folder)

Set PYTHON to one that has pandas; without it the notebook is left out.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    seconds = sys.argv[1] if len(sys.argv) > 1 else "120"
    subprocess.run(["cargo", "build", "--release", "--package", "gil-report", "--examples"], cwd=ROOT, check=True)
    examples = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples"
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder) / "dense.trace"
        with open(trace, "wb") as file:
            subprocess.run([examples / "simulate", "dense", seconds], stdout=file, check=True)
        with open(trace, "rb") as file:
            events = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 24), b""))
        print(f"{events:,} lines, {trace.stat().st_size / 1e6:,.0f} MB")
        for form in ("text", "html"):
            measure(f"report as {form}", [examples / "render", form], trace, events, pathlib.Path(folder) / form)
        python = os.environ.get("PYTHON", sys.executable)
        if subprocess.run([python, "-c", "import pandas"], stderr=subprocess.DEVNULL).returncode:
            print("no pandas here: the notebook is left out")
        else:
            notebook = pathlib.Path(__file__).with_name("notebook.py")
            measure("pandas notebook", [python, notebook, trace], trace, events, pathlib.Path(folder) / "notebook")


def measure(name, command, trace, events, output):
    began = time.monotonic()
    with open(trace, "rb") as source, open(output, "wb") as target:
        process = subprocess.Popen(command, stdin=source, stdout=target)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    used = usage.ru_utime + usage.ru_stime
    if status:
        sys.exit(f"{name} failed")
    print(
        f"{name:18} {wall:7.2f} s wall {used:7.2f} s of processor {events / used / 1e6:7.2f} M events/s"
        f" {usage.ru_maxrss / 1024:8,.0f} MB memory {output.stat().st_size / 1e6:8.2f} MB written"
    )


main()
