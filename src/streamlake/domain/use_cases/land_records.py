"""Landing: records in, sealed snapshots out, and only then positions that may be committed.

    poll thread: LandRecords                      landing thread: LandSnapshots
    ------------------------                      -----------------------------
    receive(batch, now) --> Snapshot, sealed -->  land(snapshot, now)
    tick(now)           -->                         1. is the topic id still the one these were read from?
    drain(reason)       -->                         2. dead letters, acknowledged; but what has landed stays landed
                                                    3. every date's rows in its part log
    settled(snapshot) = what may be committed <--   (after any error land again: it goes on where it was)

`LandRecords` holds no thread, clock or connection: it is fed, and it answers. `LandSnapshots` makes one attempt and
raises whose fault it was; waiting is the daemon's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from streamlake.domain.errors import (
    DataFault,
    DeadLetterTopicMissing,
    OperatorFault,
    PrefixDamaged,
    RecordTooLarge,
    SettingsInvalid,
    StreamLakeError,
    TopicMissing,
    TopicRecreated,
)
from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.dead_letters import STAGE_CONSUMER, LetterSource, dead_letter, truncated
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import Appended, RecordBatch
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.snapshots import Letter, Snapshot, Span, commit_metadata
from streamlake.domain.model.times import DAY_MS, iso_date
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import LogAdmin, LogWriter
from streamlake.domain.use_cases.circuit_breaker import BreakerLimits, CircuitBreaker, CircuitOpen
from streamlake.domain.use_cases.judge_records import JudgeRecords, day_of
from streamlake.domain.use_cases.part_log import PartLogs

MAX_DATES = 32
"""A snapshot spans at most this many dates; the record that would open one more closes it."""

ROW_MEMORY_BYTES = 450
"""About what CPython needs for one buffered record beside its payload, key and other headers."""

FILL = 0.9
"""A snapshot is full when a part is expected to reach this share of its limit: the prediction errs both ways."""

TELLING_SHARE = 1 / 128
"""A part of less than this share of the limit says nothing of how well the format packs."""

RUN = 512
"""Records judged and buffered in one go; fullness is looked at in between."""

SHORT_KEY_BYTES = 50
"""About a key's share of the memory, where it is not counted singly."""

LETTERS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class LandingLimits:
    """When a snapshot is full. `max_bytes` is of one part as stored; `max_age_s` counts from the first record."""

    max_bytes: int
    max_records: int
    max_age_s: float


@dataclass(slots=True)
class _Owned:
    topic_id: str
    position: int
    epoch: int


