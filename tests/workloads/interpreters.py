"""Two sub-interpreters with a GIL of their own, and one that shares the main one's; a thread in each takes and drops its GIL.

At the end comes one object of JSON: how often each did, by the workload's own count.
"""

import json
import os
import sys
import threading

from workload import set_thread_name

ROUNDS = 2000

PROGRAM = """
import os
readable, writable = os.pipe()
for _ in range({rounds}):
    os.write(writable, b"x")
    os.read(readable, 1)
os.close(readable)
os.close(writable)
"""


def make(own_gil):
    """An interpreter, and what runs a program in it: the way of this version of CPython."""
    if sys.version_info >= (3, 14) and own_gil:
        from concurrent import interpreters

        return interpreters.create().exec
    if sys.version_info >= (3, 13):
        import _interpreters

        number = _interpreters.create("isolated" if own_gil else "legacy")
        return lambda program: _interpreters.exec(number, program)
    import _xxsubinterpreters

    number = _xxsubinterpreters.create(isolated=own_gil)
    return lambda program: _xxsubinterpreters.run_string(number, program)


def main():
    program = PROGRAM.format(rounds=ROUNDS)
    truth = {}

    def work(name, execute):
        set_thread_name(name)
        execute(program)
        truth[name] = {"native_id": threading.get_native_id(), "rounds": ROUNDS}

    # By exec: what shares the main interpreter's GIL may also be the main interpreter.
    makers = {"own-1": make(True), "own-2": make(True), "shared": make(False), "main": exec}
    threads = [threading.Thread(target=work, args=item, name=item[0]) for item in makers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({"pid": os.getpid(), "threads": truth}, sys.stdout)
    print()


main()
