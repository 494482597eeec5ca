"""A task scheduler of 31 threads, one of which collects metrics with a C extension that keeps the GIL for 500 ms.

29 workers serve requests of some 30 ms, most of which they wait for something else; a thread accepts them, and `metrics`
collects, every ten seconds. With --fixed it does so every two minutes, and its extension lets go of the GIL. Needs the module
`collector` (collector.c) in Python's path; with `gilprobe` there, each request is a span.
"""

import argparse
import json
import queue
import sys
import threading
import time

import collector

try:
    import gilprobe
except ImportError:
    gilprobe = None

WORKERS = 29


class Metrics:
    def __init__(self, every, collect):
        self.every = every
        self.call = collect
        self.collected = 0

    def collect(self):
        self.call()
        self.collected += 1

    def run(self, until):
        due = time.monotonic() + min(3.0, self.every)
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            self.collect()
            due += self.every
        time.sleep(max(0.0, until - time.monotonic()))


class Worker:
    def __init__(self, requests):
        self.requests = requests
        self.durations = []

    def render(self, tasks):
        return json.dumps([{"id": task, "state": "queued"} for task in range(tasks)])

    def handle(self):
        for _ in range(5):
            time.sleep(0.005)
            self.render(100)

    def run(self):
        while self.requests.get():
            begin = time.monotonic()
            if gilprobe:
                with gilprobe.span("GET /tasks"):
                    self.handle()
            else:
                self.handle()
            self.durations.append(time.monotonic() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=35.0, help="how long to run (35)")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second (60)")
    parser.add_argument("--fixed", action="store_true", help="collect every two minutes, and let go of the GIL")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    metrics = Metrics(120.0, collector.collect_released) if arguments.fixed else Metrics(10.0, collector.collect)
    requests = queue.SimpleQueue()
    workers = [Worker(requests) for _ in range(WORKERS)]
    threads = [
        threading.Thread(target=worker.run, name=f"request worker {number}")
        for number, worker in enumerate(workers, 1)
    ]
    threads.append(threading.Thread(target=metrics.run, args=(until,), name="metrics collector"))
    for thread in threads:
        thread.start()
    due = time.monotonic()
    while due < until:
        requests.put(True)
        due += 1.0 / arguments.rate
        time.sleep(max(0.0, due - time.monotonic()))
    for _ in workers:
        requests.put(None)
    for thread in threads:
        thread.join()
    durations = sorted(duration for worker in workers for duration in worker.durations)
    json.dump({
        "requests": len(durations),
        "collected": metrics.collected,
        "median_seconds": durations[len(durations) // 2],
        "slowest_seconds": durations[-1],
        "slower_than_200_ms": sum(duration > 0.2 for duration in durations),
    }, sys.stdout)
    print()


if __name__ == "__main__":
    main()
