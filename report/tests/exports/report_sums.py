"""What the report says about the trace that was exported: what every reader of an export must find."""

import json


def threads(folder):
    """The threads of the only GIL of the report."""
    return json.loads((folder / "report.json").read_text())["sessions"][0]["gils"][0]["threads"]


def sums(folder):
    """How many holds and waits each thread had, and how long in all, in nanoseconds."""
    return {
        (thread["name"], state): (thread[field]["count"], thread[field]["total_ns"])
        for thread in threads(folder)
        for state, field in (("hold", "holds"), ("wait", "waits"))
        if thread[field]["count"]
    }


def compare(found, wanted):
    """Fails unless all readers, by name, found what they should."""
    for name, one in found:
        assert one == wanted, f"{name}: {one} instead of {wanted}"
        print(f"{name} agrees")
