"""One thread that takes and drops the GIL as fast as it can: `os.read` of one byte from /dev/zero.

One cycle is one read: drop the GIL, read, take it again. What a cycle costs more while a tracer is attached is what the
tracer costs. Prints nanoseconds per cycle, one line per round; the smallest round is the least disturbed.

    python churn.py --rounds 10 --cycles 100000
"""

import argparse
import json
import os
import sys
import time


def churn(descriptor, cycles):
    """Nanoseconds that `cycles` reads took."""
    read = os.read
    begin = time.perf_counter_ns()
    for _ in range(cycles):
        read(descriptor, 1)
    return time.perf_counter_ns() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="how many rounds to run (10)")
    parser.add_argument("--cycles", type=int, default=100_000, help="reads per round (100000)")
    parser.add_argument("--seconds", type=float, help="run for this long instead of --rounds")
    parser.add_argument("--wait", action="store_true", help="read a line from stdin before each round; stop at its end")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead of lines")
    arguments = parser.parse_args()

    descriptor = os.open("/dev/zero", os.O_RDONLY)
    churn(descriptor, arguments.cycles // 10)  # warm up
    rounds = []
    end = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    while time.monotonic() < end if end is not None else len(rounds) < arguments.rounds:
        if arguments.wait and not sys.stdin.readline():
            break
        rounds.append(churn(descriptor, arguments.cycles) / arguments.cycles)
        if not arguments.json:
            print(f"{rounds[-1]:.1f}", flush=True)
    if arguments.json:
        print(json.dumps({
            "pid": os.getpid(),
            "cycles": len(rounds) * arguments.cycles,
            "ns_per_cycle": rounds,
        }))


if __name__ == "__main__":
    main()
