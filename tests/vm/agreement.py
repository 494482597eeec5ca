"""Holds what the scripts printed in a guest against what the workload counted itself.

    python agreement.py [--counts-only] PAIR KERNEL FOLDER

Prints a line for each script: whether it ran, how many events it saw, and how far it is from the truth. Counts have to be exact where no
loss was reported, sums within 2 % (with --counts-only they are printed and not judged). Exit status 1 where one is not.
"""

import json
import pathlib
import re
import sys

TOLERANCE = 0.02
WORKERS = {"reader-1", "reader-2", "reader-3", "victim", "hog"}
LONG_MS = 30  # the limits that gil-slow is compiled with


class Seen:
    """What a script says about each thread, by name."""

    def __init__(self):
        self.events = 0
        self.drops = {}    # those that no other thread had asked for
        self.held_ns = {}
        self.waited_ns = {}
        self.blamed_ns = None  # how long victim waited while hog held
        self.told = None       # what each worker did, in its order, where a script tells each event
        self.waits = None      # the stretches in which victim waited, where a script tells them
        self.problems = []

    def add(self, what, thread, amount):
        what[thread] = what.get(thread, 0) + amount


def summary_stp(text):
    seen = Seen()
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 11 and fields[1].isdigit():
            name, holds, forced = fields[0], int(fields[2]), int(fields[3])
            seen.events += holds
            seen.add(seen.drops, name, holds - forced)
            seen.add(seen.held_ns, name, float(fields[4]) * 1e6)
            seen.add(seen.waited_ns, name, float(fields[8]) * 1e6)
    return seen


def summary_bt(text):
    seen = Seen()
    for name, thread, value in re.findall(r"^@(\w+)\[([^,\]]+), \d+\]: (\d+)$", text, re.MULTILINE):
        value = int(value)
        if name == "hold_count":
            seen.events += value
            seen.add(seen.drops, thread, value)
        elif name == "hold_forced_count":
            seen.add(seen.drops, thread, -value)
        elif name == "hold_total_ms":
            seen.add(seen.held_ns, thread, value * 1e6)
        elif name == "wait_total_ms":
            seen.add(seen.waited_ns, thread, value * 1e6)
    return seen


def events(text):
    seen = Seen()
    seen.waits, seen.told = [], {}
    names, claims, acquired = {}, {}, {}
    for line in text.splitlines():
        fields = line.split(" ", 6)
        word = fields[1] if len(fields) > 1 else ""
        if word in ("claim", "acquired", "drop", "request") and fields[0].isdigit():
            seen.events += 1
            if names[fields[2]] in WORKERS:
                seen.told.setdefault(names[fields[2]], []).append((word, *fields[4:]))
        if word == "thread":
            names[fields[2]] = fields[6]
        elif word == "claim":
            seen.add(claims, names[fields[2]], 1)
        elif word == "acquired":
            seen.add(acquired, names[fields[2]], 1)
            if names[fields[2]] == "victim":
                end, wait = int(fields[0]), int(fields[4])
                seen.waits.append((end - wait, end))
        elif word == "drop":
            name = names[fields[2]]
            seen.add(seen.drops, name, 1 - int(fields[4]))
            seen.add(seen.held_ns, name, int(fields[5]))
        elif word == "lost":
            seen.problems.append(line)
    # The main thread may have been between the two when tracing began.
    unequal = {name: (claims.get(name), acquired[name]) for name in acquired
               if name in WORKERS and claims.get(name) != acquired[name]}
    if unequal:
        seen.problems.append(f"claims and acquisitions differ: {unequal}")
    if not re.search(r"^\d+ end \w+$", text, re.MULTILINE):
        seen.problems.append("no end")
    return seen


def slow(text):
    seen = Seen()
    long_holds = 0
    for name, what, milliseconds in re.findall(r"^[\d:.]+ +(\S+) +\d+ (hold|wait) +([\d.]+)", text, re.MULTILINE):
        seen.events += 1
        seen.add(seen.held_ns if what == "hold" else seen.waited_ns, name, float(milliseconds) * 1e6)
        long_holds += what == "hold" and name == "hog"
    if "_PyEval_EvalFrameDefault" not in text:
        seen.problems.append("no backtrace")
    if not re.search(r"^ +hog\.<locals>\.\w+ \(.*workload\.py:\d+\)\n +thread hog$", text, re.MULTILINE):
        seen.problems.append("no function and name of the long hold")
    seen.long_holds = long_holds
    return seen


def top(text):
    seen = Seen()
    elapsed = 0
    for line in text.splitlines():
        found = re.search(r"holds in ([\d.]+) ms$", line)
        if found:
            elapsed = float(found[1]) * 1e6
        fields = line.split()
        if len(fields) == 9 and fields[1].isdigit():
            name, holds, forced = fields[0], int(fields[3]), int(fields[4])
            seen.events += holds
            seen.add(seen.drops, name, holds - forced)
            seen.add(seen.held_ns, name, float(fields[2]) / 100 * elapsed)
            seen.add(seen.waited_ns, name, float(fields[6]) / 100 * elapsed)
    return seen


