"""A small service as containers want it: one process, a fixed number of worker threads, scaled by replicas.

    python3 service.py --port 8000 --threads 8

    /            answers after a wait for something slow, as a database would be: the GIL is free meanwhile
    /statement   computes in C code that does not let go of the GIL; ?n=NUMBER says how much
    /healthz     says that it is alive
    /metrics     what Prometheus reads

The server is of the standard library: a WSGI server whose connections are handed to a pool of threads. Connections that no thread
is free for wait in the pool's queue, which /metrics shows.
"""

import argparse
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from socketserver import TCPServer
from urllib.parse import parse_qs
from urllib.request import urlopen
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

BACKEND_SECONDS = 0.02
DEFAULT_STATEMENT = 20_000_000
LARGEST_STATEMENT = 200_000_000
BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counts of requests and how long they took, in Prometheus's text format."""

    def __init__(self):
        self._lock = threading.Lock()
        self._requests = {}
        self._counts = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self.in_progress = 0

    def begin(self):
        with self._lock:
            self.in_progress += 1

    def end(self, path, status, seconds):
        with self._lock:
            self.in_progress -= 1
            key = path, status
            self._requests[key] = self._requests.get(key, 0) + 1
            self._counts[sum(seconds > bound for bound in BUCKETS)] += 1
            self._seconds += seconds

    def text(self, waiting, threads):
        with self._lock:
            requests, counts = dict(self._requests), list(self._counts)
            seconds, in_progress = self._seconds, self.in_progress
        lines = ["# TYPE http_requests_total counter"]
        for (path, status), count in sorted(requests.items()):
            lines.append(f'http_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE http_request_duration_seconds histogram")
        total = 0
        for bound, count in zip((*BUCKETS, "+Inf"), counts):
            total += count
            lines.append(f'http_request_duration_seconds_bucket{{le="{bound}"}} {total}')
        lines.append(f"http_request_duration_seconds_sum {seconds:.6f}")
        lines.append(f"http_request_duration_seconds_count {total}")
        for name, value in (
            ("http_requests_in_progress", in_progress),
            ("service_connections_waiting", waiting),
            ("service_threads", threads),
        ):
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
        return "\n".join(lines) + "\n"


def page(environ):
    """What most requests are: a wait for somebody else."""
    time.sleep(BACKEND_SECONDS)
    return "200 OK", "hello\n"


def statement(environ):
    """One call into C code which never lets go of the GIL, as an extension module might make it."""
    wanted = parse_qs(environ.get("QUERY_STRING", "")).get("n", [DEFAULT_STATEMENT])[0]
    try:
        size = min(int(wanted), LARGEST_STATEMENT)
    except ValueError:
        return "400 Bad Request", "n is a number\n"
    return "200 OK", f"{sum(range(size))}\n"


class Application:
    """The WSGI application."""

    def __init__(self, metrics, gauges):
        self._metrics = metrics
        self._pages = {
            "/": page,
            "/statement": statement,
            "/healthz": lambda environ: ("200 OK", "ok\n"),
            "/metrics": lambda environ: ("200 OK", metrics.text(*gauges())),
        }

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        answer = self._pages.get(path)
        begin = time.monotonic()
        self._metrics.begin()
        status, text = "500 Internal Server Error", "see the log\n"
        try:
            status, text = answer(environ) if answer else ("404 Not Found", "there is no such page\n")
        finally:
            # Any path may be asked for: only those that there are become labels.
            label = path if answer else "other"
            self._metrics.end(label, status[:3], time.monotonic() - begin)
        body = text.encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]


class Handler(WSGIRequestHandler):
    # A client that connects and says nothing must not keep a thread.
    timeout = 10

    def log_request(self, *arguments):
        """Requests are counted, not logged."""


def name_thread():
    """Gives the calling thread its name for the kernel, too, where tracers and top see it: Python does so by itself from 3.14 on."""
    try:
        with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
            file.write(threading.current_thread().name[:15])
    except OSError:
        pass


class Server(WSGIServer):
    """A WSGI server whose connections are handled by a pool of threads."""

    request_queue_size = 128

    def __init__(self, address, threads):
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker", initializer=name_thread)
        self._slots = threading.Semaphore(threads + self.request_queue_size)
        super().__init__(address, Handler)

    def server_bind(self):
        # Without asking a name server what this machine is called.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "service", self.server_address[1]
        self.setup_environ()

    def process_request(self, request, client_address):
        # Behind a full queue, connections wait in the kernel, which refuses them in the end.
        self._slots.acquire()
        self._pool.submit(self._handle, request, client_address)

    def _handle(self, request, client_address):
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            self._slots.release()

    def waiting(self):
        return self._pool._work_queue.qsize()

    def server_close(self):
        super().server_close()
        self._pool.shutdown()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--check", action="store_true", help="ask a service that runs here whether it is alive")
    arguments = parser.parse_args()
    if arguments.check:
        urlopen(f"http://127.0.0.1:{arguments.port}/healthz", timeout=5).close()
        return
    metrics = Metrics()
    server = Server((arguments.host, arguments.port), arguments.threads)
    server.set_app(Application(metrics, lambda: (server.waiting(), server.threads)))
    # shutdown() waits for serve_forever(), so it must not run in the same thread.
    stop = threading.Thread(target=server.shutdown, name="stop")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.start())
    print(f"serving on {arguments.host}:{server.server_port} with {arguments.threads} threads", flush=True)
    with server:
        server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