class LandRecords:
    """The poll thread's side of one dataset in one process. One thread only."""

    def __init__(
        self, dataset: str, catalog: ContractCatalog, limits: LandingLimits, replay_id: str | None = None
    ) -> None:
        self._judge = JudgeRecords(dataset, catalog)
        self._limits = limits
        self._replay_id = replay_id
        self._owned: dict[TopicPartition, _Owned] = {}
        self._epoch = 0
        self._open: Snapshot | None = None
        self._shrinkage = 1.0

    @property
    def open_memory(self) -> int:
        """Bytes buffered in the open snapshot."""
        return self._open.memory if self._open else 0

    @property
    def opened_at(self) -> float | None:
        """When the oldest record of the open snapshot came (monotonic seconds)."""
        return self._open.opened_at if self._open else None

    def assign(self, source: TopicPartition, topic_id: str, start: int) -> list[Snapshot]:
        """This partition is read from `start` on. Returns what has to be sealed for it."""
        sealed = self.drain("reassigned") if self._open and source in self._open.spans else []
        self._epoch += 1
        self._owned[source] = _Owned(topic_id, start, self._epoch)
        return sealed

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """These are no longer ours, or are read again: what is open of them is dropped at once, and what is under way
        commits nothing of them any more."""
        for source in sources:
            self._owned.pop(source, None)
            if self._open:
                self._open.drop(source)
        if self._open and not self._open.spans:
            self._open = None

    def receive(self, batch: RecordBatch, now: float) -> list[Snapshot]:
        """Take records in; returns the snapshots that became full on the way.

        A batch holds every visible record from the position on: what lies between is a gap, and is claimed. Records
        below the position (a log read again) and of partitions not owned are left alone.
        """
        owned = self._owned.get(batch.source)
        if owned is None:
            return []
        sealed: list[Snapshot] = []
        at, end = bisect_left(batch.offsets, owned.position), len(batch)
        singly = 1
        while at < end:
            room = self._limits.max_records - (self._open.records if self._open else 0)
            rows = self._judge.run(batch, owned.topic_id, at, min(end, at + RUN, at + room))
            if rows and self._has_room_for(rows):
                sealed += self._take_run(rows, owned, now)
                at += len(rows)
                singly = 1
                continue
            # One by one where a record is unusual, and for longer each time where many are.
            for index in range(at, min(end, at + singly)):
                sealed += self._take_one(batch, index, owned, now)
            at += singly
            singly = min(RUN, 2 * singly)
        return sealed

    def tick(self, now: float) -> list[Snapshot]:
        """Seal what is old enough, though nothing new came."""
        if self._open and now - self._open.opened_at >= self._limits.max_age_s:
            return self.drain("age")
        return []

    def drain(self, reason: str) -> list[Snapshot]:
        """Seal what is there: on shutdown, before a partition goes, to free memory."""
        if self._open is None:
            return []
        sealed, self._open = self._open, None
        sealed.reason = reason
        return [sealed]

    def settled(self, snapshot: Snapshot) -> dict[TopicPartition, Position]:
        """The snapshot is landed: what of it may be committed now. Partitions that went in between are left out.

        Snapshots settle in the order in which they were sealed.
        """
        for part in snapshot.parts:
            if part.offered >= self._limits.max_bytes * TELLING_SHARE:
                self._shrinkage = part.size / part.offered
        spans = snapshot.spans
        return {
            source: Position(spans[source].end, commit_metadata(spans[source].topic_id, spans[source].recent))
            for source in self.still_owned(snapshot)
        }

    def still_owned(self, snapshot: Snapshot) -> list[TopicPartition]:
        """The partitions of a snapshot that are owned, without a break, since it was filled."""
        return [source for source, span in snapshot.spans.items() if self._owned_since(source, span.epoch)]

    def halted(self, snapshot: Snapshot) -> dict[TopicPartition, OperatorFault]:
        """The partitions that landing took out of a snapshot, and why, as far as they are owned without a break."""
        return {source: fault for source, (epoch, fault) in snapshot.halted.items() if self._owned_since(source, epoch)}

    def _owned_since(self, source: TopicPartition, epoch: int) -> bool:
        owned = self._owned.get(source)
        return owned is not None and owned.epoch == epoch

    def _has_room_for(self, rows: Rows) -> bool:
        """Are all timestamps usable, and would the snapshot not span too many dates?"""
        first, last = day_of(min(rows.timestamps)), day_of(max(rows.timestamps))
        if first is None or last is None:
            return False
        return last - first < MAX_DATES and (
            self._open is None or self._open.dates_with(range(first, last + 1)) <= MAX_DATES
        )

    def _take_run(self, rows: Rows, owned: _Owned, now: float) -> list[Snapshot]:
        """Buffer good records that follow one another."""
        snapshot = self._take_in(rows.source, owned, rows.offsets[-1] + 1, now)
        days = _by_day(rows)
        for day, theirs in days.items():
            _buffer(snapshot, day, theirs)
        snapshot.records += len(rows)
        snapshot.memory += sum(map(len, rows.payloads)) + (ROW_MEMORY_BYTES + SHORT_KEY_BYTES) * len(rows)
        return self._drain_if_full(snapshot, days)

    def _take_one(self, batch: RecordBatch, index: int, owned: _Owned, now: float) -> list[Snapshot]:
        """Buffer any record, as a row or as a letter."""
        source, offset, timestamp = batch.source, batch.offsets[index], batch.timestamps[index]
        key, value, headers = batch.keys[index], batch.values[index], batch.headers[index]
        day = day_of(timestamp)
        sealed: list[Snapshot] = []
        if self._open and day is not None and self._open.dates_with([day]) > MAX_DATES:
            sealed += self.drain("dates")
        snapshot = self._take_in(source, owned, offset + 1, now)
        try:
            row = self._judge.judge(owned.topic_id, source.partition, offset, timestamp, key, value, headers)
        except DataFault as fault:
            place = LetterSource(source.topic, owned.topic_id, source.partition, offset, timestamp)
            contract = self._judge.contract_of(fault)
            snapshot.letters.append(Letter(place, key, value, headers, fault, contract, day))
            if day is not None:
                snapshot.letter_days.add(day)
        else:
            _buffer(snapshot, row.day, row.as_rows(source, owned.topic_id, offset, timestamp))
        snapshot.records += 1
        snapshot.memory += ROW_MEMORY_BYTES + len(value or b"") + len(key or b"")
        snapshot.memory += sum(len(name) + len(content or b"") for name, content in headers)
        return sealed + self._drain_if_full(snapshot, () if day is None else (day,))

    def _take_in(self, source: TopicPartition, owned: _Owned, end: int, now: float) -> Snapshot:
        """The open snapshot, with everything of this partition below `end` said to be in it."""
        snapshot = self._open = self._open or Snapshot(now, replay_id=self._replay_id)
        span = snapshot.spans.get(source)
        if span is None:
            span = snapshot.spans[source] = Span(owned.topic_id, owned.position, end, owned.epoch)
        owned.position = span.end = end
        return snapshot

    def _drain_if_full(self, snapshot: Snapshot, days: Iterable[int]) -> list[Snapshot]:
        if snapshot.records >= self._limits.max_records:
            return self.drain("records")
        limit = self._limits.max_bytes * FILL / self._shrinkage
        return self.drain("bytes") if any(snapshot.day_bytes.get(day, 0) >= limit for day in days) else []


