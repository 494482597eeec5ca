"""Two I/O threads: no contention for the GIL.

    python io_only.py --seconds 15
"""

from workload import Workload, sleep

workload = Workload(__doc__)
workload.thread("io-1", sleep)
workload.thread("io-2", sleep)
workload.run()
