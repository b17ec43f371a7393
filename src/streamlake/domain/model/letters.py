"""The dead-letter topic read back: letters as values, and the records that resolve them.

    header dlq_resolution     Resolution: this letter was redriven or discarded, by whom, when and why
    header dlq_stage          DeadLetter: a record at fault, whole, and why
    anything else             Stray: nobody of ours wrote it

What a client sends reaches the topic under no name that begins with `dlq_` (`dead_letters.escape`), so whatever its
headers are, a letter cannot pass for a resolution, nor for another letter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamlake.domain.errors import FieldError
from streamlake.domain.model.contracts import dlq_topic
from streamlake.domain.model.dead_letters import OURS, STAGE_API, STAGE_CONSUMER, LetterSource, unescape
from streamlake.domain.model.envelope import INGESTION_ID, SCHEMA_VERSION, ingestion_id_of_record
from streamlake.domain.model.positions import Lane
from streamlake.domain.model.records import NO_TIMESTAMP, Header, OutgoingRecord

REDRIVEN = "redriven"
DISCARDED = "discarded"

_RESOLUTION = OURS + "resolution"
_VERSION = 1


class LetterId(NamedTuple):
    """What makes letters one letter, so that those sent again after a crash collapse.

    Of the consumer: the position of its record in the raw topic, and the replay that judged it, if one did. Of the API:
    the letter's own position, since its record never was in the raw topic.
    """

    topic_id: str
    partition: int
    offset: int
    replay_id: str | None = None

    @property
    def lane(self) -> Lane:
        """The partition that the offset counts in: of the raw topic, or of the dead-letter topic (API)."""
        return Lane(self.topic_id, self.partition)

    def __str__(self) -> str:
        place = f"{self.topic_id}/{self.partition}/{self.offset}"
        return place if self.replay_id is None else f"{place}/{self.replay_id}"

    @classmethod
    def parse(cls, text: str) -> LetterId:
        """`str` undone. Raises ValueError for anything else."""
        topic_id, partition, offset, *replay = [*text.split("/"), "", ""]
        if not topic_id or not _is_number(partition) or not _is_number(offset) or len(replay) > 3:
            raise ValueError(f"a letter is <topic id>/<partition>/<offset>[/<replay id>], not {text}")
        return cls(topic_id, int(partition), int(offset), replay[0] or None)


@dataclass(frozen=True, slots=True)
class Truncation:
    """What is known of a value that did not fit: its length in bytes, and its sha256 in hex."""

    size: int
    sha256: str

    def is_of(self, value: bytes | None) -> bool:
        """Is this the whole value that was cut?"""
        return value is not None and len(value) == self.size and hashlib.sha256(value).hexdigest() == self.sha256


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter. `key`, `value` and `headers` are the original record's, byte for byte and in order; only where
    `truncation` is set is the value the beginning of what it was."""

    id: LetterId
    place: LetterId
    """Where the letter itself lies in the dead-letter topic."""
    stage: str
    error_class: str
    reason: str
    errors: tuple[FieldError, ...]
    """The broken rules, for a contract violation."""
    trace: str
    timestamp: int
    """When it failed, in milliseconds since the epoch."""
    failed_at: str
    attempts: int
    """How many times the record had been sent when it failed: 1, and one more for each redrive."""
    contract: str | None
    """`v1 sha256:...`: what judged it."""
    source: LetterSource | None
    truncation: Truncation | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]

    @property
    def schema_version(self) -> str | None:
        """What the record says of itself; of a repeated header the last."""
        return self._header(SCHEMA_VERSION)

    @property
    def ingestion_id(self) -> str:
        """The record's own; else, as in the raw zone, the one that follows from its position."""
        said = self._header(INGESTION_ID)
        return said or str(ingestion_id_of_record(self.id.topic_id, self.id.partition, self.id.offset))

    def _header(self, name: str) -> str | None:
        value = next((value for known, value in reversed(self.headers) if known == name), None)
        return None if value is None else value.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Resolution:
    """One letter is closed. Nothing is deleted: this is another record of the dead-letter topic."""

    letter: LetterId
    outcome: str
    """`redriven` or `discarded`."""
    by: str
    at: str
    reason: str
    redriven_to: LetterId | None = None
    """Where the redriven record lies in the raw topic; None for a discarded letter."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A record of the dead-letter topic that is neither letter nor resolution, and what is wrong with it."""

    place: LetterId
    why: str


Entry = DeadLetter | Resolution | Stray


