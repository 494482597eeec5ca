"""Switches the GIL of a free-threaded process on and off, over and over, while threads take what there is to take.

Importing an extension module switches the GIL on until the module has said that it does without. Nobody can have held the GIL, or waited
for it, for longer than such an import took. At the end comes one object of JSON with how often, and how long they took.
"""

import importlib.util
import json
import os
import sys
import threading
import time

from workload import set_thread_name

IMPORTS = 60
# Far longer than an import: a moment that stayed behind would become a wait of that length.
PAUSE = 0.02


def main():
    spec = importlib.util.find_spec("_queue")
    done = threading.Event()
    readable, writable = os.pipe()
    os.write(writable, b"x" * 16)

    def worker(name):
        set_thread_name(name)
        while not done.is_set():
            # Lets go of the GIL, if there is one, and takes it again.
            os.read(readable, 1)
            os.write(writable, b"x")

    threads = [threading.Thread(target=worker, args=(f"worker-{number}",), name=f"worker-{number}") for number in range(3)]
    for thread in threads:
        thread.start()
    took, on = [], 0
    for _ in range(IMPORTS):
        time.sleep(PAUSE)
        begin = time.monotonic_ns()
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        took.append(time.monotonic_ns() - begin)
        on += sys._is_gil_enabled()
    done.set()
    for thread in threads:
        thread.join()
    json.dump({"imports": IMPORTS, "longest_ns": max(took), "sum_ns": sum(took), "still_on": on}, sys.stdout)
    print()


main()
