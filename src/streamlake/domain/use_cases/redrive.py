"""Dead letters sent again, once: judged by today's contract, appended to the raw topic, and only then resolved.

    recover      records of redrives that died between the two lines below get the resolution they lack
    judge        letter --> the record it becomes, or why it stays open
    send         raw topic, acknowledged
                 resolution, acknowledged            (in the partition of its letter)

A redriven record names its redrive and its letter in a header. So whoever comes after a kill -9 finds in the raw topic
what had got in, resolves it, and sends nothing twice. A record in flight at that moment, which gets in after that
look, is the one that can: both then have a resolution, and the ledger names the letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streamlake.domain.errors import (
    DataFault,
    OutcomeUnknown,
    RecordRefused,
    StreamLakeError,
    TopicRecreated,
)
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.dead_letters import STAGE_API
from streamlake.domain.model.letters import (
    DISCARDED,
    REDRIVEN,
    DeadLetter,
    LetterId,
    Resolution,
    resolution_record,
)
from streamlake.domain.model.positions import Lane, TopicPartition
from streamlake.domain.model.records import Appended, AppendOutcome, OutgoingRecord
from streamlake.domain.model.redrives import Mark, RedriveTurn, mark_of, redriven_record
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import LogAdmin, LogReader, LogWriter
from streamlake.domain.use_cases.dead_letters import Ledger, Progress
from streamlake.domain.use_cases.judge_records import JudgeRecords

BATCH = 100
"""Letters under way at once: what a process frozen for longer than its lease can at most send a second time."""

FOUND = "its record was found in the raw topic, where an interrupted redrive had sent it"

Sent = tuple[DeadLetter, OutgoingRecord]


class Redrive:
    """One turn at the letters of one dataset. One thread only. Raises the log's errors."""

    def __init__(
        self, dataset: str, catalog: ContractCatalog, admin: LogAdmin, reader: LogReader, writer: LogWriter
    ) -> None:
        self._dataset = dataset
        self._topic = raw_topic(dataset)
        self._catalog = catalog
        self._judge = JudgeRecords(dataset, catalog)
        self._admin = admin
        self._reader = reader
        self._writer = writer
        self.settled = False
        """Has every record that was sent its resolution? While that is not certain, the turn must end as unsettled."""

    def recover(self, turn: RedriveTurn, ledger: Ledger, by: str, now: tuple[str, int], progress: Progress) -> int:
        """Resolve what earlier redrives sent and did not come to resolve, in log and ledger; returns how much."""
        self.settled = len(turn.unsettled) == 1
        missing: list[tuple[Resolution, int]] = []
        count = 0
        for mark, place in self._marked(turn, progress):
            if mark.run_id in turn.unsettled and place.offset not in ledger.redriven_to.get(place.lane, ()):
                missing.append((Resolution(mark.letter, REDRIVEN, by, now[0], FOUND, place), mark.dlq_partition))
                ledger.resolve(missing[-1][0])
                count += 1
            if len(missing) == BATCH:
                self._append(missing, now[1])
                missing.clear()
        self._append(missing, now[1])
        self.settled = True
        return count

    def judge(self, letter: DeadLetter, run_id: str, now_ms: int, *, max_attempts: int) -> OutgoingRecord:
        """The record that a letter becomes, judged as a consumer would. Raises `DataFault`: why it stays open.

        The key stays what it was. An event of the API never had one, since it never got that far: it gets its
        contract's.
        """
        if letter.attempts >= max_attempts:
            told = f"dlq_attempts: must be below {max_attempts}, is {letter.attempts}"
            raise RecordRefused("too_many_attempts", told)
        value = letter.value if letter.truncation is None else self._whole(letter)
        record = redriven_record(self._dataset, letter, letter.key, value, run_id, now_ms)
        row = self._judge.judge(*letter.id[:3], now_ms, letter.key, value, record.headers)
        contract = self._catalog.find(self._dataset, row.schema_version)
        if letter.stage != STAGE_API or letter.key is not None or contract is None:
            return record
        return record._replace(key=contract.record_key(contract.parse(row.payload)))

    def send(self, batch: Sequence[Sent], turn: RedriveTurn, by: str, now: tuple[str, int]) -> list[Sent]:
        """Send letters again and resolve those acknowledged; returns those that the log does not take for their size.

        Raises what keeps any other from being sent, after all that was acknowledged is resolved.
        """
        self.settled = False
        outcomes = self._writer.append_and_wait([record for _, record in batch])
        self._check_topic(turn)
        resolutions, refused = [], []
        for (letter, record), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Appended):
                to = LetterId(turn.topic_id, outcome.partition, outcome.offset)
                resolutions.append((Resolution(letter.id, REDRIVEN, by, now[0], "", to), letter.place.partition))
            elif isinstance(outcome, DataFault):
                refused.append((letter, record))
        self._append(resolutions, now[1])
        self.settled = not any(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
        _raise_first(outcomes)
        return refused

    def discard(self, letters: Sequence[DeadLetter], reason: str, by: str, now: tuple[str, int]) -> None:
        """Resolve letters without sending them. Nothing is deleted."""
        resolutions = [(Resolution(letter.id, DISCARDED, by, now[0], reason), letter.place) for letter in letters]
        self._append([(resolution, place.partition) for resolution, place in resolutions], now[1])

    def _marked(self, turn: RedriveTurn, progress: Progress) -> Iterator[tuple[Mark, LetterId]]:
        """Every record that a redrive sent, from where earlier ones may have left some."""
        if len(turn.unsettled) == 1:
            return
        self._check_topic(turn)
        marks = self._admin.watermarks([TopicPartition(self._topic, number) for number in turn.since])
        starts = {source: max(mark.low, turn.since[source.partition]) for source, mark in marks.items()}
        total = sum(max(0, mark.high - starts[source]) for source, mark in marks.items())
        before = 0
        for source, mark in marks.items():
            lane = Lane(turn.topic_id, source.partition)
            for batch in self._reader.read(source, starts[source], mark.high):
                for offset, headers in zip(batch.offsets, batch.headers, strict=True):
                    found = mark_of(headers)
                    if found is not None:
                        yield found, LetterId(*lane, offset)
                progress(before + batch.next_offset - starts[source], total)
            before += max(0, mark.high - starts[source])
            progress(before, total)

    def _whole(self, letter: DeadLetter) -> bytes:
        """The value of a truncated letter, from the raw topic, if that still has it."""
        source, cut = letter.source, letter.truncation
        if source is not None and cut is not None:
            info = self._admin.topics([source.topic]).get(source.topic)
            place = TopicPartition(source.topic, source.partition)
            if info is not None and info.topic_id == source.topic_id:
                mark = self._admin.watermarks([place])[place]
                if mark.low <= source.offset < mark.high:
                    for batch in self._reader.read(place, source.offset, source.offset + 1):
                        for value in batch.values:
                            if value is not None and cut.is_of(value):
                                return value
        raise RecordRefused("truncated", "value: the letter has only its beginning, and the raw topic has it no more")

    def _check_topic(self, turn: RedriveTurn) -> None:
        """Ids never come back: if it is the same now, then all that was sent went there."""
        found = self._admin.topics([self._topic]).get(self._topic)
        if found is None or found.topic_id != turn.topic_id:
            told = "is gone" if found is None else f"is {found.topic_id} now"
            raise TopicRecreated(f"{self._topic}: this redrive began with topic id {turn.topic_id}, it {told}")

    def _append(self, resolutions: Sequence[tuple[Resolution, int]], now_ms: int) -> None:
        records = [resolution_record(self._dataset, made, partition, now_ms) for made, partition in resolutions]
        for outcome in self._writer.append_and_wait(records) if records else ():
            if not isinstance(outcome, Appended):
                raise outcome


def _raise_first(outcomes: Sequence[AppendOutcome]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, StreamLakeError) and not isinstance(outcome, DataFault):
            raise outcome