def _by_day(rows: Rows) -> dict[int, Rows]:
    """The rows of each day; most often all are of one."""
    first = min(rows.timestamps) // DAY_MS
    if first == max(rows.timestamps) // DAY_MS:
        return {first: rows}
    places: dict[int, list[int]] = {}
    for place, timestamp in enumerate(rows.timestamps):
        places.setdefault(timestamp // DAY_MS, []).append(place)
    return {day: rows.pick(theirs) for day, theirs in places.items()}


def _buffer(snapshot: Snapshot, day: int, rows: Rows) -> None:
    by_source = snapshot.days.setdefault(day, {})
    before = by_source.setdefault(rows.source, rows)
    if before is not rows:
        before.extend(rows)
    snapshot.day_bytes[day] = snapshot.day_bytes.get(day, 0) + rows.size


class LandSnapshots:
    """The landing thread's side of one dataset in one process. One thread only."""

    def __init__(
        self,
        dataset: str,
        admin: LogAdmin,
        letters: LogWriter,
        part_logs: PartLogs,
        breaker_limits: BreakerLimits = BreakerLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._dataset = dataset
        self._admin = admin
        self._letters = letters
        self.part_logs = part_logs
        self.breaker = CircuitBreaker(dataset, breaker_limits)
        self._dropped: dict[tuple[str | None, TopicPartition], int] = {}
        """By replay (None: live) and partition, the epoch that was dropped: each `LandRecords` counts its own."""

    def land(self, snapshot: Snapshot, now: datetime) -> None:
        """Land all that is left of a snapshot: one attempt. Idempotent: after an error call it again.

        A damaged prefix halts the partitions that have something for it (`snapshot.halted`); all others land. Raises
        `WorldFault` (wait, then again), `TopicRecreated` and `TopicMissing` (drop it: these records are of a log that
        is no more), `CircuitOpen` (drop it: nothing of it was lettered), any other `OperatorFault` (somebody has to
        act; then again).
        """
        self._leave_out_dropped(snapshot)
        if not snapshot.spans:
            return
        try:
            self._check_topic(snapshot)
            self._halt_damaged(snapshot)
            self.breaker.check(snapshot)
        except (TopicMissing, TopicRecreated, CircuitOpen):
            self._dropped.update({(snapshot.replay_id, source): span.epoch for source, span in snapshot.spans.items()})
            raise
        self._send_letters(snapshot, now)
        for day in sorted(snapshot.days):
            if day in snapshot.days:
                self._land_day(snapshot, day)

    def _halt_damaged(self, snapshot: Snapshot) -> None:
        """Before the first letter is counted or sent: else those of a partition that is halted would be, each time it
        is read again."""
        for day in sorted(snapshot.days.keys() | snapshot.letter_days):
            try:
                self.part_logs.of(iso_date(day)).bootstrap()
            except PrefixDamaged as fault:
                self._halt(snapshot, day, fault)

    def _land_day(self, snapshot: Snapshot, day: int) -> None:
        log = self.part_logs.of(iso_date(day))
        conflicts = log.conflicts
        rows = list(snapshot.days[day].values())
        try:
            log.land(rows, snapshot.claims(), snapshot.parts.append, snapshot.replay_id)
        except PrefixDamaged as fault:
            self.part_logs.forget(iso_date(day))
            self._halt(snapshot, day, fault)
        else:
            del snapshot.days[day]
        finally:
            snapshot.conflicts += log.conflicts - conflicts

    def _halt(self, snapshot: Snapshot, day: int, fault: PrefixDamaged) -> None:
        """Take out the partitions with something of this date, whole: a record that cannot land holds back all after
        it. The others go on, and so do later snapshots of theirs."""
        for source in snapshot.sources_on(day):
            epoch = self._dropped[snapshot.replay_id, source] = snapshot.spans[source].epoch
            snapshot.halted[source] = epoch, fault
            snapshot.drop(source)

    def _leave_out_dropped(self, snapshot: Snapshot) -> None:
        """A dropped snapshot is read again: what was read after it, in the same assignment, must not land before it."""
        for source, span in list(snapshot.spans.items()):
            if self._dropped.get((snapshot.replay_id, source)) == span.epoch:
                snapshot.drop(source)

    def _check_topic(self, snapshot: Snapshot) -> None:
        """Ids never come back: if it is the same now, then all that was read came from it."""
        topic = raw_topic(self._dataset)
        found = self._admin.topics([topic]).get(topic)
        if found is None:
            raise TopicMissing(f"{topic}: does not exist any more")
        for source, span in snapshot.spans.items():
            if span.topic_id != found.topic_id:
                raise TopicRecreated(f"{source}: records are of topic id {span.topic_id}, it is {found.topic_id} now")

    def _send_letters(self, snapshot: Snapshot, now: datetime) -> None:
        while snapshot.letters:
            batch = [
                letter
                for letter in snapshot.letters[:LETTERS_AT_ONCE]
                if not self._has_landed(letter, snapshot.replay_id)
            ]
            fault = self._send(snapshot, batch, now)
            acknowledged = {id(letter) for letter, _ in snapshot.lettered} if fault else set()
            unsent = [letter for letter in batch if id(letter) not in acknowledged] if fault else []
            snapshot.letters[:LETTERS_AT_ONCE] = unsent
            if fault:
                raise fault

    def _send(self, snapshot: Snapshot, batch: Sequence[Letter], now: datetime) -> StreamLakeError | None:
        """Send letters and note those acknowledged; returns the first fault among the others."""
        records = [
            dead_letter(
                self._dataset,
                STAGE_CONSUMER,
                letter.fault,
                letter.key,
                letter.value,
                letter.headers,
                now,
                contract=letter.contract,
                source=letter.source,
                replay_id=snapshot.replay_id,
            )
            for letter in batch
        ]
        outcomes = list(self._letters.append_and_wait(records))
        for at, outcome in enumerate(outcomes):
            if isinstance(outcome, RecordTooLarge):
                [outcomes[at]] = self._letters.append_and_wait([truncated(records[at])])
        fault: StreamLakeError | None = None
        for letter, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Appended):
                snapshot.lettered.append((letter, outcome))
            elif isinstance(outcome, RecordTooLarge):
                topic = dlq_topic(self._dataset)
                fault = fault or SettingsInvalid(f"{topic}: max.message.bytes is too small even for a truncated letter")
            elif isinstance(outcome, TopicMissing):
                # Not to be taken for the raw topic's end, which drops the snapshot: this one can be landed as it is.
                fault = fault or DeadLetterTopicMissing(
                    f"{dlq_topic(self._dataset)}: does not exist; `streamlake topics provision` makes it"
                )
            elif isinstance(outcome, DataFault):
                fault = fault or SettingsInvalid(f"{dlq_topic(self._dataset)}: refuses letters: {outcome}")
            else:
                fault = fault or outcome
        return fault

    def _has_landed(self, letter: Letter, replay_id: str | None) -> bool:
        """Landed wins: a process with another contract must not letter what the raw zone has."""
        return letter.day is not None and self.part_logs.of(iso_date(letter.day)).covers(
            letter.lane, letter.source.offset, replay_id
        )
