"""What the extension module does, but for the markers: spans have their identifiers and their contexts, and nobody is told."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, Callable, Generic, Optional, TypeVar, Union

Identifier = Union[str, bytes, int]
Result = TypeVar("Result")
SelfSpan = TypeVar("SelfSpan", bound="Span")

_current: ContextVar[Optional[Span]] = ContextVar("gilprobe", default=None)


class Span:
    __slots__ = ("_begun", "_ended", "_outer", "identified", "name", "parent_id", "span_id", "trace_id")

    name: str
    trace_id: str
    span_id: int
    parent_id: int | None
    identified: bool

    def __init__(
        self,
        name: str,
        *,
        trace_id: Identifier | None = None,
        span_id: Identifier | None = None,
        parent_id: Identifier | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"span() argument 1 must be str, not {type(name).__name__}")
        self.name = name
        self._begun = self._ended = False
        self._outer: Span | None = None
        self.identified = not (trace_id is None and span_id is None and parent_id is None)
        outer = current()
        if trace_id is not None:
            self.trace_id = _read(trace_id, "trace_id", 16).hex()
        else:
            self.trace_id = outer.trace_id if outer else f"{_random(128):032x}"
        self.span_id = _random(64) if span_id is None else int.from_bytes(_read(span_id, "span_id", 8), "big")
        self.parent_id = None
        if parent_id is not None:
            if trace_id is None:
                raise ValueError("parent_id needs trace_id, the trace that the parent belongs to")
            self.parent_id = int.from_bytes(_read(parent_id, "parent_id", 8), "big")
        elif outer and outer.trace_id == self.trace_id:
            self.parent_id = outer.span_id

    def begin(self: SelfSpan) -> SelfSpan:
        if self._begun:
            raise RuntimeError(f"the span {self.name!r:.100} has begun already: each one begins once")
        self._begun = True
        self._outer = current()
        _current.set(self)
        return self

    def end(self) -> None:
        if not self._begun:
            raise RuntimeError(f"the span {self.name!r:.100} has not begun")
        if self._ended:
            return
        self._ended = True
        self._outer = _living(self._outer)
        if _current.get() is self:
            _current.set(self._outer)

    __enter__ = begin

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()


class Steps(Coroutine[Any, Any, Result], Generic[Result]):
    """The coroutine itself: there is nobody to tell of its steps."""

    def __new__(cls, coroutine: Coroutine[Any, Any, Result]) -> Any:
        return coroutine


def _living(span: Span | None) -> Span | None:
    while span is not None and span._ended:
        span = span._outer
    return span


def current() -> Span | None:
    return _living(_current.get())


def span_in(context: Context) -> Span | None:
    return context.get(_current)


def carry(span: Span | None, function: Callable[..., Result], /, *arguments: Any, **keywords: Any) -> Result:
    before = current()
    _current.set(span)
    try:
        return function(*arguments, **keywords)
    finally:
        _current.set(before)


def follow(*_ignored: Any) -> None:
    pass


def is_traced() -> bool:
    return False


def _random(bits: int) -> int:
    return random.SystemRandom().getrandbits(bits) or 1


def _read(value: Identifier, what: str, size: int) -> bytes:
    read = None
    if isinstance(value, str):
        # int() and bytes.fromhex() would take signs, spaces and underscores.
        if len(value) == 2 * size and all(digit in "0123456789abcdefABCDEF" for digit in value):
            read = bytes.fromhex(value)
    elif isinstance(value, bytes):
        read = value if len(value) == size else None
    elif isinstance(value, int):
        read = value.to_bytes(size, "big") if 0 <= value < 1 << 8 * size else None
    else:
        raise TypeError(f"{what} must be str, bytes or int, not {type(value).__name__}")
    if read is None or not any(read):
        raise ValueError(
            f"{what} must be {2 * size} hexadecimal digits, {size} bytes or a number below 2**{8 * size}, and not zero; "
            f"it is {value!r:.100}"
        )
    return read
