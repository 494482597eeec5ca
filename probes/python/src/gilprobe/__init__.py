"""Tells gilbuild what a program works for.

    import gilprobe

    with gilprobe.span("checkout", trace_id=request.trace_id):
        ...

Nothing of it is noticed until a tracer attaches: `gilbuild record --spans --pid PID`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar, cast

from gilprobe import _core
from gilprobe._core import HAS_MARKERS, is_traced
from gilprobe._install import install, uninstall

__all__ = ["HAS_MARKERS", "carry", "current", "install", "is_traced", "span", "uninstall"]

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")


class span(_core.Span):
    """Something that the program does for somebody: a request, a job, a part of one.

    As `with` or `async with` it is that block; as a decorator each call of the function, or coroutine function, is a span of its own.
    A span begun inside another has it as its parent, and its trace id.

    name: any text. Tracers see 255 bytes of it, control characters as U+FFFD.
    trace_id: 32 hexadecimal digits, 16 bytes or a number; a new one, or that of the span around it, if not given.
    span_id: 16 hexadecimal digits, 8 bytes or a number; a new one if not given.
    parent_id: likewise, the span around it in another process; needs trace_id.

    ValueError: an identifier of the wrong form. TypeError: one of another type.
    """

    __slots__ = ()

    @property
    def traceparent(self) -> str:
        """The W3C header that makes a request to another service a part of this span."""
        return f"00-{self.trace_id}-{self.span_id:016x}-01"

    def __repr__(self) -> str:
        return f"<gilprobe.span {self.name!r:.100} trace_id={self.trace_id} span_id={self.span_id:016x}>"

    async def __aenter__(self) -> span:
        return self.begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def __call__(self, function: Function) -> Function:
        if self.identified:
            raise TypeError("a decorator makes a new span for each call: it cannot give all of them the same identifiers")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} makes generators: use `with gilprobe.span(…)` inside of it")
        decorate = _decorated_coroutine if inspect.iscoroutinefunction(function) else _decorated
        return cast(Function, functools.update_wrapper(decorate(self.name, function), function))


def _decorated(name: str, function: Callable[..., Result]) -> Callable[..., Result]:
    def call(*arguments: Any, **keywords: Any) -> Result:
        with span(name):
            return function(*arguments, **keywords)

    return call


def _decorated_coroutine(
    name: str, function: Callable[..., Coroutine[Any, Any, Result]]
) -> Callable[..., Coroutine[Any, Any, Result]]:
    async def inside(*arguments: Any, **keywords: Any) -> Result:
        with span(name):
            return await function(*arguments, **keywords)

    async def call(*arguments: Any, **keywords: Any) -> Result:
        return await _core.Steps(inside(*arguments, **keywords))

    return call


def current() -> Optional[span]:
    """The innermost span of this context that has not ended."""
    return cast(Optional[span], _core.current())


def carry(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function that works for the current span wherever it is called: give it to a thread.

    What `install()` takes care of needs none of this.
    """
    return functools.partial(_core.carry, _core.current(), function)
