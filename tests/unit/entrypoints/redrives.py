"""A dataset with dead letters in memory, and redrives of it that can be killed at any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tests.unit.domain.faults import FaultyStore
from tests.unit.domain.worlds import DATASET, FORMATS, GOOD, NOW, RAW, T0, Catalog, open_log, part_log, rows

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import ContractViolation, DataFault, FieldError
from streamlake.domain.model.dead_letters import STAGE_API, STAGE_CONSUMER, LetterSource, dead_letter
from streamlake.domain.model.letter_selection import LetterSelection
from streamlake.domain.model.letters import DeadLetter, Entry, LetterId
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import AppendOutcome, Header, OutgoingRecord
from streamlake.domain.ports.event_log import LogWriter
from streamlake.domain.use_cases.dead_letters import DeadLetters, Ledger, Progress
from streamlake.domain.use_cases.raw_zone import RawZone
from streamlake.domain.use_cases.redrive import Redrive
from streamlake.domain.use_cases.redrive_turns import RedriveTurns
from streamlake.entrypoints.redriving import Outcome, RedriveParts, Redriving

FAULT = ContractViolation("orders.v1", (FieldError("/id", "required", "is required"),))
EVERYTHING = LetterSelection()
RUN = "ab" * 16
AGAIN = "cd" * 16
RAW_ID, DLQ_ID = "memory-1", "memory-2"


class KilledError(Exception):
    """kill -9: nothing of this process happens any more."""


class Life:
    """So many steps, a record appended or a write to the store each, and then the end."""

    def __init__(self, steps: int | None = None) -> None:
        self._left = steps

    def step(self) -> None:
        """One more step, or `KilledError`; also of every step after it."""
        if self._left is not None:
            if self._left <= 0:
                raise KilledError
            self._left -= 1


class MortalWriter(LogWriter):
    """Appends record by record, and dies in between; `hook` may give an outcome of its own instead."""

    def __init__(self, log: MemoryEventLog, life: Life) -> None:
        self.hook: Callable[[OutgoingRecord], AppendOutcome | None] = lambda record: None
        self._writer = log.writer()
        self._life = life

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        done(self.append_and_wait(records))

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        return list(self._outcomes(records))

    def close(self, timeout_s: float) -> None:
        self._writer.close(timeout_s)

    def _outcomes(self, records: Sequence[OutgoingRecord]) -> Iterator[AppendOutcome]:
        for record in records:
            self._life.step()
            yield self.hook(record) or self._writer.append_and_wait([record])[0]


class Post:
    """The raw and dead-letter topics of one dataset, and its raw zone."""

    def __init__(self) -> None:
        self.log = open_log()
        self.store = MemoryObjectStore()
        self.clock = ManualClock(NOW)
        self.told: list[tuple[LetterId, DataFault | None]] = []

    def fail(
        self,
        offset: int,
        *,
        value: bytes | None = GOOD,
        key: bytes | None = b"k",
        headers: Sequence[Header] = (),
        partition: int = 0,
        topic_id: str = RAW_ID,
        timestamp: int = T0,
        replay_id: str | None = None,
    ) -> LetterId:
        """A letter of a consumer, whose payload is good by today's contract."""
        source = LetterSource(RAW, topic_id, partition, offset, timestamp)
        made = dead_letter(DATASET, STAGE_CONSUMER, FAULT, key, value, headers, NOW, source=source, replay_id=replay_id)
        self.append(made)
        return LetterId(topic_id, partition, offset, replay_id)

    def reject(self, value: bytes = GOOD, headers: Sequence[Header] = ()) -> None:
        """A letter of the API."""
        self.append(dead_letter(DATASET, STAGE_API, FAULT, None, value, headers, NOW))

    def append(self, *records: OutgoingRecord) -> None:
        """Append as anybody may."""
        for record in records:
            spread = hash(record.value) % 2 if record.partition is None and record.key is None else record.partition
            self.log.writer().append_and_wait([record._replace(partition=spread)])

    def land(self, *offsets: int) -> None:
        """These offsets of partition 0 are in a live part."""
        part_log(self.store).land([rows(offsets)], {Lane(RAW_ID, 0): Offsets.of(offsets)}, lambda part: None)

    def parts(self, catalog: Catalog | None = None, life: Life | None = None) -> RedriveParts:
        """What a process that redrives is made of."""
        life = life or Life()
        store = FaultyStore(self.store)
        store.hook = lambda call, name: life.step() if call in ("create", "replace") else None
        admin, reader, writer = self.log.admin(), self.log.reader(), MortalWriter(self.log, life)
        return RedriveParts(
            DeadLetters(DATASET, admin, reader),
            RawZone(DATASET, store, FORMATS),
            Redrive(DATASET, catalog or Catalog(), admin, reader, writer),
            RedriveTurns(DATASET, store, admin),
            self.clock,
            self.clock.advance,
        )

    def run(
        self,
        run_id: str = RUN,
        catalog: Catalog | None = None,
        life: Life | None = None,
        parts: RedriveParts | None = None,
    ) -> Redriving:
        """A fresh process."""
        return Redriving(parts or self.parts(catalog, life), run_id, "ann", unwatched, self._hear)

    def redrive(self, run_id: str = RUN, selection: LetterSelection = EVERYTHING, max_attempts: int = 5) -> Outcome:
        """A whole redrive."""
        return self.run(run_id).redrive(selection, max_attempts=max_attempts, rate=None)

    def ledger(self) -> Ledger:
        """What a reader knows."""
        return self.letters().ledger()

    def letters(self) -> DeadLetters:
        """The dead-letter topic as a reader has it."""
        return DeadLetters(DATASET, self.log.admin(), self.log.reader())

    def entries(self) -> list[Entry]:
        """Every record of the dead-letter topic."""
        return list(self.letters().entries())

    def letter(self) -> DeadLetter:
        """The only letter."""
        [found] = [entry for entry in self.entries() if isinstance(entry, DeadLetter)]
        return found

    def raw(self) -> list[tuple[LetterId, bytes | None, bytes | None, list[Header], int]]:
        """Every record of the raw topic: place, key, value, headers, timestamp."""
        found = []
        for number in range(self.log.admin().topics([RAW])[RAW].partitions):
            for batch in self.log.reader().read(TopicPartition(RAW, number), 0, 10**9):
                for at, offset in enumerate(batch.offsets):
                    place = LetterId(RAW_ID, number, offset)
                    content = batch.keys[at], batch.values[at], list(batch.headers[at]), batch.timestamps[at]
                    found.append((place, *content))
        return found

    def sent(self) -> Counter[str]:
        """ingestion id -> how many records of the raw topic have it."""
        return Counter((dict(headers)["ingestion_id"] or b"").decode() for _, _, _, headers, _ in self.raw())

    def _hear(self, letter: DeadLetter, fault: DataFault | None) -> None:
        self.told.append((letter.id, fault))


def unwatched(name: str) -> Progress:
    """A bar that nobody looks at."""
    return lambda done, total: None
