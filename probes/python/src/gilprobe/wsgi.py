"""A span for each request of a WSGI application."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Callable

from gilprobe import _core, span
from gilprobe._traceparent import request_span

Environment = dict[str, Any]
Application = Callable[[Environment, Callable[..., Any]], Iterable[bytes]]


def request_name(environment: Environment) -> str:
    """`GET /path`."""
    path = environment.get("SCRIPT_NAME", "") + environment.get("PATH_INFO", "")
    # WSGI hands over bytes as if they were Latin-1.
    return f"{environment.get('REQUEST_METHOD', '')} {path.encode('latin-1', 'replace').decode('utf-8', 'replace')}"


class GilMiddleware:
    """Around an application. The span takes as long as the application makes its answer, its last part included."""

    def __init__(self, application: Application, *, name: Callable[[Environment], str] = request_name) -> None:
        self.application = application
        self.name = name

    def __call__(self, environment: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        header = environment.get("HTTP_TRACEPARENT")
        request = request_span(self.name(environment), [] if header is None else [header])
        request.begin()
        try:
            answer = self.application(environment, start_response)
        except BaseException:
            request.end()
            raise
        # What is there already takes no more time; and a server looks at these for how to send them.
        wrapper = environment.get("wsgi.file_wrapper")
        if isinstance(answer, (list, tuple)) or (isinstance(wrapper, type) and isinstance(answer, wrapper)):
            request.end()
            return answer
        return _Answer(request, answer)


class _Answer:
    """The parts of an answer, each of which is made for the request, in whatever thread the server asks for it."""

    def __init__(self, request: span, answer: Iterable[bytes]) -> None:
        self._request = request
        self._answer = answer
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = iter(self._answer)
        return _core.carry(self._request, next, self._parts)

    def close(self) -> None:
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                _core.carry(self._request, close)
        finally:
            self._request.end()
