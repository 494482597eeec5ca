"""Puts a bpftrace script's probes at addresses instead of at markers.

    python by_address.py GILBUILD PREFIX /usr/local/lib/libpython3.13.so.1.0 gil-events.bt > by-address.bt

GILBUILD reads the markers out of PREFIX; the third is the file as the traced process knows it.

The kernel lets two tracers share a place only where both leave the semaphore to it (as bpftrace does at markers) or neither does (as
SystemTap does). At an address bpftrace leaves it alone: so both watch the same run. The markers have to be switched on by the other.
"""

import json
import re
import subprocess
import sys

# What bpftrace calls a register that a marker's note names: without the leading r of the old ones.
REGISTER = re.compile(r"u64 in r(?P<name>[a-d]x|[sd]i|[sb]p|\d+)$")


def operand(argument):
    found = REGISTER.match(argument)
    if not found:
        sys.exit(f"by_address: an argument is `{argument}`; only registers are known here")
    name = found["name"]
    return f'(uint64)reg("{"r" * name.isdigit()}{name}")'


def main():
    program, prefix, elf, script = sys.argv[1:]
    verified = json.loads(subprocess.run([program, "verify", "--json", prefix], check=True, stdout=subprocess.PIPE).stdout)
    markers = {marker["name"]: marker for marker in verified["markers"]}
    marker = None
    with open(script, encoding="utf-8") as lines:
        for line in lines:
            found = re.match(r"usdt:\*:python:(\w+)$", line)
            if found:
                marker = markers[found[1]]
                line = f"uprobe:{elf}:{marker['address']:#x}\n"
            elif line == "}\n":
                marker = None
            elif marker:
                line = re.sub(r"\barg(\d)\b", lambda arg: operand(marker["arguments"][int(arg[1])]), line)
            sys.stdout.write(line)


if __name__ == "__main__":
    main()
