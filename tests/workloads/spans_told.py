"""Requests with names and trace ids of every form, told by gilprobe, or by the extension module in Rust: the folder that has it is the argument.

Starts once a tracer is attached to the markers of spans, and prints as JSON the trace and the name of each request, the name as numbers of
characters: JSON in Rust has no lone surrogates.
"""

import json
import sys
import time

NAMES = [
    "GET /plain",
    "",
    "x" * 10_000,
    "é" * 5_000,
    "ab" + "\U0001f40d" * 2_500,
    "a\0b",
    "\0" * 10_000,
    "".join(map(chr, range(1, 32))),
    "\x7f\x80\x9f\u2028\u2029",
    "\x1b[31mred\x1b[0m\r\nnext line",
    "<script>alert('name')</script>&amp;",
    "' \" \\ %s {0} $(id) `id`; \u202eright to left",
]
# As os.fsdecode makes them of bytes that are no UTF-8.
SURROGATES = ["\ud800", "caf\udce9", "\udcff" * 300]
WRONG = ["", "xyz", "0" * 32, "1" * 31, "1" * 33, "+" + "1" * 31, "1" * 31 + "\0", "é" * 16, "1" * 10_000, "\n" * 32]

served = []


def work():
    end = time.thread_time_ns() + 1_000_000
    while time.thread_time_ns() < end:
        pass
    # Gives the GIL up: what was held for the request is then known.
    time.sleep(0)


def check_rust(folder):
    sys.path.insert(0, folder)
    import primes

    for name in SURROGATES:
        try:
            primes.serve(name, work)
        except UnicodeEncodeError:
            continue
        raise AssertionError(f"{name!r} was taken")
    attached(primes.is_traced)
    for limit in (10, 300_000):
        trace = f"{0x1000 + limit:032x}"
        primes.count(limit, f"00-{trace}-00000000000000a1-01")
        note(trace, "primes.count")
    refused(primes.count, 10, "00-none")
    return primes.serve, lambda wrong: refused(primes.serve, "wrong", work, wrong)


def check_gilprobe():
    import gilprobe

    def serve(name, function, trace_id):
        with gilprobe.span(name, trace_id=trace_id):
            function()

    attached(gilprobe.is_traced)
    for number, name in enumerate(SURROGATES):
        serve(name, work, f"{0x1000 + number:032x}")
        note(f"{0x1000 + number:032x}", name)
    return serve, lambda wrong: refused(serve, "wrong", work, wrong)


def attached(is_traced):
    until = time.monotonic() + 20
    while not is_traced():
        assert time.monotonic() < until, "no tracer has attached"
        time.sleep(0.01)


def refused(function, *arguments):
    try:
        function(*arguments)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 300, str(error)
        return
    raise AssertionError(f"{arguments} were taken")


def note(trace, name):
    served.append({"trace": trace, "name": [ord(character) for character in name]})


def main():
    serve, refuse = check_rust(sys.argv[1]) if len(sys.argv) > 1 else check_gilprobe()
    for number, name in enumerate(NAMES, 1):
        trace = f"{number:032x}"
        serve(name, work, trace)
        note(trace, name)
    for wrong in WRONG:
        refuse(wrong)
    json.dump(served, sys.stdout)


main()
