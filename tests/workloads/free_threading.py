"""What makes a free-threaded process stall, on purpose, and the truth about it.

Thread "asker" stops the world a known number of times. Then thread "holder" copies a dict, which keeps the dict's mutex for
milliseconds, and "writer" meanwhile writes into it. At the end comes one object of JSON: how often, when by the workload's own
clock, and which of the writes slept according to the kernel.
"""

import gc
import json
import os
import resource
import sys
import threading
import time

from workload import set_thread_name

STOPS = 200
COLLECTIONS = 20
COPIES = 40


def stop_the_world():
    """`gc.freeze` stops the world once; a collection stops it as often each time as its version of CPython does."""
    truth = {"freezes": STOPS, "collections": COLLECTIONS}
    begin = time.monotonic_ns()
    for _ in range(STOPS):
        gc.freeze()
    truth["freezes_ns"] = time.monotonic_ns() - begin
    begin = time.monotonic_ns()
    for _ in range(COLLECTIONS):
        gc.collect()
    truth["collections_ns"] = time.monotonic_ns() - begin
    return truth


def sleeps():
    """How often the calling thread has slept. Giving its processor away does not count."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def contend(shared, barrier, writes):
    """The two threads that want the dict."""
    started = threading.Event()

    def holder():
        set_thread_name("holder")
        for _ in range(COPIES):
            barrier.wait()
            started.set()
            shared.copy()
            barrier.wait()
            started.clear()

    def writer():
        set_thread_name("writer")
        writes["native_id"] = threading.get_native_id()
        for number in range(COPIES):
            barrier.wait()
            while not started.is_set():
                pass
            before = sleeps()
            begin = time.monotonic_ns()
            shared[0] = number
            end = time.monotonic_ns()
            writes["times"].append((begin, end, sleeps() - before))
            barrier.wait()

    return [threading.Thread(target=holder, name="holder"), threading.Thread(target=writer, name="writer")]


def main():
    gc.disable()
    truth = {"pid": os.getpid(), "gil": sys._is_gil_enabled()}

    def asker():
        set_thread_name("asker")
        truth["asker"] = {"native_id": threading.get_native_id(), **stop_the_world()}

    thread = threading.Thread(target=asker, name="asker")
    thread.start()
    thread.join()

    shared = dict.fromkeys(range(1_500_000))
    writes = {"times": []}
    threads = contend(shared, threading.Barrier(2), writes)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    truth["writer"] = {
        "native_id": writes["native_id"],
        # The mutex of an object lies behind its thread's id and its flags.
        "mutex": f"{id(shared) + 10:x}",
        "writes": writes["times"],
    }
    json.dump(truth, sys.stdout)
    print()


main()
