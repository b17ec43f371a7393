"""The driver's messages as columns, and the waiting for them. This is the hot path: loops run in C, by `map`."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as Place

from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import UNREADABLE, Header, RecordBatch

_second = itemgetter(1)
_NO_HEADERS: Sequence[Header] = ()


def fetch(consumer: Consumer, max_records: int, timeout_s: float) -> list[Message[bytes, bytes]]:
    """Up to `max_records` messages, events among them, as soon as there are any.

    `consume` alone would wait for all of them or the timeout, and so add the timeout to every record of a slow topic.
    """
    messages = consumer.consume(max_records, 0)
    if messages:
        return messages
    first = consumer.poll(timeout_s)
    return [] if first is None else [first]  # the others are there the next time: a fault here would lose this one


def columns(source: TopicPartition, messages: Sequence[Message[bytes, bytes]]) -> RecordBatch:
    """A batch of one partition's messages, none of which is an event."""
    headers = _headers(messages)
    return RecordBatch(
        source,
        cast(list[int], list(map(Message.offset, messages))),
        list(map(_second, map(Message.timestamp, messages))),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        headers if all(headers) else [h or _NO_HEADERS for h in headers],
    )


def _headers(messages: Sequence[Message[bytes, bytes]]) -> list[Any]:
    """A SystemError is how the driver says that a name is not UTF-8; asked again it says that there are no headers."""
    headers: list[Any] = []
    each = map(Message.headers, messages)
    while len(headers) < len(messages):
        try:
            headers.extend(each)
        except (SystemError, UnicodeDecodeError):
            headers.append(UNREADABLE)  # what came before it has been taken, and `each` goes on behind it
    return headers


def by_partition(messages: Sequence[Message[bytes, bytes]]) -> dict[TopicPartition, list[Message[bytes, bytes]]]:
    """The messages of each partition, in order."""
    found: dict[tuple[str, int], list[Message[bytes, bytes]]] = {}
    for place, message in zip(
        zip(map(Message.topic, messages), map(Message.partition, messages), strict=True), messages, strict=True
    ):
        try:
            found[place].append(message)  # type: ignore[index]  # a message that is no event has both
        except KeyError:
            found[place] = [message]  # type: ignore[index]
    return {TopicPartition(*place): theirs for place, theirs in found.items()}


def place_of(partition: TopicPartition, offset: int = -1001, metadata: str = "") -> Place:
    """The driver's own kind of partition; -1001 is its 'no offset'."""
    return Place(partition.topic, partition.partition, offset, metadata)
