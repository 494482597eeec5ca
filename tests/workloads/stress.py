"""Everything that Python code can do to the frames in which threads give the GIL up, at once, for a while.

Threads sleep in generators, coroutines, deep recursion, exception handlers, trace functions and finalisers; others come and go, are
renamed, fork, run sub-interpreters, and start processes that end while their daemon threads are at work. Prints how often each was done;
exits with 1 when a process of its own ended badly.
"""

import argparse
import asyncio
import faulthandler
import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

NAP = 0.0002

ENDS_UNDER_LOAD = """
import sys, threading, time

class Last:
    def __del__(self):
        time.sleep(0.0002)

def work(last=Last()):
    while True:
        time.sleep(0.0001)
        sum(range(100))

kept = [Last() for _ in range(20)]
for number in range(10):
    threading.Thread(target=work, daemon=True, name=f"daemon {number}").start()
time.sleep(0.05)
"""

SUB_INTERPRETER = """
import time
def work():
    time.sleep(0.0002)
for _ in range(20):
    work()
"""

done = {}
failures = []
# CPython's own fork fails in a process that has sub-interpreters, with markers or without.
turn = threading.Lock()


def nap():
    time.sleep(NAP)


def generator():
    for _ in range(5):
        nap()
        yield
    yield from (nap() for _ in range(3))


def generators():
    first = generator()
    next(first)
    for _ in generator():
        pass
    first.close()


def coroutines():
    async def step():
        nap()
        await asyncio.sleep(0)

    async def steps():
        await asyncio.gather(*(step() for _ in range(5)))

    asyncio.run(steps())


def recursion(levels=400):
    if levels == 0:
        nap()
    else:
        recursion(levels - 1)


def exceptions():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            nap()
            raise ValueError("second") from error
        finally:
            nap()
    except ValueError:
        nap()


def tracing():
    def trace(frame, event, argument):
        if event == "line" and random.random() < 0.1:
            nap()
        return trace

    sys.settrace(trace)
    try:
        exceptions()
    finally:
        sys.settrace(None)


def profiling():
    sys.setprofile(lambda *_: nap())
    try:
        sorted([3, 1, 2], key=lambda number: -number)
    finally:
        sys.setprofile(None)


class Finalised:
    def __init__(self):
        self.itself = self

    def __del__(self):
        nap()


def finalisers():
    for _ in range(3):
        Finalised()
    gc.collect(0)


def callbacks():
    class Key:
        def __lt__(self, other):
            nap()
            return False

    sorted(Key() for _ in range(4))


def computed():
    """Code that exists only while it runs, with names that differ each time and are sometimes long."""
    name = random.choice("äé日f") * random.choice((1, 60, 300))
    scope = {"nap": nap}
    exec(compile(f"def {name}():\n nap()\n{name}()\n", f"/{name}/{random.random()}.py", "exec"), scope)


def renaming():
    threading.current_thread().name = random.choice(("short", "né" * 200, "\ud800", "a b\tc")) + str(random.random())


def computing():
    sum(range(20_000))


def short_lived():
    thread = threading.Thread(target=nap, name="short-lived")
    thread.start()
    thread.join()


EVERYBODY = [
    generators, coroutines, recursion, exceptions, tracing, profiling, finalisers, callbacks, computed, renaming, computing,
    short_lived,
]


def ended(what, status):
    if status != 0:
        failures.append(f"{what} ended with {status}")


def fork():
    with turn:
        child = os.fork()
    if child == 0:
        status = 1
        try:
            # It may wait for a lock that a thread of its parent's held: that is no failure.
            signal.alarm(5)
            for _ in range(5):
                generators()
                exceptions()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status != signal.SIGALRM:
        ended("a forked child", status)


def sub_interpreter():
    with turn:
        interpreter = interpreters.create()
        try:
            interpreters.run_string(interpreter, SUB_INTERPRETER)
        finally:
            interpreters.destroy(interpreter)


def finalisation():
    ended("a process", subprocess.run([sys.executable, "-c", ENDS_UNDER_LOAD]).returncode)


def repeat(work, until):
    random.seed(threading.get_ident())
    while time.monotonic() < until:
        chosen = random.choice(work)
        try:
            chosen()
        except Exception as error:
            failures.append(f"{chosen.__name__}: {error!r}")
        done[chosen.__name__] = done.get(chosen.__name__, 0) + 1


def main():
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--threads", type=int, default=200, help="how many threads (200)")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    alone = [[fork], [sub_interpreter], [finalisation]]
    work = alone + [EVERYBODY] * (arguments.threads - len(alone))
    threads = [threading.Thread(target=repeat, args=(what, until), name=f"stress {number}") for number, what in enumerate(work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({"pid": os.getpid(), "python": sys.version.split()[0], "done": done, "failures": failures[:10]}, sys.stdout)
    print()
    sys.exit(1 if failures else 0)


main()
