"""A copy of an interpreter whose markers' notes name no semaphore.

    python without_semaphore.py libpython3.13.so.1.0 COPY

The kernel lets two tracers share a marker only where both leave the semaphore to it (as bpftrace does) or neither does (as SystemTap does,
which counts it up by itself, at the place that it knew when it compiled its module). Where the notes name none, bpftrace only attaches, and
both watch the same run: the very same scripts.
"""

import struct
import sys

OWNER = b"stapsdt\0"
HEADER = struct.Struct("<III")      # size of the owner's name, size of the note, kind of note
ADDRESSES = struct.Struct("<QQQ")   # of the marker, of the section's base, of the semaphore
PROVIDER = b"python\0"


def main():
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        code = bytearray(file.read())
    changed = 0
    at = code.find(OWNER)
    while at >= 0:
        note = at + len(OWNER)
        if (at >= HEADER.size and HEADER.unpack_from(code, at - HEADER.size)[::2] == (len(OWNER), 3)
                and code.startswith(PROVIDER, note + ADDRESSES.size)):
            struct.pack_into("<Q", code, note + 16, 0)
            changed += 1
        at = code.find(OWNER, note)
    if not changed:
        sys.exit(f"without_semaphore: {source} has no markers")
    with open(target, "wb") as file:
        file.write(code)


if __name__ == "__main__":
    main()
