"""Redrives of a dataset take turns, by compare-and-swap on one object. Two at once would send letters twice.

    take    nobody's turn, or its holder has been silent for LEASE_S   --> ours, beat 0
            somebody's                                                 --> busy: watch its generation for LEASE_S
    keep    at least every RENEW_S: beat + 1. Refused: somebody took over, stop
    end     nobody's turn

No two clocks are compared: whoever waits sees by its own clock that the object has not changed. A holder that was
frozen for longer than the lease finds out at its next `keep`; what it had under way by then it still resolves, so a
letter that its successor sent as well is known by its two resolutions.

The object also remembers from which raw offsets on a redrive that did not end well may have left records without a
resolution. The next one looks there first (`Redrive.recover`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamlake.domain.errors import GenerationChanged, ObjectMissing, SettingsInvalid, StoreUnavailable, TopicMissing
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.redrives import RedriveTurn, redrive_turn, turn_name
from streamlake.domain.ports.event_log import LogAdmin
from streamlake.domain.ports.object_store import ObjectStore

LEASE_S = 30.0
"""The longest append (the writer's delivery timeout and its slack, 25 s), begun as late as `RENEW_S` after a beat."""

RENEW_S = 5.0
"""GCS takes one write a second per object."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else's turn. Where `generation` stays what it is for `LEASE_S`, its holder is dead."""

    by: str
    at: str
    generation: int


class RedriveTurns:
    """The turn of one dataset, as one process sees it. One thread only. Raises the errors of store and log."""

    def __init__(self, dataset: str, store: ObjectStore, admin: LogAdmin) -> None:
        self._name = turn_name(dataset)
        self._topic = raw_topic(dataset)
        self._store = store
        self._admin = admin
        self._generation = 0
        self._renewed = 0.0
        self._tried = 0.0

    def take(self, run_id: str, by: str, at: str, monotonic: float, *, silent: int | None = None) -> RedriveTurn | Busy:
        """Take the turn, or learn whose it is. `silent`: a generation that has not changed for `LEASE_S`."""
        generation, before = self._read()
        if before is not None and before.running and generation != silent:
            return Busy(before.by, before.at, generation)
        turn = self._next(before, run_id, by, at)
        try:
            self._write(turn, generation, monotonic)
        except GenerationChanged:
            generation, winner = self._read()
            return Busy(winner.by, winner.at, generation) if winner else Busy("somebody", at, generation)
        return turn

    def keep(self, turn: RedriveTurn, monotonic: float) -> RedriveTurn:
        """Renew the turn where it is time to. Raises `GenerationChanged` where somebody else has it now, and
        `StoreUnavailable` only once half the lease is over."""
        if monotonic - self._tried < RENEW_S:
            return turn
        renewed = replace(turn, beat=turn.beat + 1)
        try:
            self._rewrite(renewed, monotonic)
        except StoreUnavailable:
            if monotonic - self._renewed >= LEASE_S / 2:
                raise
            return turn
        return renewed

    def end(self, turn: RedriveTurn, *, settled: bool) -> None:
        """Give the turn back. Unless `settled`, the next one looks for records without a resolution."""
        unsettled = () if settled else turn.unsettled
        self._rewrite(replace(turn, running=False, unsettled=unsettled), self._renewed)

    def _next(self, before: RedriveTurn | None, run_id: str, by: str, at: str) -> RedriveTurn:
        info = self._admin.topics([self._topic]).get(self._topic)
        if info is None:
            raise TopicMissing(f"{self._topic}: does not exist; `streamlake topics provision` makes it")
        marks = self._admin.watermarks([TopicPartition(self._topic, number) for number in range(info.partitions)])
        since = {lane.partition: mark.high for lane, mark in marks.items()}
        unsettled: tuple[str, ...] = (run_id,)
        if before is not None and before.unsettled and before.topic_id == info.topic_id:
            # A partition that was not there then may hold their records from its start on.
            since = {number: before.since.get(number, 0) for number in since}
            unsettled = (*before.unsettled, run_id)
        return RedriveTurn(run_id, by, at, True, info.topic_id, since, unsettled)

    def _read(self) -> tuple[int, RedriveTurn | None]:
        try:
            info, body = self._store.read(self._name)
        except ObjectMissing:
            return 0, None
        try:
            return info.generation, redrive_turn(body)
        except ValueError as malformed:
            raise SettingsInvalid(f"{self._name}: {malformed}") from None

    def _rewrite(self, turn: RedriveTurn, monotonic: float) -> None:
        try:
            self._write(turn, self._generation, monotonic)
        except GenerationChanged:
            generation, found = self._read()
            if found is None or found.run_id != turn.run_id:
                told = f"{self._name}: another redrive has taken over, since this one was silent for {LEASE_S:.0f} s"
                raise GenerationChanged(told) from None
            # It was this very process, by an attempt whose answer was lost.
            self._write(turn, generation, monotonic)

    def _write(self, turn: RedriveTurn, generation: int, monotonic: float) -> None:
        self._tried = monotonic
        written = self._store.replace(
            self._name, turn.to_json(), content_type="application/json", if_generation=generation
        )
        self._generation, self._renewed = written.generation, monotonic
