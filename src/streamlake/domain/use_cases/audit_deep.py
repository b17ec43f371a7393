"""`--deep`: every body is read, and each of its rows made again from the log's own record and compared, byte for byte.

What the log no longer holds, and rows of another topic id, are held against what their part says of them only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streamlake.domain.errors import ObjectDamaged, ObjectMissing, PositionLost, RecordRefused
from streamlake.domain.model.audit_report import Ranges
from streamlake.domain.model.envelope import (
    INGESTED_AT,
    INGESTION_ID,
    PRODUCER_SERVICE,
    SCHEMA_VERSION,
    envelope_of,
    ingestion_id_of_record,
)
from streamlake.domain.model.letters import DeadLetter
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.times import LAST_MS, day_of_ms, iso_date, rfc3339_of_ms
from streamlake.domain.ports.event_log import LogReader
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.use_cases.audit_findings import Findings
from streamlake.domain.use_cases.dead_letters import DeadLetters
from streamlake.domain.use_cases.log_cursor import LogCursor, Record
from streamlake.domain.use_cases.raw_zone import RawZone, ZonePart


@dataclass(frozen=True, slots=True)
class _Line:
    """A row as the body has it, and what it says."""

    offset: int
    told: Mapping[str, Any]
    line: bytes


class DeepCheck:
    """Reads bodies; what is wrong goes to the findings."""

    def __init__(
        self,
        zone: RawZone,
        formats: Mapping[str, PartFormat],
        reader: LogReader,
        sources: Mapping[Lane, TopicPartition],
        findings: Findings,
    ) -> None:
        self.compared = 0
        """Rows compared with the log so far."""
        self._zone = zone
        self._formats = formats
        self._cursors = {lane: LogCursor(reader, source) for lane, source in sources.items()}
        self._findings = findings

    def check(self, part: ZonePart, topic: str) -> Mapping[Lane, Offsets]:
        """One part; returns its rows, as its list has them, or else its body."""
        try:
            lines = self._lines(part)
        except (ValueError, ObjectDamaged, ObjectMissing) as damaged:
            found_damaged(self._findings, part, damaged)
            return part.info.rows or {}
        rows = self._check_rows(part, lines)
        for partition, theirs in lines.items():
            wrong = [line.offset for line in theirs if not _fits(line.told, part, self._zone.dataset, topic)]
            self._say("envelope_wrong", part, partition, wrong, "say another dataset, topic, date or replay")
            lane = _lane_of(part, partition)
            if lane is not None and lane in self._cursors:
                self._compare(part, lane, theirs)
        return rows if part.info.rows is None else part.info.rows

    def check_letters(self, letters: DeadLetters, progress: Callable[[int, int], None]) -> None:
        """Every dead letter of a consumer against the record that it is of."""
        changed: dict[Lane, list[int]] = {}
        strange: dict[Lane, list[int]] = {}
        for letter in letters.entries(progress):
            if not isinstance(letter, DeadLetter) or letter.source is None or letter.id.lane not in self._cursors:
                continue
            try:
                record = self._cursors[letter.id.lane].record(letter.id.offset)
            except PositionLost:
                continue
            if record is None:
                strange.setdefault(letter.id.lane, []).append(letter.id.offset)
            elif not _is_of(letter, record):
                changed.setdefault(letter.id.lane, []).append(letter.id.offset)
        for kind, found, told in (
            ("foreign_letter", strange, "letters of offsets that the log does not show"),
            ("letter_changed", changed, "letters whose key, value or headers are not the record's"),
        ):
            for lane, offsets in sorted(found.items()):
                ranges = Ranges.of(Offsets.of(sorted(set(offsets))))
                self._findings.add(kind, f"partition {lane.partition}: {told}: {ranges}", lane=lane, offsets=ranges)

    def _lines(self, part: ZonePart) -> dict[int, list[_Line]]:
        """The rows of each partition, in the order of the body. Raises ValueError where they are not rows."""
        found: dict[int, list[_Line]] = {}
        for line in self._zone.envelopes(part):
            told = json.loads(line)
            try:
                partition, offset = told["partition"], told["offset"]
            except (KeyError, TypeError):
                raise ValueError("a line is not an envelope") from None
            if type(partition) is not int or type(offset) is not int or offset < 0:
                raise ValueError("a line has no partition and offset")
            found.setdefault(partition, []).append(_Line(offset, told, line))
        return found

    def _check_rows(self, part: ZonePart, lines: Mapping[int, Sequence[_Line]]) -> dict[Lane, Offsets]:
        lanes = {lane.partition: lane for lane in part.info.claims}
        rows: dict[Lane, Offsets] = {}
        for partition, theirs in lines.items():
            offsets = [line.offset for line in theirs]
            if any(a >= b for a, b in pairwise(offsets)):
                self._wrong_rows(part, f"rows of partition {partition} are not in ascending order")
            lane = lanes.get(partition)
            if lane is None:
                self._wrong_rows(part, f"rows of partition {partition}, of which it claims nothing")
            else:
                rows[lane] = Offsets.of(offsets)
        if sum(map(len, lines.values())) != part.info.records:
            self._wrong_rows(part, f"has {sum(map(len, lines.values()))} rows for {part.info.records} records")
        if part.info.rows is not None and rows != part.info.rows:
            self._wrong_rows(part, "rows of other offsets than its list has")
        elif any(part.info.claims[lane].gaps(a, b) for lane, offsets in rows.items() for a, b in offsets):
            self._wrong_rows(part, "rows of offsets that it does not claim")
        return rows

    def _wrong_rows(self, part: ZonePart, what: str) -> None:
        self._findings.add("body_rows", f"{part.name}: {what}", part.name)

    def _compare(self, part: ZonePart, lane: Lane, lines: Iterable[_Line]) -> None:
        """Rows of the topic as it is now, with the records they come from."""
        found: list[tuple[_Line, Record]] = []
        foreign = []
        for line in lines:
            try:
                record = self._cursors[lane].record(line.offset)
            except PositionLost:
                continue
            if record is None:
                foreign.append(line.offset)
            else:
                found.append((line, record))
        self.compared += len(found)
        self._say("foreign_rows", part, lane.partition, foreign, "are of offsets that the log does not show")
        payloads: list[int] = []
        fields: list[int] = []
        for (line, _), expected in zip(found, self._made_again(part, lane, found), strict=True):
            if expected == line.line:
                continue
            wanted = json.loads(expected) if expected else {}
            beside = {name for name in {*wanted, *line.told} if wanted.get(name) != line.told.get(name)} - {"payload"}
            (fields if beside else payloads).append(line.offset)
        self._say("payload_changed", part, lane.partition, payloads, "have another payload than the record")
        self._say("envelope_wrong", part, lane.partition, fields, "have another envelope than the record makes")

    def _made_again(self, part: ZonePart, lane: Lane, found: Sequence[tuple[_Line, Record]]) -> Iterator[bytes]:
        """The envelope of each record, as landing makes it; empty for a record that could not have landed."""
        source = TopicPartition(str(found[0][0].told.get("topic")), lane.partition) if found else None
        rows = Rows(source or TopicPartition("", 0), lane.topic_id)
        landable = [self._add(rows, line, record) for line, record in found]
        form = self._formats[part.extension]
        made = form.envelopes(form.encode(self._zone.dataset, [rows], part.info.replay_id).body) if len(rows) else None
        for able in landable:
            yield next(made) if able and made is not None else b""

    def _add(self, rows: Rows, line: _Line, record: Record) -> bool:
        try:
            fields, others = envelope_of(record.headers, self._zone.dataset)
            key = None if record.key is None else record.key.decode()
        except (RecordRefused, UnicodeDecodeError):
            return False
        if record.value is None:
            return False
        derived = str(ingestion_id_of_record(rows.topic_id, rows.source.partition, record.offset))
        rows.offsets.append(record.offset)
        rows.timestamps.append(record.timestamp)
        rows.keys.append(key)
        # Of a record that names no version it is the newest there was when it landed: only the row knows.
        rows.schema_versions.append(fields.get(SCHEMA_VERSION) or str(line.told.get(SCHEMA_VERSION)))
        rows.ingestion_ids.append(fields.get(INGESTION_ID) or derived)
        rows.producer_services.append(fields.get(PRODUCER_SERVICE))
        rows.ingested_ats.append(fields.get(INGESTED_AT) or rfc3339_of_ms(record.timestamp))
        rows.headers.append(others)
        rows.payloads.append(record.value)
        return True

    def _say(self, kind: str, part: ZonePart, partition: int, offsets: Sequence[int], what: str) -> None:
        ranges = Ranges.of(Offsets.of(sorted(set(offsets))))
        lane = _lane_of(part, partition)
        told = f"{part.name}: rows of partition {partition} {what}: {ranges}"
        self._findings.add(kind, told, part.name, lane=lane, replay_id=part.info.replay_id, offsets=ranges)


def _lane_of(part: ZonePart, partition: int) -> Lane | None:
    """A topic id is not in an envelope; but a part is of one id."""
    return next((lane for lane in part.info.claims if lane.partition == partition), None)


def found_damaged(findings: Findings, part: ZonePart, why: Exception) -> None:
    """A body that could not be read as rows, or is gone by now."""
    kind = "part_missing" if isinstance(why, ObjectMissing) else "body_damaged"
    findings.add(kind, f"{part.name}: the body cannot be read as what it should be ({type(why).__name__})", part.name)


def _fits(told: Mapping[str, Any], part: ZonePart, dataset: str, topic: str) -> bool:
    """Does a row say the dataset, topic, date and replay of its part?"""
    timestamp = told.get("timestamp")
    return (
        (told.get("dataset"), told.get("topic"), told.get("replay_id")) == (dataset, topic, part.info.replay_id)
        and type(timestamp) is int
        and 0 <= timestamp < LAST_MS
        and iso_date(day_of_ms(timestamp)) == part.date
    )


def _is_of(letter: DeadLetter, record: Record) -> bool:
    """Is this a letter of this record?"""
    if letter.key != record.key or list(letter.headers) != list(record.headers):
        return False
    return letter.truncation.is_of(record.value) if letter.truncation else letter.value == record.value
