"""Measures the report on large traces, as Arrow and as text: events a second, memory; beside it the talk's notebook on the beginning of the same trace.

usage: run.py [SECONDS_OF_TRACE]     1130 s, the default, are 50 million events: 2.6 GB of text and 2.3 GB of Arrow under target/, removed at the end

The traces are the same every time: 31 simulated threads, every cycle an event. In the first, 3 of them stand in line for the GIL on average, as in the talk; in the
second, 12 do: every wait is split over so many holders. Each program is given one processor, and what counts is its processor time. Set PYTHON to a Python that has
pandas; without one the notebook is left out.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# pandas needs 350 bytes of memory for each event.
NOTEBOOK_LINES = 5_000_000


def main():
    seconds = sys.argv[1] if len(sys.argv) > 1 else "1130"
    subprocess.run(["cargo", "build", "--release", "--package", "gil-report", "--examples"], cwd=ROOT, check=True)
    for scenario, waiting in (("busy", 3), ("dense", 12)):
        with tempfile.TemporaryDirectory(dir=TARGET) as folder:
            compare(scenario, waiting, seconds, pathlib.Path(folder))


def compare(scenario, waiting, seconds, folder):
    programs = TARGET / "release/examples"
    text, arrow, beginning = folder / "long.trace", folder / "long.arrow", folder / "beginning.trace"
    run([programs / "simulate", scenario, seconds], subprocess.DEVNULL, text)
    run([programs / "render", "trace"], text, arrow)
    with open(beginning, "wb") as file:
        subprocess.run(["head", "-n", str(NOTEBOOK_LINES), text], stdout=file, check=True)
    events, few = lines(text), lines(beginning)
    rates = {
        "report, from Arrow": measure([programs / "render", "json"], arrow, events, folder / "arrow.json"),
        "report, from text": measure([programs / "render", "json"], text, events, folder / "text.json"),
        "page, from Arrow": measure([programs / "render", "html"], arrow, events, folder / "page"),
    }
    if (folder / "text.json").read_bytes() != (folder / "arrow.json").read_bytes():
        sys.exit("text and Arrow give different reports")
    notebook = None
    python = os.environ.get("PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import pandas"], stderr=subprocess.DEVNULL).returncode:
        print("NOT RUN: the notebook: no pandas here; set PYTHON to a Python that has it", file=sys.stderr)
    else:
        script = pathlib.Path(__file__).with_name("notebook.py")
        rates[f"notebook, {few / 1e6:.0f} million lines"] = notebook = measure([python, script], beginning, few, folder / "notebook")
    sizes = f"{text.stat().st_size / 1e9:.2f} GB of text, {arrow.stat().st_size / 1e9:.2f} GB of Arrow"
    print(f"\n{events:,} events of 31 threads, {waiting} in line: {sizes}")
    print(f"  {'':<28} {'M events/s':>10} {'processor':>10} {'memory':>10} {'ratio':>7}")
    for name, (rate, used, memory) in rates.items():
        ratio = f"{rate / notebook[0]:.1f}" if notebook else "-"
        print(f"  {name:<28} {rate / 1e6:>10.2f} {used:>8.2f} s {memory:>7,.0f} MB {ratio:>7}", flush=True)


def run(command, source, output):
    with open(output, "wb") as target:
        given = source if isinstance(source, int) else open(source, "rb")
        subprocess.run(command, stdin=given, stdout=target, check=True)


def lines(path):
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 24), b""))


def measure(command, trace, events, output):
    """Events for each second of processor time, that time, and the largest resident memory in MB."""
    one = {min(os.sched_getaffinity(0))}
    with open(trace, "rb") as source, open(output, "wb") as target:
        process = subprocess.Popen(command, stdin=source, stdout=target, preexec_fn=lambda: os.sched_setaffinity(0, one))
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    used = usage.ru_utime + usage.ru_stime
    return events / used, used, usage.ru_maxrss / 1024


main()
