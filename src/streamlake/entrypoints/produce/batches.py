"""Batches of lines, bounded in events and bytes, and cut the same way every time the file is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Well below the API's default limit; a longer line goes alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch begins in its file."""

    batch: int
    line: int
    """Counted from 0."""
    offset: int
    """In bytes."""


START = Place(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events of a file, at least one, and their lines' numbers, counted from 1."""

    place: Place
    events: list[bytes]
    lines: list[int]
    after: Place
    """Where the next one begins."""


def batches(stream: BinaryIO, size: int, start: Place = START) -> Iterator[Batch]:
    """Every non-empty line from `start` on, where the stream is, in batches of `size` events at most."""
    begun, events, lines, held = start, list[bytes](), list[int](), 0
    line, offset = start.line, start.offset
    for text in stream:
        event = text.rstrip(b"\r\n")
        if events and (len(events) == size or held + len(event) > MAX_BATCH_BYTES):
            after = Place(begun.batch + 1, line, offset)
            yield Batch(begun, events, lines, after)
            begun, events, lines, held = after, [], [], 0
        line, offset = line + 1, offset + len(text)
        if event.strip():
            events.append(event)
            lines.append(line)
            held += len(event)
    if events:
        yield Batch(begun, events, lines, Place(begun.batch + 1, line, offset))
