"""What the workloads share: threads with names that the kernel knows as well, a time to stop, counts at the end."""

import argparse
import ctypes
import json
import os
import sys
import threading
import time

PR_SET_NAME = 15  # linux/prctl.h


class Workload:
    """Runs functions in named threads for `--seconds`, and with `--json` prints how many loops each one did.

    A function is called over and over until the time is up; it must return now and then. What it returns, if anything, is for how many nanoseconds
    it has kept the GIL by its own clock.
    """

    def __init__(self, description):
        parser = argparse.ArgumentParser(description=description.splitlines()[0])
        parser.add_argument("--seconds", type=float, default=15.0, help="how long to run (15)")
        parser.add_argument("--json", action="store_true", help="print what each thread did, as one JSON object")
        self.arguments = parser.parse_args()
        self.threads = {}
        self.end = None

    def thread(self, name, loop):
        """Adds a thread that calls `loop` until the time is up."""
        self.threads[name] = {"loops": 0, "kept_ns": 0, "loop": loop}

    def run(self):
        begin = time.monotonic()
        self.end = begin + self.arguments.seconds
        threads = [
            threading.Thread(target=self._run_thread, name=name, args=(name, thread))
            for name, thread in self.threads.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.arguments.json:
            json.dump({
                "pid": os.getpid(),
                "python": "{}.{}.{}".format(*sys.version_info[:3]),
                "seconds": time.monotonic() - begin,
                "threads": {
                    name: {key: thread[key] for key in ("native_id", "loops", "kept_ns")}
                    for name, thread in self.threads.items()
                },
            }, sys.stdout)
            print()

    def _run_thread(self, name, thread):
        set_thread_name(name)
        thread["native_id"] = threading.get_native_id()
        loop = thread["loop"]
        while time.monotonic() < self.end:
            thread["kept_ns"] += loop() or 0
            thread["loops"] += 1


def set_thread_name(name):
    """Gives the calling thread its name for the kernel, too: Python does so by itself from 3.14 on."""
    if sys.version_info < (3, 14):
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def sleep():
    """What an I/O thread does: next to nothing, ten times a second."""
    time.sleep(0.1)


def spin():
    """What a CPU-bound thread does. Loops in here, so that the clock is looked at seldom."""
    for _ in range(1_000_000):
        pass
