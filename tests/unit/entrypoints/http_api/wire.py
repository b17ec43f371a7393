"""HTTP byte by byte, as no client library would send it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection to the door."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        yield link


def head(length: str, path: str = "events", also: str = "") -> bytes:
    """The head of a request for `orders`, with these lines in it."""
    lines = (
        f"POST /v1/datasets/orders/{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n{also}"
    )
    return (lines + "\r\n").encode()


def answer_of(link: socket.socket, *, with_body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """The next answer on the connection."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += more(link)
    top, _, body = got.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while with_body and len(body) < int(headers["content-length"]):
        body += more(link)
    return int(first.split()[1]), headers, body


def more(link: socket.socket) -> bytes:
    """Some bytes more; ConnectionError at the end."""
    got = link.recv(65536)
    if not got:
        raise ConnectionError("closed before the answer was complete")
    return got


def until(what: str, holds: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for a condition of the server's side."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)
