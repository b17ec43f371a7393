"""What a redrive writes: the record it sends again, and the object by which redrives of a dataset take turns.

ops/redrives/<dataset>.json     who redrives now, and from which raw offsets on there may be records of redrives
                                that ended before they wrote all their resolutions
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.dead_letters import ATTEMPT_COUNT, ATTEMPTS, OURS
from streamlake.domain.model.envelope import INGESTED_AT, INGESTION_ID
from streamlake.domain.model.letters import DeadLetter, LetterId
from streamlake.domain.model.records import Header, OutgoingRecord
from streamlake.domain.model.times import LAST_MS, rfc3339_of_ms

MARK = OURS + "redrive"
"""The header that says which redrive sent a record again, and for which letter."""

_MARK = re.compile(rb"([0-9a-f]{32}) (\S+)/(\d{1,10})/(\d{1,19}) (\d{1,10})")
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """A record of the raw topic is the letter `letter`, sent again by the redrive `run_id` (32 hex digits, random: no
    producer can know it beforehand)."""

    run_id: str
    letter: LetterId
    dlq_partition: int
    """Where the letter lies, and its resolution belongs."""

    def to_header(self) -> Header:
        """As it travels with the record."""
        return MARK, f"{self.run_id} {self.letter} {self.dlq_partition}".encode()


def mark_of(headers: Sequence[Header]) -> Mark | None:
    """The mark of a redriven record; None for every other record."""
    for name, value in reversed(headers):
        found = _MARK.fullmatch(value) if name == MARK and value else None
        if found:
            letter = LetterId(found[2].decode(errors="replace"), int(found[3]), int(found[4]))
            return Mark(found[1].decode(), letter, int(found[5]))
    return None


def redriven_record(
    dataset: str, letter: DeadLetter, key: bytes | None, value: bytes | None, run_id: str, now_ms: int
) -> OutgoingRecord:
    """The record of a letter as it is sent again: its headers in order, and the redrive's two behind them.

    `ingestion_id` and `ingested_at` stay what they are, or, where the record had none, what the raw zone would have
    said of it at its first position. Its timestamp is the time of the redrive: its date is when it got in.
    """
    kept = [header for header in letter.headers if not _of_an_earlier_redrive(*header)]
    known = {name for name, value in kept if value}
    if INGESTION_ID not in known:
        kept.append((INGESTION_ID, letter.ingestion_id.encode()))
    if INGESTED_AT not in known and letter.source is not None and 0 <= letter.source.timestamp < LAST_MS:
        kept.append((INGESTED_AT, rfc3339_of_ms(letter.source.timestamp).encode()))
    kept.append((ATTEMPTS, str(letter.attempts + 1).encode()))
    kept.append(Mark(run_id, letter.id, letter.place.partition).to_header())
    return OutgoingRecord(raw_topic(dataset), key, value, kept, now_ms)


def _of_an_earlier_redrive(name: str, value: bytes | None) -> bool:
    pattern = {ATTEMPTS: ATTEMPT_COUNT, MARK: _MARK}.get(name)
    return pattern is not None and value is not None and pattern.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class RedriveTurn:
    """Whose turn it is to redrive a dataset's letters, and what has to be looked up before the next one."""

    run_id: str
    by: str
    at: str
    running: bool
    topic_id: str
    since: Mapping[int, int]
    """Raw partition -> the offset from which on records of `unsettled` may lie."""
    unsettled: tuple[str, ...]
    """Redrives that may have records in the raw topic without a resolution; the running one among them."""
    beat: int = 0
    """Counts up while it runs: a turn that does not change any more is of a process that died."""

    def to_json(self) -> bytes:
        """As stored."""
        return json.dumps({"v": _VERSION, **asdict(self)}, indent=1).encode()


def redrive_turn(body: bytes) -> RedriveTurn:
    """`to_json` undone. Raises ValueError for anything else."""
    try:
        told = json.loads(body)
        if told.pop("v") != _VERSION:
            raise ValueError(f"must be version {_VERSION}")
        told["since"] = {int(partition): int(offset) for partition, offset in told["since"].items()}
        told["unsettled"] = tuple(told["unsettled"])
        return RedriveTurn(**told)
    except (TypeError, KeyError, AttributeError) as wrong:
        raise ValueError(f"is not the turn of a redrive ({wrong})") from None


def turn_name(dataset: str) -> str:
    """The object that says whose turn it is."""
    return f"ops/redrives/{dataset}.json"
