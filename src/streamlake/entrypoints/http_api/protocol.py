"""What uvicorn's HTTP protocol lacks: a bound on a request's head, a deadline for slow senders, problem documents,
requests that ask for an upgrade and have a body, and an answer in one piece.

    first byte of a request ---- head complete ---- body ---- trailers ---- (the application's time) ---- answer
    |<------------------- receive_deadline_s ------------------------>|
    |<-- MAX_HEAD_BYTES -->|             |<-- MAX_HEAD_BYTES -->|

The bounds do nothing on the path of a request that arrives in one piece.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from streamlake.entrypoints.http_api.problems import MEDIA_TYPE, Problem

log = structlog.get_logger()

MAX_HEAD_BYTES = 64 * 1024
"""Of request line and headers; and of what follows a piece of a chunked body and is not body: chunk extensions and
trailers. Generous: nginx allows four headers of 8 KiB."""

_PIECE_BYTES = 32 * 1024
"""A head is measured by the pieces that did not finish it, so it may be over the bound by one of these."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""uvicorn's interim answer: the client waits for it before it sends the body."""

_BAD = Problem("bad-http", "These bytes are not an HTTP/1.1 request.")
_SLOW = Problem("too-slow", "The request did not arrive in time.")
_HEAD = Problem("head-too-large", f"Request line and headers, or trailers, may have {MAX_HEAD_BYTES} bytes.")
_CONNECT = Problem("not-implemented", "This is no proxy: there is no CONNECT.")
_CODING = Problem("not-implemented", "Transfer-Encoding may be chunked, and nothing else.")


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's httptools protocol with those bounds."""

    receive_deadline_s = 30.0
    """From a request's first byte to its last; also from connecting to the first request's first byte."""
    send_deadline_s = 30.0
    """For the client to take an answer off our hands: what the network has not taken by then is thrown away."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_message = False
        self._ignoring_upgrade = False
        self._rejected = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Asyncio's: a client is here, and has the deadline's time to say something."""
        super().connection_made(transport)
        # An answer is gone when nothing of it is left here: only then does what awaits it go on.
        transport.set_write_buffer_limits(high=0)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's: the client is gone."""
        self._disarm()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Asyncio's: some bytes, in any slicing."""
        if self._rejected:
            return
        self._unset_keepalive_if_required()
        if len(data) <= _PIECE_BYTES:
            self._take(data)
            return
        # The event loop reads up to 256 KiB at once: whole, a head of that size would never be seen to be unfinished.
        for start in range(0, len(data), _PIECE_BYTES):
            self._take(data[start : start + _PIECE_BYTES])
            if self._rejected or self.transport.is_closing():
                return

    def _take(self, data: bytes) -> None:
        left = data
        while True:
            try:
                self.parser.feed_data(left)
            except httptools.HttpParserError:
                self._reject(_BAD)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    self._reject(_CONNECT)
                    return
                left = self._without_upgrade() + left[upgrade.args[0] :]
            else:
                break
        if self._in_message:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._reject(_HEAD)
            elif self._deadline is None:
                self._arm()
        elif self._deadline is not None:
            self._disarm()

    def on_message_begin(self) -> None:
        """The parser's: a request's first byte."""
        super().on_message_begin()
        self._in_head = self._in_message = True
        self._head_bytes = 0
        if self._deadline is not None:
            self._disarm()  # an earlier request's, which came in time

    def on_headers_complete(self) -> None:
        """The parser's: the head is whole."""
        self._in_head = False
        if self.parser.should_upgrade():
            self._ignoring_upgrade = True
            return
        super().on_headers_complete()
        self.headers = []  # trailers go there, and nowhere (RFC 9110, 6.5.1: not to be merged with the headers)
        if self.scope["method"] == "POST":  # a HEAD has no body to wait for, and the other answers are rare
            self.cycle.transport = _OnePiece(self.transport)  # type: ignore[assignment]  # all of it that a cycle uses

    def on_chunk_header(self) -> None:
        """The parser's: a chunk begins; so the last transfer coding is chunked, and it must be the only one."""
        codings = [value.lower() for name, value in self.scope["headers"] if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            self._reject(_CODING)

    def on_body(self, body: bytes) -> None:
        """The parser's: some of the body."""
        self._head_bytes = 0  # what has come was no head and no trailer
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser's: the request is whole."""
        if self._ignoring_upgrade:
            return  # the parser's word only: the body of this request is yet to come
        self._in_message = False
        super().on_message_complete()

    def _without_upgrade(self) -> bytes:
        """The request's head once more, without its `Upgrade`, which a server may ignore (RFC 9110, 7.8); and a parser
        for it. The old one takes what follows such a head for another protocol, and cannot be told otherwise."""
        self._ignoring_upgrade = False
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"\r\n".join([*lines, b"", b""])

    def pause_writing(self) -> None:
        """Asyncio's: the network did not take all of it."""
        super().pause_writing()
        self._send_deadline = self.loop.call_later(self.send_deadline_s, self._not_taken)

    def resume_writing(self) -> None:
        """Asyncio's: it has taken the rest."""
        self._taken()
        super().resume_writing()

    def _taken(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _not_taken(self) -> None:
        self._send_deadline = None
        log.warning("api.answer_not_taken", left_bytes=self.transport.get_write_buffer_size())
        self.transport.abort()

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
        self._reject(_SLOW)

    def _reject(self, problem: Problem) -> None:
        """Answer in the application's stead and hang up; the application, if it was reading, finds the client gone."""
        if self._rejected or self.transport.is_closing():
            return
        self._rejected = True
        log.warning("api.bad_http", status=problem.status, kind=problem.kind)
        answered = self._in_message and not self._in_head and self.cycle is not None and self.cycle.response_complete
        if self.pipeline or answered:
            # Broken behind requests not answered yet: no answer could be told from theirs. Or this one has its answer.
            self.transport.close()
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and (self.cycle.response_started or not self.cycle.more_body):
            # Its answer is under way or promised; another one in front of it would be taken for it.
            self.cycle.keep_alive = False
            return
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = problem.body()
        self.transport.write(
            b"%scontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (STATUS_LINE[problem.status], MEDIA_TYPE.encode(), len(body), body)
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
            if len(data) <= _PIECE_BYTES:
                self._transport.write(self._head + data)
            else:  # joined, it would be there twice for as long as the client takes
                self._transport.write(self._head)
                self._transport.write(data)

    def close(self) -> None:
        """Asyncio's. A head without a body is no answer."""
        self._transport.close()

    def is_closing(self) -> bool:
        """Asyncio's."""
        return self._transport.is_closing()
