"""Asks a service again and again, from several threads, and says how long it took to answer.

    python3 load.py http://127.0.0.1:8000 --seconds 10 --clients 6
    python3 load.py http://127.0.0.1:8000 --seconds 10 --clients 6 --hog

With --hog, one more thread asks for /statement without pause.
"""

import argparse
import threading
import time
from urllib.error import URLError
from urllib.request import urlopen


def ask(url, end, took, failures):
    while time.monotonic() < end:
        begin = time.monotonic()
        try:
            with urlopen(url, timeout=30) as answer:
                answer.read()
            took.append(time.monotonic() - begin)
        except (URLError, OSError) as error:
            failures.append(str(error))
            time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--hog", action="store_true")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    took, statements, failures = [], [], []
    url = arguments.url.rstrip("/")
    threads = [
        threading.Thread(target=ask, args=(f"{url}/", end, took, failures)) for _ in range(arguments.clients)
    ]
    if arguments.hog:
        threads.append(threading.Thread(target=ask, args=(f"{url}/statement", end, statements, failures)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took.sort()
    if not took:
        raise SystemExit(f"no answer: {failures[-1] if failures else 'too little time'}")
    median, worst = took[len(took) // 2], took[int(len(took) * 0.99)]
    print(
        f"{len(took)} answers, {len(statements)} statements, {len(failures)} failures;"
        f" median {median * 1000:.0f} ms, 99 % within {worst * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
