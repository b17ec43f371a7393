"""What landing works on: records of one dataset closed together, to be landed and then committed together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamlake.domain.errors import DataFault, OperatorFault
from streamlake.domain.model.contracts import Contract
from streamlake.domain.model.dead_letters import LetterSource
from streamlake.domain.model.parts import PartInfo
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import Appended, Header
from streamlake.domain.model.rows import Rows, longs

COMMIT_VERSION = 1

Recent = tuple[int, int]
"""Of a partition's last records, as many as the circuit breaker looks at: how many became letters, and how many there
were. Committed with the position, so that a process that is restarted again and again does not begin at nothing."""

NOTHING_RECENT: Recent = (0, 0)


class Row(NamedTuple):
    """One judged record: what an envelope says beside its place in the log."""

    day: int
    key: str | None
    schema_version: str
    ingestion_id: str
    producer_service: str | None
    ingested_at: str
    headers: Sequence[Header]
    payload: bytes

    def as_rows(self, source: TopicPartition, topic_id: str, offset: int, timestamp: int) -> Rows:
        """The same as columns of length one."""
        return Rows(
            source,
            topic_id,
            longs([offset]),
            longs([timestamp]),
            [self.key],
            [self.schema_version],
            [self.ingestion_id],
            [self.producer_service],
            [self.ingested_at],
            [self.headers],
            [self.payload],
        )


@dataclass(frozen=True, slots=True)
class Letter:
    """A record on its way to the dead-letter topic."""

    source: LetterSource
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    fault: DataFault
    contract: Contract | None
    day: int | None
    """None where the record has no usable timestamp, so that no prefix can hold it."""

    @property
    def place(self) -> TopicPartition:
        """The partition it came from, by name."""
        return TopicPartition(self.source.topic, self.source.partition)

    @property
    def lane(self) -> Lane:
        """The partition it came from, by topic id."""
        return Lane(self.source.topic_id, self.source.partition)


@dataclass(frozen=True, slots=True)
class LandedPart:
    """A part this process created."""

    name: str
    info: PartInfo
    size: int
    generation: int
    offered: int
    """What its rows were estimated at before encoding: the ratio predicts when the next part is full."""


@dataclass(slots=True)
class Span:
    """What a snapshot holds of one partition: every visible record in `[start, end)`, as a row or as a letter."""

    topic_id: str
    start: int
    end: int
    epoch: int
    recent: Recent = NOTHING_RECENT
    """As of its end."""


@dataclass(slots=True)
class Snapshot:
    """Filled by one thread, then sealed and consumed by another: landing takes out what is done."""

    opened_at: float
    spans: dict[TopicPartition, Span] = field(default_factory=dict)
    days: dict[int, dict[TopicPartition, Rows]] = field(default_factory=dict)
    day_bytes: dict[int, int] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    letter_days: set[int] = field(default_factory=set)
    records: int = 0
    memory: int = 0
    counted: bool = False
    """Has the circuit breaker seen it?"""
    reason: str = ""
    """Why it was sealed: bytes, records, age, dates, memory, revoked, shutdown."""
    parts: list[LandedPart] = field(default_factory=list)
    """The parts that landing it has created so far."""
    conflicts: int = 0
    """How often a slot was found taken by another writer."""
    lettered: list[tuple[Letter, Appended]] = field(default_factory=list)
    """The letters acknowledged so far, and where they are."""
    replay_id: str | None = None
    """Which replay it is landed and lettered for; None: live."""

    halted: dict[TopicPartition, tuple[int, OperatorFault]] = field(default_factory=dict)
    """Partitions that landing has taken out again, with the epoch of their span, and why: a prefix of theirs is
    damaged. Nothing of them may be committed; they are to be read again."""

    def dates_with(self, days: Iterable[int]) -> int:
        """How many dates it would span with these."""
        return len(self.days.keys() | self.letter_days | set(days))

    def sources_on(self, day: int) -> set[TopicPartition]:
        """The partitions with a row or a letter of this date."""
        lettered = {letter.place for letter in self.letters if letter.day == day}
        return lettered | self.days.get(day, {}).keys()

    def drop(self, source: TopicPartition) -> None:
        """Take everything of one partition out again, as if it had never been read."""
        if self.spans.pop(source, None) is None:
            return
        kept = [letter for letter in self.letters if letter.place != source]
        dropped = len(self.letters) - len(kept)
        for day, by_source in list(self.days.items()):
            rows = by_source.pop(source, None)
            if rows is not None:
                dropped += len(rows)
                self.day_bytes[day] -= rows.size
            if not by_source:
                del self.days[day]
        self.letters = kept
        self.letter_days = {letter.day for letter in kept if letter.day is not None}
        self.memory -= self.memory * dropped // max(1, self.records)  # its share, near enough for a budget
        self.records -= dropped

    def claims(self) -> dict[Lane, Offsets]:
        """What its parts may claim of each partition."""
        return {
            Lane(span.topic_id, source.partition): Offsets([(span.start, span.end)])
            for source, span in self.spans.items()
        }


@dataclass(frozen=True, slots=True)
class ReplayBlock:
    """What commits carry while a partition is rewound: below `until` it lands for this replay, then it goes on live at
    `resume`."""

    replay_id: str
    until: int
    resume: int


def commit_metadata(topic_id: str, recent: Recent = NOTHING_RECENT, replay: ReplayBlock | None = None) -> str:
    """What is committed beside a position: whose offsets these are, the recent letters if there are any, and the replay
    if it is of one. A plain reset by an operator wipes it."""
    block = None if replay is None else {"id": replay.replay_id, "until": replay.until, "resume": replay.resume}
    told: dict[str, object] = {"v": COMMIT_VERSION, "topic_id": topic_id, "replay": block}
    if recent[0]:
        told["recent"] = recent
    return json.dumps(told, separators=(",", ":"))


def committed_recent(metadata: str) -> Recent:
    """The recent letters in a commit's metadata."""
    try:
        letters, records = json.loads(metadata)["recent"]
    except (ValueError, TypeError, KeyError):
        return NOTHING_RECENT
    return int(letters), int(records)


def committed_topic_id(metadata: str) -> str | None:
    """The topic id in a commit's metadata; None where somebody else's tool made the commit."""
    topic_id = _told(metadata).get("topic_id")
    return topic_id if isinstance(topic_id, str) else None


def committed_replay(metadata: str) -> ReplayBlock | None:
    """The replay in a commit's metadata; None where the position is a live one. Raises ValueError for half a block."""
    block = _told(metadata).get("replay")
    if block is None:
        return None
    try:
        replay_id, until, resume = block["id"], block["until"], block["resume"]
    except (KeyError, TypeError):
        raise ValueError("commit metadata: replay must have id, until and resume") from None
    if not (isinstance(replay_id, str) and isinstance(until, int) and isinstance(resume, int)):
        raise ValueError(  # noqa: TRY004 - the text was wrong, not our caller
            "commit metadata: replay must have id, until and resume"
        )
    return ReplayBlock(replay_id, until, resume)


def _told(metadata: str) -> dict[str, Any]:
    try:
        told = json.loads(metadata)
    except ValueError:
        return {}
    return told if isinstance(told, dict) and told.get("v") == COMMIT_VERSION else {}
