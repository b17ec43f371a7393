"""The circuit breaker: a bad deploy must not drain a topic into the dead-letter topic.

The letters of a snapshot are held until it is known how large their share is. Where it is too large, nothing of the
snapshot is lettered or committed, and the partition halts until an operator resumes it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from streamlake.domain.errors import OperatorFault
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.snapshots import NOTHING_RECENT, Recent, Snapshot


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """Trip where more than `ratio` of at least the last `dispositions` records of a partition are dead letters."""

    ratio: float = 0.5
    dispositions: int = 1_000


_Counted = tuple[str | None, TopicPartition]
"""Of a replay, or live: each counts its own assignments, so an epoch of one means nothing to the other."""


class CircuitOpen(OperatorFault):
    """Too many dead letters in a row: this partition waits for an operator."""

    def __init__(self, dataset: str, source: TopicPartition, topic_id: str, bad: int, total: int) -> None:
        self.why = f"{source}: {bad} of the last {total} records would become dead letters"
        way = f"`streamlake resume --dataset {dataset} --partition {source.partition}`"
        super().__init__(f"{self.why}; mend the contract or the producer, then {way}")
        self.source = source
        self.topic_id = topic_id


class CircuitBreaker:
    """Counts what became of each partition's records. Belongs to the landing thread; `tolerate` and `begin` to any.

    What it has counted is committed with each position: whoever has the partition next goes on counting there. So a
    process that dies again and again sends no more letters than one that lives.
    """

    def __init__(self, dataset: str, limits: BreakerLimits) -> None:
        self._dataset = dataset
        self._limits = limits
        self._recent: dict[_Counted, deque[Recent]] = {}
        self._epochs: dict[_Counted, int] = {}
        self._begun: dict[TopicPartition, Recent] = {}
        self._tolerated: dict[TopicPartition, int] = {}
        self._tripped: dict[_Counted, tuple[int, CircuitOpen]] = {}

    def tolerate(self, source: TopicPartition, below: int) -> None:
        """An operator has accepted the dead letters of this partition below an offset: they do not count."""
        self._tolerated[source] = below

    def begin(self, source: TopicPartition, recent: Recent) -> None:
        """The next assignment of this partition begins with so many recent letters and records; of more than are looked
        at, with their share."""
        letters, records = recent
        most = self._limits.dispositions
        self._begun[source] = recent if records <= most else (letters * most // records, most)

    def check(self, snapshot: Snapshot) -> None:
        """Count a snapshot, once. Raises `CircuitOpen` for it, and for all of the same assignment after it."""
        if snapshot.counted:
            return
        good = Counter[TopicPartition]()
        for by_source in snapshot.days.values():
            good.update({source: len(rows) for source, rows in by_source.items()})
        bad = Counter[TopicPartition]()
        for letter in snapshot.letters:
            bad[letter.place] += letter.source.offset >= self._tolerated.get(letter.place, 0)
        for source, span in snapshot.spans.items():
            counted = snapshot.replay_id, source
            epoch, fault = self._tripped.get(counted, (None, None))
            if fault is not None and epoch == span.epoch:
                raise fault
            letters, total = span.recent = self._count(counted, span.epoch, good[source], bad[source])
            if total >= self._limits.dispositions and letters > self._limits.ratio * total:
                tripped = CircuitOpen(self._dataset, source, span.topic_id, letters, total)
                self._tripped[counted] = span.epoch, tripped
                raise tripped
        snapshot.counted = True

    def _count(self, counted: _Counted, epoch: int, good: int, bad: int) -> Recent:
        """Letters and all records, of the last `dispositions` or a few more."""
        if self._epochs.get(counted) != epoch:
            self._epochs[counted] = epoch
            self._recent[counted] = deque([self._begun.get(counted[1], NOTHING_RECENT)])
        recent = self._recent[counted]
        recent.append((bad, good + bad))
        total = sum(count for _, count in recent)
        while total - recent[0][1] >= self._limits.dispositions:
            total -= recent.popleft()[1]
        return sum(letters for letters, _ in recent), total
