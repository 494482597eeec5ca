"""The mixed workload (tests/workloads/mixed.py) under this recorder and under tools that one would use instead: how much longer a round
takes, and what each says of the GIL, side by side with the truth.

The truth is the native recorder's trace of the same rounds: that its counts are those of the workloads themselves is tested
(record/tests/recording). A tool that does not run here is listed with the reason.
"""

import json
import pathlib
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKLOADS = ROOT / "tests/workloads"
GILBUILD = ROOT / "target/debug/gilbuild"
SESSIONS = 3
ROUNDS = 5
PY_SPY_RATE = 100
PACKAGES = {"py-spy": "py-spy", "gilstat": "flight_profiler", "gilknocker": "gilknocker", "viztracer": "viztracer"}

# gilknocker lives in the program that it watches.
KNOCKED = f"""
import sys
sys.path.insert(0, {str(WORKLOADS)!r})
import gilknocker, mixed
knocker = gilknocker.KnockKnock(1_000)
knocker.start()
for _ in sys.stdin:
    knocker.reset_contention_metric()
    seconds, processor = mixed.one_round()
    print(f"{{seconds:.4f}} {{processor:.4f}} {{knocker.contention_metric:.4f}}", flush=True)
knocker.stop()
"""


class NotRun(Exception):
    """Why a tool does not run here."""


class Rounds:
    """The workload, which does a round whenever it is told to."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.says = []

    def round(self):
        """Seconds that it took, and of processor time."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        if not words:
            raise NotRun("the program did not run under it")
        self.says += [float(word) for word in words[2:]]
        return float(words[0]), float(words[1])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def plain(python):
    return [python, WORKLOADS / "mixed.py", "--wait", "--rounds", "1000000"]


class Recorder:
    """This recorder, attached to a process."""

    def __init__(self, mode, pid, folder):
        self.trace = f"{folder}/peers-{mode}.arrow"
        self.process = subprocess.Popen(
            [GILBUILD, "record", "--backend", "native", "--mode", mode, "--pid", str(pid), "--output", self.trace, "--force"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if not any("Recording" in line for line in self.process.stderr):
            raise NotRun("it did not attach; run it by hand to see why")

    def detach(self):
        """What it says: the shares of time held, and waited over all threads."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        written = subprocess.run([GILBUILD, "report", "--format", "json", self.trace], check=True, capture_output=True)
        figures = json.loads(written.stdout)["gils"][0]["figures"]
        return figures["utilisation"], figures["wait_ratio"]


class PySpy:
    """py-spy, which looks a hundred times a second who has the GIL."""

    def __init__(self, program, pid, folder):
        self.samples = f"{folder}/py-spy.raw"
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            [program, "record", "--gil", "--threads", "--rate", str(PY_SPY_RATE), "--format", "raw", "--output", self.samples, "--pid", str(pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        if self.process.poll() is not None:
            raise NotRun(self.process.stderr.read().strip().splitlines()[-1])

    def detach(self):
        seconds = time.monotonic() - self.begin
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        with open(self.samples) as file:
            counted = sum(int(line.rsplit(" ", 1)[1]) for line in file if " " in line)
        return counted / (seconds * PY_SPY_RATE), None


def gilstat(program, pid, _):
    """flight_profiler's gilstat, which puts jumps into take_gil and drop_gil of the running process."""
    try:
        said = subprocess.run([program, str(pid), "--no-color", "--cmd", "gilstat on 5 5 3"], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired as expired:
        # It goes on until it is stopped, so this is what it does where it works.
        raise NotRun("it attached and prints statistics of its own, which this bench does not read") from expired
    words = (said.stdout + said.stderr).strip().splitlines() or ["it said nothing"]
    if "resolve_symbol_address" in said.stdout + said.stderr:
        raise NotRun("it looks for take_gil in the executable only; in this build, as in official images, it is in libpython")
    raise NotRun(words[-1])


def ratios(watched, free):
    """How many times as long rounds took, and as much processor time."""
    def median(rounds, which):
        return statistics.median(one[which] for one in rounds)
    return [median(watched, which) / median(free, which) for which in (0, 1)]


def attached(python, tool, folder):
    """How much longer rounds take while a tool is attached, and what it says."""
    program = Rounds(plain(python))
    try:
        program.round()
        free, watched, says = [], [], []
        for _ in range(SESSIONS):
            free += [program.round() for _ in range(ROUNDS)]
            session = tool(program.process.pid, folder)
            try:
                watched += [program.round() for _ in range(ROUNDS)]
            finally:
                says.append(session.detach())
    finally:
        program.process.kill()
        program.process.wait()
    held = statistics.median(held for held, _ in says)
    waited = None if says[0][1] is None else statistics.median(waited for _, waited in says)
    return ratios(watched, free), held, waited


def inside(python, command):
    """The same for a tool that lives in the program: two programs take turns."""
    free, watched = Rounds(plain(python)), Rounds(command)
    try:
        free.round(), watched.round()
        watched.says.clear()
        times = [(watched.round(), free.round()) for _ in range(SESSIONS * ROUNDS)]
    finally:
        for program in (free, watched):
            program.process.kill()
            program.process.wait()
    held = statistics.median(watched.says) if watched.says else None
    return ratios(*zip(*times)), held, None


def install(prefix, folder):
    """A virtual environment of the interpreter with the tools in it; those that cannot be installed, with the reason."""
    venv = pathlib.Path(folder) / "peers"
    subprocess.run([f"{prefix}/bin/python3", "-m", "venv", venv], check=True)
    missing = {}
    for tool, package in PACKAGES.items():
        pip = subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", package], capture_output=True, text=True)
        if pip.returncode != 0:
            missing[tool] = "pip cannot install it here: " + (pip.stderr.strip().splitlines() or ["it does not say why"])[-1]
    return venv, missing


def compare(prefix, folder):
    """Prints the table."""
    venv, missing = install(prefix, folder)
    python = venv / "bin/python3"
    tools = {
        "record --mode events": lambda: attached(python, lambda pid, folder: Recorder("events", pid, folder), folder),
        "record --mode slow": lambda: attached(python, lambda pid, folder: Recorder("slow", pid, folder), folder),
        "py-spy": lambda: attached(python, lambda pid, folder: PySpy(venv / "bin/py-spy", pid, folder), folder),
        "gilstat": lambda: attached(python, lambda pid, folder: gilstat(venv / "bin/flight_profiler", pid, folder), folder),
        "gilknocker": lambda: inside(python, [python, "-c", KNOCKED]),
        "viztracer": lambda: inside(python, [
            venv / "bin/viztracer", "--quiet", "--output_file", f"{folder}/viztracer.json", "--", *plain(python)[1:]]),
    }
    print(f"\nThe mixed workload, medians of {SESSIONS * ROUNDS} rounds each:")
    print(f"  {'tool':<24} {'a round takes':>13} {'processor':>10} {'says held':>10} {'waited':>8}")
    for tool, measure in tools.items():
        try:
            if tool in missing:
                raise NotRun(missing[tool])
            (wall, processor), held, waited = measure()
        except NotRun as reason:
            print(f"  {tool:<24} NOT RUN: {reason}")
            continue
        held = "-" if held is None else f"{held * 100:.1f} %"
        waited = "-" if waited is None else f"{waited:.2f}"
        print(f"  {tool:<24} {wall:>12.3f}x {processor:>9.3f}x {held:>10} {waited:>8}", flush=True)


if __name__ == "__main__":
    compare(*sys.argv[1:])
