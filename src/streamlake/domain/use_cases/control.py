"""`streamlake.control`: what operators and consumers have decided about partitions, so that it survives restarts.

One compacted topic of one partition. Key `<dataset>/<partition>` for a decision, `<dataset>/stop` for the order to
stand by; the last value counts. No topic, or no value, means running.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.ports.event_log import LogAdmin, LogReader, LogWriter

CONTROL_TOPIC = "streamlake.control"
HALTED = "halted"
RUNNING = "running"
STOPPED = "stopped"

_VERSION = 1
_STOP = "stop"
_LANE = TopicPartition(CONTROL_TOPIC, 0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one partition of one topic id, by whom and when (RFC 3339)."""

    state: str
    topic_id: str
    reason: str
    by: str
    at: str
    tolerate_below: int = 0
    """Dead letters below this offset do not count for the circuit breaker."""
    counted_from: int = 0
    """What the circuit breaker had counted up to this position is forgotten."""


@dataclass(frozen=True, slots=True)
class StopOrder:
    """A dataset's consumers stand by for a rewind: a lease. Past `until_ms` it is as if it had never been given."""

    replay_id: str
    until_ms: int
    by: str
    at: str


_DECISION = TypeAdapter(Decision)
_STOP_ORDER = TypeAdapter(StopOrder)


class Control:
    """Reads and writes decisions. Safe for several threads."""

    def __init__(self, admin: LogAdmin, reader: LogReader, writer: LogWriter) -> None:
        self._admin = admin
        self._reader = reader
        self._writer = writer

    def decisions(self, dataset: str) -> dict[int, Decision]:
        """Partition -> the decision in force. Raises the log's errors."""
        found: dict[int, Decision] = {}
        for number, value in self._entries(dataset):
            if number.isdecimal():
                decision = _read(value)
                found.pop(int(number), None)
                if decision is not None:
                    found[int(number)] = decision
        return found

    def stop_order(self, dataset: str) -> StopOrder | None:
        """The order to stand by that was given last, expired or not; None where there is none, or it was taken back.
        Raises the log's errors."""
        found = None
        for name, value in self._entries(dataset):
            if name == _STOP:
                found = _read_stop(value)
        return found

    def end(self) -> int:
        """Where the topic ends: while that stays the same, so does all that it says. Raises the log's errors."""
        if CONTROL_TOPIC not in self._admin.topics([CONTROL_TOPIC]):
            return 0
        return self._admin.watermarks([_LANE])[_LANE].high

    def stop(self, dataset: str, order: StopOrder, now_ms: int) -> None:
        """Tell a dataset's consumers to stand by; acknowledged when this returns. Raises what says why it is not."""
        told = {"state": STOPPED, "replay_id": order.replay_id, "until_ms": order.until_ms}
        self._append(dataset, _STOP, {"v": _VERSION, **told, "by": order.by, "at": order.at}, now_ms)

    def go_on(self, dataset: str, by: str, at: str, now_ms: int) -> None:
        """Take the order to stand by back."""
        self._append(dataset, _STOP, {"v": _VERSION, "state": RUNNING, "by": by, "at": at}, now_ms)

    def decide(self, dataset: str, partition: int, decision: Decision, now_ms: int) -> None:
        """Put a decision in force; acknowledged when this returns. Raises what says why it is not."""
        told = {
            "v": _VERSION,
            "state": decision.state,
            "topic_id": decision.topic_id,
            "reason": decision.reason,
            "by": decision.by,
            "at": decision.at,
            "tolerate_below": decision.tolerate_below,
            "counted_from": decision.counted_from,
        }
        self._append(dataset, str(partition), told, now_ms)

    def _append(self, dataset: str, name: str, told: Mapping[str, object], now_ms: int) -> None:
        record = OutgoingRecord(CONTROL_TOPIC, f"{dataset}/{name}".encode(), json.dumps(told).encode(), (), now_ms, 0)
        [outcome] = self._writer.append_and_wait([record])
        if isinstance(outcome, StreamLakeError):
            raise outcome

    def _entries(self, dataset: str) -> Iterator[tuple[str, bytes | None]]:
        """What is said of a dataset, oldest first."""
        if CONTROL_TOPIC not in self._admin.topics([CONTROL_TOPIC]):
            return
        marks = self._admin.watermarks([_LANE])[_LANE]
        for batch in self._reader.read(_LANE, marks.low, marks.high):
            for key, value in zip(batch.keys, batch.values, strict=True):
                owner, _, name = (key or b"").decode(errors="replace").partition("/")
                if owner == dataset:
                    yield name, value


def _read(value: bytes | None) -> Decision | None:
    """A decision; None for a tombstone, for what cannot be read as one, and for one of another version, which only its
    own version obeys."""
    try:
        return _DECISION.validate_json(value or b"", strict=True) if _told(value) else None
    except ValidationError:
        return None


def _read_stop(value: bytes | None) -> StopOrder | None:
    try:
        return _STOP_ORDER.validate_json(value or b"", strict=True) if _told(value).get("state") == STOPPED else None
    except ValidationError:
        return None


def _told(value: bytes | None) -> dict[str, Any]:
    try:
        told = json.loads(value or b"null")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) and told.get("v") == _VERSION else {}
