"""Threads with names of every kind, asleep in functions of every kind.

Prints its pid as soon as half of its threads run, and waits for a line on stdin: whoever attaches meanwhile must be told
their names. Then starts the others, renames some, lets each thread fall asleep often in a function of its own, and prints
what every thread was called, and how often it fell asleep in which function at which line. Before 3.11 a function has no
qualified name.
"""

import argparse
import json
import os
import sys
import threading
import time

NAP = 0.0005

slept = {}


def note():
    """Counts that the calling thread was asleep in the calling line."""
    frame = sys._getframe(1)
    code = frame.f_code
    place = (code.co_filename, getattr(code, "co_qualname", code.co_name), frame.f_lineno)
    places = slept.setdefault(threading.get_native_id(), {})
    places[place] = places.get(place, 0) + 1


class Metrics:
    def collect(self):
        time.sleep(NAP); note()

    @staticmethod
    def nested():
        def inner():
            time.sleep(NAP); note()
        inner()


def generate():
    while True:
        time.sleep(NAP); note()
        yield


def in_a_generator(generator=generate()):
    next(generator)


def größe():
    time.sleep(NAP); note()


def deep(levels=300):
    if levels > 0:
        deep(levels - 1)
    else:
        time.sleep(NAP); note()


def while_failing():
    try:
        raise ValueError
    except ValueError:
        time.sleep(NAP); note()
    finally:
        time.sleep(NAP); note()


def traced():
    sys.settrace(lambda *_: None)
    try:
        time.sleep(NAP); note()
    finally:
        sys.settrace(None)


class Finalised:
    def __del__(self):
        time.sleep(NAP); note()


def while_a_frame_ends():
    finalised = Finalised()


def make(path, name):
    """A function of that name in a file of that path."""
    scope = {"time": time, "note": note, "NAP": NAP}
    exec(compile(f"\n\ndef {name}():\n    time.sleep(NAP); note()\n", path, "exec"), scope)
    return scope[name]


WORK = [
    ("collector of all metrics of the service", Metrics().collect),
    ("größer als fünfzehn", Metrics.nested),
    ("generator", in_a_generator),
    ("日本語のスレッド", größe),
    ("deep", deep),
    ("while failing", while_failing),
    ("traced", traced),
    ("finalised", while_a_frame_ends),
    ("x" * 10000, make("/srv/" + "länger/" * 100 + "app.py", "f" * 1000)),
    ("né" * 400, make("/srv/" + "longer/" * 100 + "app.py", "ö" * 300)),
    ("a \ud800 surrogate\x1b[31m", make("surrogate \udcff.py", "g")),
    ("lambda", lambda: (time.sleep(NAP), note())),
]


class Sleeper:
    def __init__(self, name, work, rounds):
        self.work, self.rounds = work, rounds
        self.begin = threading.Event()
        self.end = threading.Event()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, name=name)
        self.thread.start()

    def run(self):
        self.begin.wait()
        for _ in range(self.rounds):
            self.work()
        self.done.set()
        self.end.wait()


def comm(thread):
    with open("/proc/self/task/{}/comm".format(thread.native_id), "rb") as file:
        return file.read()[:-1].decode("utf-8", "replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, help="how often each thread falls asleep (200)")
    rounds = parser.parse_args().rounds
    half = len(WORK) // 2
    sleepers = [Sleeper(name, work, rounds) for name, work in WORK[:half]]
    print(json.dumps({"pid": os.getpid()}), flush=True)
    sys.stdin.readline()
    sleepers += [Sleeper(name, work, rounds) for name, work in WORK[half:]]
    for sleeper in sleepers:
        sleeper.begin.set()
    for sleeper in sleepers:
        sleeper.done.wait()
    names = {sleeper.thread.native_id: [sleeper.thread.name] for sleeper in sleepers}
    names[threading.get_native_id()] = [threading.current_thread().name]
    comms = {sleeper.thread.native_id: comm(sleeper.thread) for sleeper in sleepers}
    renamed = sleepers[0].thread
    renamed.name = "renamed by another thread"
    names[renamed.native_id].append(renamed.name)
    for sleeper in sleepers:
        sleeper.end.set()
        sleeper.thread.join()
    ended = sleepers[1].thread
    ended.name = "a thread that has ended has no name to tell"
    json.dump({
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "threads": [
            {
                "native_id": native_id,
                "names": told,
                "comm": comms.get(native_id),
                "slept": [
                    {"file": file, "function": function, "line": line, "count": count}
                    for (file, function, line), count in slept.get(native_id, {}).items()
                ],
            }
            for native_id, told in names.items()
        ],
    }, sys.stdout)
    print()


main()
