"""How long partitions of a killed consumer lay idle, from the consumers' own log lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.integration.faulty import log_lines
from tests.torture.fleet import Event


@dataclass(frozen=True, slots=True)
class _Change:
    at: float
    consumer: str
    what: str
    partitions: Sequence[int]


def takeovers(events: Iterable[Event], logs: Mapping[str, Path]) -> list[float]:
    """Per kill -9 of a consumer that owned partitions: seconds until the last of them was read by somebody again.

    A kill after which one of them was not read any more before the logs end counts as infinite.
    """
    kills = [event for event in events if event.what == "kill" and event.victim in logs]
    changes = [change for name, path in logs.items() for change in _changes(name, path)]
    changes += [_Change(event.at, event.victim, "stopping", ()) for event in kills]
    changes.sort(key=lambda change: change.at)
    return [
        max(_next_read(changes, event.at, partition) for partition in owned) - event.at
        for event in kills
        if (owned := _owned(changes, event))
    ]


def _changes(consumer: str, path: Path) -> Iterable[_Change]:
    for told in log_lines(path):
        what = told.get("event")
        if what in ("reading", "revoked", "lost", "stopping", "assigned"):
            at = datetime.fromisoformat(told["timestamp"]).timestamp()
            partitions = told.get("partitions") or ([told["partition"]] if "partition" in told else [])
            yield _Change(at, consumer, what, partitions)


def _owned(changes: Sequence[_Change], event: Event) -> set[int]:
    owned: set[int] = set()
    for change in changes:
        if change.consumer != event.victim or change.at >= event.at:
            continue
        if change.what == "stopping":
            owned.clear()
        elif change.what == "reading":
            owned.update(change.partitions)
        elif change.what != "assigned":
            owned.difference_update(change.partitions)
    return owned


def _next_read(changes: Sequence[_Change], after: float, partition: int) -> float:
    return next(
        (c.at for c in changes if c.at > after and c.what == "reading" and partition in c.partitions), float("inf")
    )
