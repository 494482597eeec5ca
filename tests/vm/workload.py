"""A workload that knows what it did with the GIL, in numbers that a tracer must arrive at.

    python workload.py --semaphore 2e48b2 --markers 4 > truth.json

Threads:
  reader-1..3   each reads one byte from /dev/zero `cycles` times: one drop a read
  hog           calls a C function that keeps the GIL for tens of milliseconds `hogs` times, with one read after each
  victim        sleeps without the GIL until a moment that it has set, all the while, and measures how much later it has it again
  main          starts them, and sleeps until they are done

Each thread blocks on a lock before tracing starts and on another when it has done its work, so that all its drops while
it works are counted: its reads, and the one with which it blocks on the second lock.

It begins once tracers are attached to so many markers: the markers' semaphore counts them (--semaphore is its address in the ELF
file, from `readelf --notes`).
"""

import argparse
import ctypes
import functools
import json
import operator
import os
import sys
import threading
import time
import timeit


def semaphore_of_this_process(address):
    """The markers' semaphore, in the mapping of the file that holds this interpreter."""
    bases = {}
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) == 6:
                # The first mapping of a file that is linked at 0 lies at its base.
                bases.setdefault(os.path.basename(fields[5].strip()), int(fields[0].split("-")[0], 16))
    for name, base in bases.items():
        if name.startswith("libpython"):
            return ctypes.c_ushort.from_address(base + address)
    return ctypes.c_ushort.from_address(bases[os.path.basename(os.path.realpath(sys.executable))] + address)


class Worker(threading.Thread):
    """A thread that works between two locks, and counts."""

    def __init__(self, name, work):
        super().__init__(name=name, daemon=True)
        self.begin = threading.Lock()
        self.begin.acquire()
        self.leave = threading.Lock()
        self.leave.acquire()
        self.ready = threading.Event()
        self.over = threading.Lock()
        self.over.acquire()
        self.work = work
        self.truth = {}

    def run(self):
        with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w", encoding="ascii") as comm:
            comm.write(self.name)
        descriptor = os.open("/dev/zero", os.O_RDONLY)
        self.ready.set()
        self.begin.acquire()
        truth = self.work(descriptor)
        truth["drops"] += 1  # the lock below
        truth["tid"] = threading.get_native_id()
        self.truth = truth
        self.over.release()
        self.leave.acquire()


def read(cycles):
    def work(descriptor):
        for _ in range(cycles):
            os.read(descriptor, 1)
        return {"drops": cycles}
    return work


def hog(hogs, numbers, finished):
    """Holds as long as `sum` takes: it looks at no signal and at no request to drop the GIL."""
    addition = functools.partial(sum, numbers)

    def work(descriptor):
        holds = []
        for _ in range(hogs):
            os.read(descriptor, 1)
            # In one C call: between two calls the interpreter would let go, and the wait for the victim would count as a hold.
            begin, _, end = list(map(operator.call, (time.monotonic_ns, addition, time.monotonic_ns)))
            holds.append((begin, end))
        os.read(descriptor, 1)
        finished.append(True)
        return {"drops": hogs + 1, "holds": holds}
    return work


def suffer(started, finished):
    """Waits, and knows for how long: it sleeps until a moment that it has set, without the GIL, and asks for it then."""
    clock_nanosleep = ctypes.CDLL(None).clock_nanosleep
    absolute = 1  # TIMER_ABSTIME
    moment = (ctypes.c_int64 * 2)()

    def work(_descriptor):
        # It gets the processor when it wakes up: what it does not get is the GIL.
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, os.sched_param(1))
        started.append(True)
        calls = 0
        waits = []
        while not finished:
            begin = time.monotonic_ns() + 2_000_000
            moment[:] = divmod(begin, 1_000_000_000)
            clock_nanosleep(time.CLOCK_MONOTONIC, absolute, moment, None)
            end = time.monotonic_ns()
            calls += 1
            # Shorter ones are somebody else's turn; hog holds it for longer.
            if end - begin > 20_000_000:
                waits.append((begin, end))
        return {"drops": calls, "waits": waits}
    return work


def wait_until(condition):
    while not condition():
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--semaphore", type=lambda text: int(text, 16), required=True)
    parser.add_argument("--markers", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--hogs", type=int, default=8)
    parser.add_argument("--hog-ms", type=int, default=150)
    arguments = parser.parse_args()

    # How many numbers take `hog_ms` or more to add up on this machine: nothing makes it faster than the fastest.
    fastest = min(timeit.repeat(lambda: sum(range(100_000)), number=1, repeat=20))
    numbers = range(int(100_000 * arguments.hog_ms / 1000 / fastest))

    started, finished = [], []
    readers = [Worker(f"reader-{number}", read(arguments.cycles)) for number in (1, 2, 3)]
    victim = Worker("victim", suffer(started, finished))
    tormentor = Worker("hog", hog(arguments.hogs, numbers, finished))
    workers = [*readers, victim, tormentor]
    for worker in workers:
        worker.start()
        worker.ready.wait()

    semaphore = semaphore_of_this_process(arguments.semaphore)
    print(f"ready {os.getpid()}", file=sys.stderr, flush=True)
    wait_until(lambda: semaphore.value >= arguments.markers)
    time.sleep(0.3)

    begin = time.monotonic_ns()
    for reader in readers:
        reader.begin.release()
    for reader in readers:
        reader.over.acquire()
    victim.begin.release()
    wait_until(lambda: started)
    tormentor.begin.release()
    # It polls nothing meanwhile: it would make the victim wait as well.
    tormentor.over.acquire()
    victim.over.acquire()
    elapsed = time.monotonic_ns() - begin
    time.sleep(0.5)
    print(json.dumps({
        "pid": os.getpid(),
        "elapsed_ns": elapsed,
        "threads": {worker.name: worker.truth for worker in workers},
    }), flush=True)
    # Until whoever traces has detached: threads that end would drop the GIL once more.
    sys.stdin.read()


if __name__ == "__main__":
    main()
