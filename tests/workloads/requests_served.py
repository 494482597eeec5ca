"""Requests in threads, in a pool of threads and in tasks of asyncio, each a span of OpenTelemetry's SDK.

Starts once a tracer is attached to the markers of spans, and prints as JSON what it knows of each request: its ids, and for how much
processor time it has computed with the GIL.
"""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import gilprobe
from gilprobe.opentelemetry import GilSpanProcessor

MILLISECOND = 1_000_000

served = []


def compute(milliseconds):
    end = time.thread_time_ns() + milliseconds * MILLISECOND
    while time.thread_time_ns() < end:
        pass


def note(span, computed):
    context = span.get_span_context()
    served.append({
        "name": span.name,
        "trace": f"{context.trace_id:032x}",
        "span": f"{context.span_id:016x}",
        "computed_ns": computed * MILLISECOND,
    })


def serve(tracer):
    with tracer.start_as_current_span("in a thread") as span:
        compute(4)
        time.sleep(0.003)
        with tracer.start_as_current_span("a part"):
            compute(3)
        note(span, 7)


def serve_with_pool(tracer, pool):
    with tracer.start_as_current_span("in a pool") as span:
        for part in [pool.submit(compute, 3) for _ in range(2)]:
            part.result()
        note(span, 6)


async def serve_in_task(tracer):
    with tracer.start_as_current_span("in a task") as span:
        for _ in range(4):
            compute(2)
            await asyncio.sleep(0.003)
        note(span, 8)


async def serve_in_tasks(tracer):
    await asyncio.gather(*(serve_in_task(tracer) for _ in range(5)))


def repeat(work, *arguments):
    for _ in range(5):
        work(*arguments)


def main():
    gilprobe.install()
    provider = TracerProvider()
    provider.add_span_processor(GilSpanProcessor())
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("requests_served")
    until = time.monotonic() + 20
    while not gilprobe.is_traced():
        if time.monotonic() > until:
            sys.exit("no tracer is attached to the markers of spans")
        time.sleep(0.01)
    # It attaches to one marker after the other.
    time.sleep(0.5)
    with ThreadPoolExecutor(2, "pool") as pool:
        threads = [threading.Thread(target=repeat, args=(serve, tracer), name=f"server {number}") for number in range(3)]
        threads.append(threading.Thread(target=repeat, args=(serve_with_pool, tracer, pool), name="server with a pool"))
        threads.append(threading.Thread(target=asyncio.run, args=(serve_in_tasks(tracer),), name="loop"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    json.dump(served, sys.stdout)


main()