def top_bt(text):
    seen = Seen()
    for name, thread, value in re.findall(r"^@(holds|forced)\[([^,\]]+), \d+\]: (\d+)$", text, re.MULTILINE):
        seen.events += int(value) * (name == "holds")
        seen.add(seen.drops, thread, int(value) if name == "holds" else -int(value))
    return seen


def blame_bt(text):
    seen = Seen()
    for waiter, holder, value in re.findall(r"^@blamed_ms\[(\S+), \d+, (\S+), \d+\]: (\d+)$", text, re.MULTILINE):
        seen.events += 1
        if (waiter, holder) == ("victim", "hog"):
            seen.blamed_ns = int(value) * 1e6
    return seen


def blame(text):
    seen = Seen()
    for waiter, holder, times, milliseconds in re.findall(r"^(\S+) \d+ +(\S+) \d+ +(\d+) +([\d.]+) ", text, re.MULTILINE):
        seen.events += int(times)
        if (waiter, holder) == ("victim", "hog"):
            seen.blamed_ns = float(milliseconds) * 1e6
    return seen


READERS = {
    "gil-summary.stp": summary_stp, "gil-summary.bt": summary_bt, "record-summary": summary_stp,
    "gil-events.stp": events, "gil-events.bt": events, "record-events": events,
    "gil-slow.stp": slow, "gil-slow.bt": slow,
    "gil-top.stp": top, "gil-top.bt": top_bt,
    "gil-blame.stp": blame, "gil-blame.bt": blame_bt,
}


def lost(messages):
    """What the tracer itself says that it lost."""
    return [line for line in messages.splitlines()
            if "RLIMIT_MEMLOCK" not in line  # harmless: newer kernels account BPF memory otherwise
            and re.search(r"skipped probes: [1-9]|transport failures|Lost \d+ events|ERROR", line)]


def total(stretches):
    return sum(end - begin for begin, end in stretches)


def overlap(some, others):
    return sum(max(0, min(end, other_end) - max(begin, other_begin))
               for begin, end in some for other_begin, other_end in others)


def compare(seen, truth, judge_sums):
    """The agreement in words, and whether it is one."""
    words, agrees = [], True
    if seen.drops:
        wrong = {name: (seen.drops.get(name), thread["drops"])
                 for name, thread in truth.items() if seen.drops.get(name) != thread["drops"]}
        words.append(f"counts differ (seen, true): {wrong}" if wrong else "counts exact")
        agrees = not wrong
    holds, waits = truth["hog"]["holds"], truth["victim"]["waits"]
    if hasattr(seen, "long_holds"):
        true = sum(end - begin > LONG_MS * 1e6 for begin, end in holds)
        words.append(f"{seen.long_holds} of {true} long holds")
        agrees = agrees and seen.long_holds == true
    for what, figure, true in (
            ("hold", seen.held_ns.get("hog"), total(holds)),
            # The workload knows of the waits that it has asked for, and not of those after a forced drop: where a script tells when, of
            # the former only.
            ("wait", seen.waited_ns.get("victim") if seen.waits is None else overlap(waits, seen.waits), total(waits)),
            ("blame", seen.blamed_ns, overlap(holds, waits))):
        if figure is not None:
            difference = figure / true - 1
            words.append(f"{what} {difference:+.2%}")
            agrees = agrees and (not judge_sums or abs(difference) <= TOLERANCE)
    return ", ".join(words), agrees and bool(words)


def differences(told):
    """Where scripts that watched the same run tell of it differently: each event with its figures, time stamps apart."""
    (first, theirs), *others = told.items()
    for script, its in others:
        for worker in sorted(WORKERS):
            if its.get(worker) != theirs.get(worker):
                yield f"{script} and {first} tell differently of {worker}"


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--counts-only"]
    judge_sums = len(arguments) == len(sys.argv) - 1
    pair, kernel, folder = arguments[0], arguments[1], pathlib.Path(arguments[2])
    failed = False
    for job in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            truth = json.loads((job / "truth.json").read_text())["threads"]
        except (OSError, ValueError):
            print(f"{pair} {kernel} {job.name}: FAILED: {(job / 'workload').read_text().strip()}")
            failed = True
            truth = None
        told = {}
        for status in sorted(job.glob("*.status")):
            script = status.name.removesuffix(".status")
            problems = lost((job / f"{script}.messages").read_text(errors="replace"))
            code = status.read_text().strip()
            if truth is None:
                print((job / f"{script}.messages").read_text(errors="replace"))
                continue
            seen = READERS[script]((job / f"{script}.output").read_text(errors="replace"))
            agreement, agrees = compare(seen, truth, judge_sums)
            problems += seen.problems
            if seen.told is not None:
                told[script] = seen.told
            good = agrees and code == "0" and not problems
            failed = failed or not good
            print(f"{pair:9} {kernel:18} {script:16} {'ran' if code == '0' else 'FAILED: ' + code:6} {seen.events:6} events  "
                  f"{'ok ' if good else 'BAD'} {agreement}{''.join('; ' + problem for problem in problems)}")
        if len(told) > 1:
            different = list(differences(told))
            failed = failed or bool(different)
            events_of_workers = sum(map(len, next(iter(told.values())).values()))
            print(f"{pair:9} {kernel:18} {' = '.join(told)}: "
                  f"{'; '.join(different) or f'the same {events_of_workers} events of the workers, with the same figures'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
