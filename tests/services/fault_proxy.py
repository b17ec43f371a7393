"""A proxy that understands HTTP in front of a store: it can answer "503" after success, which a proxy of TCP cannot.

Requests pass through as they are, with their bodies as they were; faults are decided by a `Faults`, in this process.
Answers that name the store's own address name the proxy's instead, so that a client never gets past it.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.services.faults import DENIED, REFUSED, Fault, Faults, Request

UPSTREAM_S = 60.0
HOLD_S = 120.0
"""A client that waits longer than this for an answer that never comes is let go."""

PIECES = 20
"""A slow body comes in so many pieces."""

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "expect", "te", "trailer"}
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class FaultProxy:
    """Where it listens, and its faults."""

    endpoint: str
    faults: Faults


@contextmanager
def fault_proxy(upstream: str, seed: int = 0) -> Iterator[FaultProxy]:
    """A proxy in front of `http://host:port`, until the end of the block."""
    faults = Faults(seed)
    server = _Server(upstream, faults)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield FaultProxy(server.endpoint, faults)
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection kept alive would hold the end up
    request_queue_size = 128

    def __init__(self, upstream: str, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        address = urlsplit(upstream)
        self.upstream = upstream.encode()
        self.host, self.port = address.hostname or "", address.port or 80
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults = faults
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away in the middle of things here; that is what this is for."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, and one of its own to the store."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.server.host, self.server.port, timeout=UPSTREAM_S)

    def finish(self) -> None:
        self._upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Faults are noted where they are decided."""

    def _serve(self) -> None:
        request = Request(self.command, self.path)
        fault = self.server.faults.draw(request)
        if fault is None:
            self._send(self._apply(self._body()))
        elif fault in REFUSED or fault in DENIED:
            self._body()
            self._send(_refusal(int(fault.value)))
        elif fault is Fault.RESET:
            self._reset()
        elif fault is Fault.LATE:
            self._late(request)
        elif fault is Fault.SILENT:
            self._body()
            self._hold()
        elif fault is Fault.SLOW_REQUEST:
            self._send(self._apply(self._body(self.server.faults.slow_s)))
        elif fault is Fault.CORRUPT_REQUEST:
            self._send(self._apply(_spoilt_upload(self._body())))
        else:
            self._after_success(fault, self._apply(self._body()))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 - names the base class looks for

    def _after_success(self, fault: Fault, answer: _Answer) -> None:
        if fault is Fault.APPLIED_503:
            self._send(_refusal(503))
        elif fault is Fault.APPLIED_RESET:
            self._reset()
        elif fault is Fault.APPLIED_SILENT:
            self._hold()
        elif fault is Fault.SLOW_ANSWER:
            self._send(answer, self.server.faults.slow_s)
        else:
            self._send(_Answer(answer.status, answer.reason, answer.headers, _spoilt(answer.body)))

    # --- the store ---------------------------------------------------------------------------------------------------

    def _apply(self, body: bytes) -> _Answer:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        if body or self.command in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(body))
        try:
            answer = self._ask(body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._upstream.close()  # an idle connection the store has closed; nothing was sent on it
            answer = self._ask(body, headers)
        return answer

    def _ask(self, body: bytes, headers: dict[str, str]) -> _Answer:
        self._upstream.request(self.command, self.path, body=body or None, headers=headers)
        answer = self._upstream.getresponse()
        content = answer.read()
        theirs, ours = self.server.upstream, self.server.endpoint.encode()
        if answer.headers.get_content_type() == "application/json" and not Request(self.command, self.path).downloads:
            content = content.replace(theirs, ours)
        told = [
            (name, value.replace(theirs.decode(), ours.decode()))
            for name, value in answer.getheaders()
            if name.lower() not in _HOP_BY_HOP
        ]
        length = answer.getheader("Content-Length")
        if self.command == "HEAD" and length is not None:
            told.append(("Content-Length", length))
        return _Answer(answer.status, answer.reason, told, content)

    # --- the client --------------------------------------------------------------------------------------------------

    def _body(self, seconds: float = 0.0) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        length = int(self.headers.get("Content-Length") or 0)
        if not seconds:
            return self._exactly(length)
        pieces = []
        step = max(1, -(-length // PIECES))
        for at in range(0, length, step):
            pieces.append(self._exactly(min(step, length - at)))
            time.sleep(seconds / PIECES)
        return b"".join(pieces)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self._exactly(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _exactly(self, length: int) -> bytes:
        body = self.rfile.read(length)
        if len(body) < length:  # the client went away in the middle: a store would apply nothing
            raise ConnectionAbortedError
        return body

    def _send(self, answer: _Answer, seconds: float = 0.0) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if not seconds:
            self.wfile.write(answer.body)
            return
        step = max(1, -(-len(answer.body) // PIECES))
        for at in range(0, len(answer.body), step):
            self.wfile.write(answer.body[at : at + step])
            time.sleep(seconds / PIECES)

    def _reset(self) -> None:
        """RST instead of FIN: what the client sends or waits for fails at once."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.connection.close()
        self.close_connection = True

    def _hold(self) -> bool:
        """Say nothing until the client gives up; False where it does not, or the proxy ends first."""
        self.close_connection = True
        deadline = time.monotonic() + HOLD_S
        while time.monotonic() < deadline and not self.server.closing.is_set():
            if select.select([self.connection], [], [], 0.1)[0]:
                try:
                    if not self.connection.recv(1, socket.MSG_PEEK):
                        return True
                except OSError:
                    return True
                time.sleep(0.1)  # it has sent more, and still waits
        return False

    def _late(self, request: Request) -> None:
        applied = False
        try:
            body = self._body()
            if self._hold() and not self.server.closing.wait(self.server.faults.late_s):
                self._apply(body)
                applied = True
        finally:
            self.server.faults.settled_late(request, applied=applied)


def _refusal(status: int) -> _Answer:
    body = f'{{"error":{{"code":{status},"message":"injected"}}}}'.encode()
    return _Answer(status, http.client.responses[status], [("Content-Type", "application/json")], body)


def _spoilt(body: bytes) -> bytes:
    """One bit of the middle byte is another one."""
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else body


def _spoilt_upload(body: bytes) -> bytes:
    """The content of a multipart upload spoilt, its description left as it was."""
    start = body.find(b"\r\n\r\n", body.find(b"\r\n\r\n") + 4) + 4
    end = body.rfind(b"\r\n--")
    if start < 4 or end <= start:
        return _spoilt(body)
    return body[:start] + _spoilt(body[start:end]) + body[end:]
