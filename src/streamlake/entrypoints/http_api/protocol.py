"""What uvicorn's HTTP protocol lacks: a bound on a request's head, a deadline for slow senders, problem documents, and
an answer in one piece.

    first byte of a request ---- head complete ---- body complete ---- (the application's time) ---- answer
    |<----------------- receive_deadline_s ------------------->|
    |<-- MAX_HEAD_BYTES -->|

The bounds do nothing on the path of a request that arrives in one piece.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from streamlake.entrypoints.http_api.problems import MEDIA_TYPE, framework_problem

log = structlog.get_logger()

MAX_HEAD_BYTES = 64 * 1024
"""Of request line and headers. Generous: nginx allows four headers of 8 KiB."""

_PIECE_BYTES = 32 * 1024
"""A head is measured by the pieces that did not finish it, so it may be over the bound by one of these."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""uvicorn's interim answer: the client waits for it before it sends the body."""

_STATUS_BAD, _STATUS_SLOW, _STATUS_HEAD = 400, 408, 431


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's httptools protocol with those bounds."""

    receive_deadline_s = 30.0
    """From a request's first byte to its last; also from connecting to the first request's head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_message = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Asyncio's: a client is here, and has the deadline's time to say something."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's: the client is gone."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Asyncio's: some bytes, in any slicing."""
        if len(data) <= _PIECE_BYTES or (self._in_message and not self._in_head):
            self._take(data)
            return
        # The event loop reads up to 256 KiB at once: whole, a head of that size would never be seen to be unfinished.
        for start in range(0, len(data), _PIECE_BYTES):
            self._take(data[start : start + _PIECE_BYTES])
            if self.transport.is_closing():
                return

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._reject(_STATUS_HEAD)
                return
        if self._in_message:
            if self._deadline is None:
                self._arm()
        elif self._deadline is not None:
            self._disarm()

    def on_message_begin(self) -> None:
        """The parser's: a request's first byte."""
        super().on_message_begin()
        self._in_head = self._in_message = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The parser's: the head is whole."""
        self._in_head = False
        super().on_headers_complete()
        if self.scope["method"] == "POST":  # a HEAD has no body to wait for, and the other answers are rare
            self.cycle.transport = _OnePiece(self.transport)  # type: ignore[assignment]  # all of it that a cycle uses

    def on_message_complete(self) -> None:
        """The parser's: the request is whole."""
        self._in_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's: these bytes are not HTTP."""
        self._reject(_STATUS_BAD)

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.receive_deadline_s, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self.pipeline or (self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete):
            # We are the slow ones: an earlier request of this connection is not answered yet, and reading is paused.
            self._arm()
            return
        if not self._in_message:
            self.transport.close()  # connected and said nothing: there is nothing to answer
            return
        self._reject(_STATUS_SLOW)

    def _reject(self, status: int) -> None:
        """Answer in the application's stead and hang up; the application, if it was reading, finds the client gone."""
        log.warning("api.bad_http", status=status)
        if self.pipeline:
            self.transport.close()  # broken behind requests not answered yet: no answer could be told from theirs
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and (self.cycle.response_started or not self.cycle.more_body):
            # Its answer is under way or promised; another one in front of it would be taken for it.
            self.cycle.keep_alive = False
            return
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = framework_problem(status)
        self.transport.write(
            b"%scontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (STATUS_LINE[status], MEDIA_TYPE.encode(), len(body), body)
        )
        self.transport.close()


class _OnePiece:
    """A transport that holds the head of one answer until its body is there.

    uvicorn writes them apart, and uvloop writes at once: two system calls and two packets for every small answer.
    """

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._begun = False

    def write(self, data: bytes) -> None:
        """Asyncio's, called with the head, then with the body, whole or in pieces."""
        if self._begun or data == _CONTINUE:
            self._transport.write(data)
        elif self._head is None:
            self._head = data
        else:
            self._begun = True
            self._transport.write(self._head + data)

    def close(self) -> None:
        """Asyncio's. A head without a body is no answer."""
        self._transport.close()

    def is_closing(self) -> bool:
        """Asyncio's."""
        return self._transport.is_closing()