def resolution_record(dataset: str, resolution: Resolution, partition: int, now_ms: int) -> OutgoingRecord:
    """A resolution as it is appended, to the partition of its letter: there it is younger than the letter, so that
    retention never deletes it first."""
    told = {
        "v": _VERSION,
        "letter": resolution.letter,
        "outcome": resolution.outcome,
        "by": resolution.by,
        "at": resolution.at,
        "reason": resolution.reason,
        "redriven_to": resolution.redriven_to,
    }
    headers: list[Header] = [(_RESOLUTION, resolution.outcome.encode())]
    key = str(resolution.letter).encode()
    return OutgoingRecord(dlq_topic(dataset), key, json.dumps(told).encode(), headers, now_ms, partition)


def read_identity(place: LetterId, value: bytes | None, headers: Sequence[Header]) -> LetterId | Resolution | Stray:
    """Which letter this is, or what resolves one: all that sets of letters need, at a fraction of `read_entry`'s cost.

    Of a letter of the API it is `place` itself.
    """
    return _identity(place, value, dict(headers))


def read_entry(
    place: LetterId, timestamp: int, key: bytes | None, value: bytes | None, headers: Sequence[Header]
) -> Entry:
    """A record of the dead-letter topic, whatever its bytes; never raises, and agrees with `read_identity`."""
    told = dict(headers)
    identity = _identity(place, value, told)
    if not isinstance(identity, LetterId):
        return identity
    return DeadLetter(
        id=identity,
        place=place,
        stage=_text(told, "stage"),
        error_class=_text(told, "error_class"),
        reason=_text(told, "error_reason"),
        errors=_errors(_text(told, "error_detail")),
        trace=_text(told, "exception_trace"),
        timestamp=timestamp,
        failed_at=_text(told, "failed_at"),
        attempts=_number(told, "attempts", 1),
        contract=_text(told, "contract") or None,
        source=None if identity is place else _source(identity, told),
        truncation=_truncation(told),
        key=key,
        value=value,
        headers=[(unescape(name), content) for name, content in headers if not name.startswith(OURS)],
    )


_Told = Mapping[str, bytes | None]


def _identity(place: LetterId, value: bytes | None, told: _Told) -> LetterId | Resolution | Stray:
    try:
        if _RESOLUTION in told:
            return _resolution(value)
        stage = _text(told, "stage")
        if stage == STAGE_API:
            return place
        if stage != STAGE_CONSUMER:
            raise ValueError(f"{OURS}stage: must be {STAGE_API} or {STAGE_CONSUMER}")
        partition, offset = _number(told, "source_partition", -1), _number(told, "source_offset", -1)
        return _checked(_text(told, "source_topic_id"), partition, offset, _text(told, "replay_id") or None)
    except (ValueError, KeyError, TypeError, RecursionError) as wrong:
        return Stray(place, str(wrong))


def _source(letter: LetterId, told: _Told) -> LetterSource:
    timestamp = _number(told, "source_timestamp", NO_TIMESTAMP)
    return LetterSource(_text(told, "source_topic"), letter.topic_id, letter.partition, letter.offset, timestamp)


def _truncation(told: _Told) -> Truncation | None:
    sha256 = _text(told, "value_sha256")
    return Truncation(_number(told, "truncated_from_bytes", -1), sha256) if sha256 else None


def _errors(detail: str) -> tuple[FieldError, ...]:
    try:
        return tuple(FieldError(e["pointer"], e["rule"], e["expected"]) for e in json.loads(detail))
    except (ValueError, KeyError, TypeError):
        return ()


def _resolution(value: bytes | None) -> Resolution:
    told = json.loads(value or b"null")
    if told["v"] != _VERSION or told["outcome"] not in (REDRIVEN, DISCARDED):
        raise ValueError(f"{_RESOLUTION}: must be version {_VERSION}, {REDRIVEN} or {DISCARDED}")
    letter, to = told["letter"], told["redriven_to"]
    if (to is None) == (told["outcome"] == REDRIVEN):
        raise ValueError(f"{_RESOLUTION}: {REDRIVEN}, and nothing else, says where to")
    return Resolution(
        _checked(*letter),
        told["outcome"],
        str(told["by"]),
        str(told["at"]),
        str(told["reason"]),
        None if to is None else _checked(*to),
    )


def _checked(topic_id: object, partition: object, offset: object, replay_id: object) -> LetterId:
    if not (isinstance(topic_id, str) and isinstance(replay_id, str | None) and topic_id):
        raise TypeError("a letter's topic id and replay id are text")
    if not (isinstance(partition, int) and isinstance(offset, int) and partition >= 0 and offset >= 0):
        raise ValueError("a letter's partition and offset are whole numbers >= 0")
    return LetterId(topic_id, partition, offset, replay_id)


def _text(told: _Told, name: str) -> str:
    return (told.get(OURS + name) or b"").decode(errors="replace")


def _number(told: _Told, name: str, otherwise: int) -> int:
    text = _text(told, name)
    return int(text) if _is_number(text) else otherwise


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19
