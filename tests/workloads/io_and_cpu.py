"""Two I/O threads and a CPU-bound one: each time an I/O thread wants the GIL, it waits for the switch interval.

    python io_and_cpu.py --seconds 15
"""

from workload import Workload, sleep, spin

workload = Workload(__doc__)
workload.thread("io-1", sleep)
workload.thread("io-2", sleep)
workload.thread("cpu", spin)
workload.run()
