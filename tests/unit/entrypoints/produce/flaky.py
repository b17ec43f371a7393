"""An HTTP proxy in front of the API that fails as networks do: before the API has it, and after."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

FAULTS = ("503", "429", "reset", "applied-reset", "applied-504", "applied-nonsense")
Befalls = Callable[[int], str | None]


class Flaky:
    """`befalls` is asked with each request's number, from 0; what it answers happens to it."""

    def __init__(self, target: str, befalls: Befalls) -> None:
        self.target = target
        self.befalls = befalls
        self.requests = 0
        self.befallen: Counter[str] = Counter()
        self.keys: list[str] = []
        self.released = threading.Event()
        self._lock = threading.Lock()

    def let_go(self) -> None:
        """Hang up on those who are held."""
        self.released.set()

    def next(self, key: str) -> str | None:
        """The fault of one request."""
        with self._lock:
            fault = self.befalls(self.requests)
            self.requests += 1
            self.keys.append(key)
            self.befallen[fault or "none"] += 1
        return fault


@contextmanager
def flaky(target: str, befalls: Befalls, busy: bytes = b"{}") -> Iterator[tuple[str, Flaky]]:
    """The proxy's URL, and what it has seen. `busy`: what it says when it takes nothing."""
    told = Flaky(target, befalls)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            fault = told.next(self.headers["idempotency-key"])
            if fault == "hold":
                told.released.wait(60)
            if fault in ("reset", "hold"):
                self.close_connection = True
                return
            if fault in ("503", "429"):
                self._answer(int(fault), busy, [("retry-after", "0")])
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx.post(told.target + self.path, content=body, headers=headers, timeout=30)
            if fault == "applied-reset":
                self.close_connection = True
            elif fault == "applied-504":
                self._answer(504, b"<html>gateway</html>")
            elif fault == "applied-nonsense":
                self._answer(200, b"<html>welcome</html>")
            else:
                self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> None:
            self.send_response(status)
            for name, value in (*headers, ("content-length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
