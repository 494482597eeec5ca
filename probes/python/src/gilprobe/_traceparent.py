"""The W3C header `traceparent`, which says what a request is a part of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Optional

from gilprobe import span

# version, trace id, parent id, flags; a later version may have more behind them. Lower case only, and no other spaces.
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
_LONGEST = 512


def parse(header: str) -> Optional[tuple[str, str]]:
    """The trace id and the id of the span that sent the request; None where the header is not well-formed."""
    match = _FORM.fullmatch(header.strip(" \t")) if len(header) <= _LONGEST else None
    if match is None:
        return None
    version, trace_id, parent_id, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return trace_id, parent_id


def request_span(name: str, headers: Iterable[str]) -> span:
    """The span of a request with these headers `traceparent`: a part of the trace that it names, else of a new one."""
    headers = list(headers)
    # More than one is as bad as a malformed one.
    parent = parse(headers[0]) if len(headers) == 1 else None
    if parent is None:
        return span(name)
    return span(name, trace_id=parent[0], parent_id=parent[1])
