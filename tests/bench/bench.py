"""What one GIL cycle costs: without markers, with dormant ones, and with each tracer attached.

The cycle is `os.read` of one byte that is there (tests/workloads/churn.py). All programs run side by side and take turns, round
by round, so that whatever else the machine does meets all of them; figures are medians, and what counts is their ratio.
"""

import argparse
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHURN = ROOT / "tests/workloads/churn.py"
CYCLES = 40_000
PROCESSES = 151
ROUNDS = 7
ATTACHED_ROUNDS = 15
SESSIONS = 3


def script(path):
    """The command that attaches a bpftrace script to a process."""
    return lambda pid, _: ["bpftrace", "-p", str(pid), ROOT / path, str(pid)]


def native(mode, *options):
    """The command that attaches the native recorder to a process."""
    return lambda pid, folder: [
        ROOT / "target/debug/gilbuild", "record", "--backend", "native", "--mode", mode, "--pid", str(pid),
        "--output", f"{folder}/native-{mode}", "--force", *options]


# The first is what the others are compared with.
TRACERS = {
    "three markers, maps in the script": script("tests/bench/three-markers.bt"),
    "gil-summary.bt": script("bpftrace/gil-summary.bt"),
    "gil-events.bt": script("bpftrace/gil-events.bt"),
    "record --mode summary": native("summary"),
    "record --mode slow": native("slow"),
    "record --mode events": native("events"),
    "record --mode slow --functions": native("slow", "--functions"),
    "record --mode events --functions": native("events", "--functions"),
}


class Churn:
    """A running churn.py that does a round whenever it is told to."""

    def __init__(self, prefix):
        self.process = subprocess.Popen(
            [f"{prefix}/bin/python3", CHURN, "--wait", "--cycles", str(CYCLES), "--rounds", "1000000"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def round(self):
        """Nanoseconds a cycle."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Attached:
    """A tracer attached to a process."""

    def __init__(self, name, churn, folder):
        idle = statistics.median(churn.round() for _ in range(5))
        command = TRACERS[name](churn.process.pid, folder)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if "record" in command:
            # It says so itself.
            attached = any("Recording" in line for line in self.process.stderr)
        else:
            # Compiling a script makes the churn slower, too, but not as much as its probes do.
            deadline = time.monotonic() + 30
            attached = True
            while attached and min(churn.round() for _ in range(4)) < idle * 2:
                attached = self.process.poll() is None and time.monotonic() < deadline
        if not attached:
            raise SystemExit(f"bench: {name} did not attach; run it by hand to see why")

    def detach(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def dormant(prefixes):
    """The ratio of dormant markers to none, by alternating rounds of many processes: where a process's memory happens to lie makes it
    faster or slower by some percent for as long as it runs."""
    figures = {name: [] for name in prefixes}
    for turn in range(PROCESSES):
        programs = {name: Churn(prefix) for name, prefix in prefixes.items()}
        names = list(programs)
        # Nobody always goes first.
        names = names[turn % len(names):] + names[:turn % len(names)]
        # A process's first round finds nothing in the caches.
        for name in names:
            programs[name].round()
        rounds = {name: [] for name in names}
        for _ in range(ROUNDS):
            for name in names:
                rounds[name].append(programs[name].round())
        for name, program in programs.items():
            figures[name].append(statistics.median(rounds[name]))
            program.close()
    without = statistics.median(figures["none"])
    print(f"\nNobody attached, median of {PROCESSES} processes, each the median of {ROUNDS} alternating rounds of {CYCLES} cycles:")
    print(f"  {'markers':<12} {'ns a cycle':>10} {'ratio':>7}")
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"  {name:<12} {median:>10.1f} {median / without:>7.3f}")


def attached(name, prefix, folder, yardstick):
    """What each tracer adds to a cycle. Returns what the first one adds, which is the yardstick unless there is one."""
    churn = Churn(prefix)
    base, figures = [], {tracer: [] for tracer in TRACERS}
    for _ in range(SESSIONS):
        for tracer in TRACERS:
            base += [churn.round() for _ in range(ATTACHED_ROUNDS)]
            session = Attached(tracer, churn, folder)
            figures[tracer] += [churn.round() for _ in range(ATTACHED_ROUNDS)]
            session.detach()
    churn.close()
    free = statistics.median(base)
    added = {tracer: statistics.median(values) - free for tracer, values in figures.items()}
    yardstick = yardstick or added[next(iter(TRACERS))]
    print(f"\nAttached, markers with {name}, {free:.0f} ns a cycle without a tracer:")
    print(f"  {'tracer':<36} {'ns a cycle':>10} {'added':>7} {'ratio':>7}")
    for tracer, values in figures.items():
        print(f"  {tracer:<36} {statistics.median(values):>10.0f} {added[tracer]:>7.0f}"
              f" {added[tracer] / yardstick:>7.2f}")
    return yardstick


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--none", required=True, help="prefix without markers")
    parser.add_argument("--nop", required=True, help="prefix with 1-byte nops")
    parser.add_argument("--nop5", help="prefix with 5-byte nops")
    arguments = parser.parse_args()
    marked = {name: prefix for name, prefix in [("nop", arguments.nop), ("nop5", arguments.nop5)] if prefix}
    dormant({"none": arguments.none, **marked})
    if shutil.which("bpftrace") is None:
        print("NOT RUN: the costs of tracers: bpftrace is not installed", file=sys.stderr)
        return
    # All ratios are to the script on 1-byte nops: what one pays today.
    yardstick = None
    with tempfile.TemporaryDirectory() as folder:
        for name, prefix in marked.items():
            yardstick = attached(name, prefix, folder, yardstick)
        peers.compare(arguments.nop, folder)


if __name__ == "__main__":
    main()
