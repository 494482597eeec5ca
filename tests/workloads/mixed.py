"""What a busy service does, in rounds of a fixed amount of work: a thread that computes in bursts, two that do I/O, and one that reads and
writes small pieces as fast as it can between them.

Prints the seconds that each round took and the seconds of processor time, one line per round. With --wait a round begins whenever a line comes in.

    python mixed.py --rounds 5
"""

import argparse
import json
import os
import sys
import threading
import time

from workload import set_thread_name

BURSTS = 20
PIECES = 5_000


def compute():
    """Bursts of some 20 ms, and as long a pause after each."""
    for _ in range(BURSTS):
        for _ in range(600_000):
            pass
        time.sleep(0.02)


def serve():
    """Short work on what has come in, a hundred times a second."""
    for _ in range(BURSTS * 4):
        json.loads(json.dumps({"answer": list(range(100))}))
        time.sleep(0.01)


def copy():
    """Small pieces, each of which gives the GIL up."""
    zero = os.open("/dev/zero", os.O_RDONLY)
    for _ in range(BURSTS):
        for _ in range(PIECES):
            os.read(zero, 1)
        time.sleep(0.02)
    os.close(zero)


def one_round():
    """Seconds that all of it took, and of processor time."""
    def run(name, function):
        set_thread_name(name)
        function()

    work = [("compute", compute), ("serve-1", serve), ("serve-2", serve), ("copy", copy)]
    threads = [threading.Thread(target=run, name=name, args=(name, function)) for name, function in work]
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin, time.process_time() - begin_cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how many rounds to run (5)")
    parser.add_argument("--wait", action="store_true", help="read a line from stdin before each round; stop at its end")
    arguments = parser.parse_args()
    for _ in range(arguments.rounds):
        if arguments.wait and not sys.stdin.readline():
            break
        seconds, processor = one_round()
        print(f"{seconds:.4f} {processor:.4f}", flush=True)


if __name__ == "__main__":
    main()
