"""A thread that collects metrics through C code which never releases the GIL: 500 ms at a time, every 2 s.

Two I/O threads are its victims. PyDLL calls a C function without releasing the GIL, like an extension that forgot to.

    python hog.py --seconds 15
"""

import ctypes
import time

from workload import Workload, sleep

HOLD_MICROSECONDS = 500_000
PAUSE_SECONDS = 1.5

libc_with_gil = ctypes.PyDLL(None)


def collect_metrics():
    begin = time.monotonic_ns()
    libc_with_gil.usleep(HOLD_MICROSECONDS)
    kept = time.monotonic_ns() - begin
    time.sleep(PAUSE_SECONDS)
    return kept


workload = Workload(__doc__)
workload.thread("io-1", sleep)
workload.thread("io-2", sleep)
workload.thread("metrics", collect_metrics)
workload.run()
