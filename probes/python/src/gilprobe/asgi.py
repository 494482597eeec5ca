"""A span for each request of an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, MutableMapping
from typing import Any, Callable

from gilprobe import _core
from gilprobe._traceparent import request_span

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def request_name(scope: Scope) -> str:
    """`GET /path`."""
    return f"{scope.get('method', '')} {scope.get('path', '')}"


class GilMiddleware:
    """Around an application. Follows the steps of each HTTP request by itself; for the tasks and threads that it starts there is
    `gilprobe.install()`. Other kinds of connections pass unseen."""

    def __init__(self, application: Application, *, name: Callable[[Scope], str] = request_name) -> None:
        self.application = application
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
        else:
            # The span begins inside of what is followed: while the first step waits, its thread works for others.
            await _core.Steps(self._serve(scope, receive, send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"traceparent"]
        with request_span(self.name(scope), headers):
            await self.application(scope, receive, send)
