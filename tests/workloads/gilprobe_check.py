"""What gilprobe promises, whether or not its extension module is there (--without-markers hides it), asserted."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

if "--without-markers" in sys.argv:
    sys.modules["gilprobe._gilprobe"] = None

import gilprobe
from gilprobe.asgi import GilMiddleware as Asgi
from gilprobe.wsgi import GilMiddleware as Wsgi

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{PARENT}-01"


def refused(error, **arguments):
    try:
        gilprobe.span("x", **arguments)
    except error as raised:
        return str(raised)
    raise AssertionError(f"{arguments} were taken")


def spans():
    with gilprobe.span("outer", trace_id=TRACE) as outer:
        assert gilprobe.current() is outer and outer.trace_id == TRACE
        with gilprobe.span("inner") as inner:
            assert inner.trace_id == TRACE and inner.parent_id == outer.span_id
            assert inner.traceparent.startswith(f"00-{TRACE}-")
        assert gilprobe.current() is outer
    assert gilprobe.current() is None

    @gilprobe.span("decorated")
    def work():
        return gilprobe.current()

    assert work().name == "decorated" and work() is not work()


def bad_input():
    for name in ("x" * 10_000, "a\0b", "\x1b[31m", "\ud800", "é" * 5_000, ""):
        with gilprobe.span(name):
            pass
    for wrong in ("", "xyz", TRACE[:-1], TRACE + "0", b"short", -1, 1 << 128):
        refused(ValueError, trace_id=wrong)
    refused(TypeError, trace_id=1.5)
    refused(ValueError, trace_id=TRACE, parent_id="none")
    assert "trace_id" in refused(ValueError, parent_id=PARENT)
    for wrong in (None, 5, b"x"):
        try:
            gilprobe.span(wrong)
        except TypeError:
            continue
        raise AssertionError(f"{wrong!r} was taken as a name")


def wsgi():
    seen = []

    def application(environment, start_response):
        seen.append(gilprobe.current())
        start_response("200 OK", [])
        def answer():
            seen.append(gilprobe.current())
            yield b"x"
        return answer()

    answer = Wsgi(application)({"REQUEST_METHOD": "GET", "PATH_INFO": "/a", "HTTP_TRACEPARENT": HEADER}, lambda *_: None)
    assert list(answer) == [b"x"]
    answer.close()
    first, second = seen
    assert first is second and first.trace_id == TRACE and first.parent_id == int(PARENT, 16) and first.name == "GET /a"
    assert gilprobe.current() is None
    # A header that is none begins a trace of its own.
    Wsgi(application)({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_TRACEPARENT": "00-" + "0" * 32 + "-x-01"}, lambda *_: None).close()
    assert seen[-1].trace_id != TRACE


async def asgi():
    seen = []

    async def application(scope, receive, send):
        seen.append(gilprobe.current())
        await asyncio.sleep(0)
        seen.append(gilprobe.current())

    scope = {"type": "http", "method": "GET", "path": "/b", "headers": [(b"traceparent", HEADER.encode())]}
    await asyncio.gather(Asgi(application)(scope, None, None), Asgi(application)({**scope, "path": "/c"}, None, None))
    assert {span.name for span in seen} == {"GET /b", "GET /c"} and len(seen) == 4
    assert all(span.trace_id == TRACE for span in seen)


def contexts():
    with ThreadPoolExecutor(1) as pool, gilprobe.span("outer") as outer:
        assert pool.submit(gilprobe.current).result() is outer

gilprobe.install()
gilprobe.install()
for check in (spans, bad_input, wsgi, contexts):
    check()
asyncio.run(asgi())
gilprobe.uninstall()
print("with markers" if gilprobe.HAS_MARKERS else "without markers")
