"""Following spans where Python does not say that a context goes on: steps of asyncio's tasks, functions given to threads, greenlets."""

from __future__ import annotations

import asyncio
import functools
import threading
from asyncio import AbstractEventLoop
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any, Callable, Optional
from weakref import WeakSet

from gilprobe import _core

# Each class or module, the name of what was replaced in it, and what stood there itself, or _INHERITED.
_replaced: list[tuple[Any, str, Any]] = []
_INHERITED = object()
_loops: WeakSet[AbstractEventLoop] = WeakSet()
_lock = threading.Lock()


def install(loop: Optional[AbstractEventLoop] = None) -> None:
    """Lets spans follow their contexts: into the steps of tasks, into threads, into greenlets. Calling it again does no harm.

    Call it before event loops are made, or in the one that runs, or give it the one that is meant.
    """
    with _lock:
        if not _replaced:
            _replace(asyncio.BaseEventLoop, "__init__", _loop_made)
            _replace(ThreadPoolExecutor, "submit", _submit)
            _replace(threading.Thread, "run", _run)
            _replace_elsewhere()
    _trace_greenlets()
    for one in (loop, asyncio._get_running_loop()):
        if one is not None:
            _adopt(one)


def uninstall() -> None:
    """Takes back all that install() did. Tasks that have begun stay as they are."""
    with _lock:
        while _replaced:
            owner, name, original = _replaced.pop()
            if original is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        loops = list(_loops)
        _loops.clear()
    for loop in loops:
        factory = loop.get_task_factory()
        if isinstance(factory, _TaskFactory) and not loop.is_closed():
            loop.set_task_factory(factory.before)
    _untrace_greenlets()


def _replace(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Replaces a function by one that gets the original as its first argument."""
    original = getattr(owner, name)
    _replaced.append((owner, name, vars(owner).get(name, _INHERITED)))

    @functools.wraps(original)
    def replacement(*arguments: Any, **keywords: Any) -> Any:
        return wrapper(original, *arguments, **keywords)

    setattr(owner, name, replacement)


def _replace_elsewhere() -> None:
    """What other packages have of their own. Imported here, so that it makes no difference who was imported first."""
    try:
        import uvloop

        _replace(uvloop.Loop, "__init__", _loop_made)
    except ImportError:
        pass
    try:
        import anyio.to_thread

        _replace(anyio.to_thread, "run_sync", _run_sync)
    except ImportError:
        pass


# ---- asyncio ----


class _TaskFactory:
    """Makes the tasks of a loop as they were made before, of coroutines whose steps are told."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(self, loop: AbstractEventLoop, coroutine: Any, **keywords: Any) -> Any:
        if isinstance(coroutine, Coroutine) and not isinstance(coroutine, _core.Steps):
            coroutine = _core.Steps(coroutine)
        if self.before is None:
            return asyncio.Task(coroutine, loop=loop, **keywords)
        return self.before(loop, coroutine, **keywords)


def _adopt(loop: AbstractEventLoop) -> None:
    factory = loop.get_task_factory()
    if not isinstance(factory, _TaskFactory):
        loop.set_task_factory(_TaskFactory(factory))
        _loops.add(loop)


def _loop_made(original: Callable[..., None], loop: AbstractEventLoop, *arguments: Any, **keywords: Any) -> None:
    original(loop, *arguments, **keywords)
    _adopt(loop)


# ---- Threads ----


def _span_of(function: Any) -> Optional[_core.Span]:
    """What a function that is given to a thread works for: the span of the context that it runs in, else that of this context."""
    while isinstance(function, functools.partial):
        function = function.func
    context = getattr(function, "__self__", None)
    if isinstance(context, Context) and getattr(function, "__name__", None) == "run":
        return _core.span_in(context)
    return _core.current()


def _submit(original: Callable[..., Any], executor: Any, function: Any, /, *arguments: Any, **keywords: Any) -> Any:
    span = _span_of(function)
    if span is None:
        return original(executor, function, *arguments, **keywords)
    return original(executor, _core.carry, span, function, *arguments, **keywords)


def _run(original: Callable[..., None], thread: threading.Thread) -> None:
    _trace_greenlets()
    span = _span_of(getattr(thread, "_target", None))
    if span is None:
        original(thread)
    else:
        _core.carry(span, original, thread)


async def _run_sync(original: Callable[..., Any], function: Any, *arguments: Any, **keywords: Any) -> Any:
    span = _core.current()
    if span is not None:
        function = functools.partial(_core.carry, span, function)
    return await original(function, *arguments, **keywords)


# ---- Greenlets ----


def _trace_greenlets() -> None:
    """In this thread: greenlets are traced thread by thread."""
    if not _replaced:
        return
    try:
        import greenlet
    except ImportError:
        return
    before = greenlet.gettrace()
    if before is None:
        greenlet.settrace(_core.follow)
    elif before is not _core.follow and not isinstance(before, _GreenletTrace):
        greenlet.settrace(_GreenletTrace(before))


def _untrace_greenlets() -> None:
    try:
        import greenlet
    except ImportError:
        return
    trace = greenlet.gettrace()
    if trace is _core.follow:
        greenlet.settrace(None)
    elif isinstance(trace, _GreenletTrace):
        greenlet.settrace(trace.before)


class _GreenletTrace:
    """Beside somebody else's."""

    def __init__(self, before: Callable[..., Any]) -> None:
        self.before = before

    def __call__(self, event: str, arguments: Any) -> None:
        _core.follow()
        self.before(event, arguments)
