"""Wrong ways to consume: letters, commits, owners and starts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tests.simulation.mutants import Patches, mutant
from tests.simulation.ports import SimulatedWriter

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.positions import Offsets, Position, TopicPartition, Watermarks
from streamlake.domain.model.records import Appended, RecordBatch
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.use_cases import land_records, raw_zone, start_positions
from streamlake.domain.use_cases.land_records import LandRecords, LandSnapshots
from streamlake.domain.use_cases.start_positions import Start, StartPositions
from streamlake.entrypoints import consumer_daemon
from streamlake.entrypoints.consumer_daemon import DatasetConsumer
from streamlake.entrypoints.landing_thread import LandingThread, Settled


@mutant("positions are committed as soon as they were read")
def commit_first(patches: Patches) -> None:
    def receive(right: Any) -> Any:
        def wrong(self: DatasetConsumer, sealed: Sequence[Snapshot]) -> None:
            for snapshot in sealed:
                self._to_commit.update(self._core.settled(snapshot))
            right(self, sealed)

        return wrong

    patches.wrap(DatasetConsumer, "_submit", receive)


@mutant("a snapshot counts as landed when the first of its dates is")
def commit_on_partial_landing(patches: Patches) -> None:
    def land(right: Any) -> Any:
        def wrong(self: LandSnapshots, snapshot: Snapshot, now: Any) -> None:
            try:
                right(self, snapshot, now)
            except StreamLakeError:
                if not snapshot.parts:
                    raise

        return wrong

    patches.wrap(LandSnapshots, "land", land)


@mutant("letters are sent and not waited for")
def letters_not_awaited(patches: Patches) -> None:
    def append(right: Any) -> Any:
        def wrong(self: SimulatedWriter, records: Sequence[Any]) -> Sequence[Any]:
            right(self, records)
            return [Appended("dlq", 0, 0)] * len(records)

        return wrong

    patches.wrap(SimulatedWriter, "append_and_wait", append)


@mutant("letters that failed are forgotten")
def letters_dropped_on_a_fault(patches: Patches) -> None:
    def send(right: Any) -> Any:
        def wrong(self: LandSnapshots, snapshot: Snapshot, now: Any) -> None:
            try:
                right(self, snapshot, now)
            except StreamLakeError:
                snapshot.letters.clear()
                raise

        return wrong

    patches.wrap(LandSnapshots, "_send_letters", send)


@mutant("letters are sent after the parts that claim them")
def letters_after_parts(patches: Patches) -> None:
    def land(right: Any) -> Any:
        def wrong(self: LandSnapshots, snapshot: Snapshot, now: Any) -> None:
            held, snapshot.letters = snapshot.letters, []
            try:
                right(self, snapshot, now)
            finally:
                snapshot.letters = held
            self._send_letters(snapshot, now)

        return wrong

    patches.wrap(LandSnapshots, "land", land)


@mutant("a record is lettered though it has landed: another contract wins")
def letter_although_landed(patches: Patches) -> None:
    patches.set(LandSnapshots, "_has_landed", lambda self, letter: False)


@mutant("the topic's id is not looked at before landing")
def topic_id_not_checked(patches: Patches) -> None:
    patches.set(LandSnapshots, "_check_topic", lambda self, snapshot: None)


@mutant("a commit is made once and never again")
def no_re_assert(patches: Patches) -> None:
    patches.set(consumer_daemon, "REASSERT_S", 1e9)


@mutant("what is not owned any more is committed all the same, and what is owned again too")
def assignment_epoch_ignored(patches: Patches) -> None:
    patches.set(LandRecords, "still_owned", lambda self, snapshot: list(snapshot.spans))


@mutant("a partition that was lost is still read into the open snapshot and committed")
def loss_not_honoured(patches: Patches) -> None:
    def lost(self: DatasetConsumer, partitions: Sequence[TopicPartition]) -> None:
        """Go on."""

    patches.set(DatasetConsumer, "lost", lost)


@mutant("snapshots that cannot be landed are settled as if they were")
def dropped_is_settled(patches: Patches) -> None:
    def take(right: Any) -> Any:
        return lambda self, done: right(self, Settled(done.snapshot))

    patches.wrap(DatasetConsumer, "_settle_one", take)


@mutant("of two snapshots settled together the older is settled last")
def settled_out_of_order(patches: Patches) -> None:
    def settle(self: DatasetConsumer) -> None:
        found = []
        while not self._landing.settled.empty():
            found.append(self._landing.settled.get())
        for done in reversed(found):
            self._settle_one(done)

    patches.set(DatasetConsumer, "_settle", settle)


@mutant("a landing that fails is given up for landed after the first attempt")
def no_retry(patches: Patches) -> None:
    def land(self: LandingThread, snapshot: Snapshot) -> None:
        with suppress(StreamLakeError):
            self._landing.land(snapshot, self._clock.now())
        self.settled.put(Settled(snapshot))

    patches.set(LandingThread, "_land", land)


@mutant("the committed offset is the start, whose topic id it names or not")
def start_without_topic_id(patches: Patches) -> None:
    def decide(right: Any) -> Any:
        def wrong(
            self: StartPositions, source: TopicPartition, topic_id: str, marks: Watermarks, committed: Position | None
        ) -> Any:
            if committed is not None and marks.low <= committed.offset <= marks.high:
                return Start(committed.offset, committed.offset)
            return right(self, source, topic_id, marks, committed)

        return wrong

    patches.wrap(StartPositions, "decide", decide)


@mutant("with no usable commit it starts at the end of the log")
def start_at_the_end(patches: Patches) -> None:
    def by_frontier(self: Any, source: Any, topic_id: str, marks: Watermarks, committed: Position | None) -> Start:
        return Start(marks.high, marks.high)

    patches.set(StartPositions, "_by_frontier", by_frontier)


@mutant("the frontier is the end of the highest row, holes or not")
def frontier_over_holes(patches: Patches) -> None:
    def frontier(done: Any, low: int) -> int:
        runs = list(done)
        return max(low, runs[-1][1]) if runs else low

    patches.set(start_positions, "_frontier", frontier)


@mutant("letters do not count for the frontier: it halts before every one of them")
def frontier_without_letters(patches: Patches) -> None:
    patches.set(StartPositions, "_lettered", lambda self, lane: iter(()))


@mutant("replayed rows count for the frontier")
def frontier_of_replays(patches: Patches) -> None:
    def read(right: Any) -> Any:
        def wrong(found: Any) -> Any:
            return replace(right(found), replay_id=None)

        return wrong

    patches.wrap(raw_zone, "read_part_info", read)


@mutant("a commit does not say whose offsets they are")
def commit_without_metadata(patches: Patches) -> None:
    patches.set(land_records, "commit_metadata", lambda topic_id, recent=None: "")


@mutant("the position committed is the last record's, not the next one's")
def commit_the_last_offset(patches: Patches) -> None:
    def settled(right: Any) -> Any:
        return lambda self, snapshot: {
            source: Position(max(0, at.offset - 1), at.metadata) for source, at in right(self, snapshot).items()
        }

    patches.wrap(LandRecords, "settled", settled)


@mutant("what a topic made anew does not hold at an offset is taken for the old one's markers")
def believe_the_log_of_another_topic(patches: Patches) -> None:
    def wrong(self: StartPositions, source: TopicPartition, topic_id: str, done: Offsets, start: int, end: int) -> int:
        found = (offset for batch in self._reader.read(source, start, end) for offset in batch.offsets)
        return next((offset for offset in found if offset not in done), end)

    patches.set(StartPositions, "_first_not_done", wrong)


@mutant("a partition that comes while the memory budget is used up is read all the same")
def read_on_without_memory(patches: Patches) -> None:
    def read_from(right: Any) -> Any:
        def wrong(self: DatasetConsumer, source: TopicPartition, topic_id: str, offset: int) -> None:
            right(self, source, topic_id, offset)
            self._subscription.resume([source])

        return wrong

    patches.wrap(DatasetConsumer, "_read_from", read_from)


@mutant("the first record after a start is skipped: the offset is taken for the last one read")
def start_after_the_committed_offset(patches: Patches) -> None:
    def receive(right: Any) -> Any:
        def wrong(self: LandRecords, batch: RecordBatch, now: float) -> Any:
            owned = self._owned.get(batch.source)
            if owned is not None and owned.position == batch.offsets[0] and len(batch) > 1 and owned.position:
                owned.position += 1
            return right(self, batch, now)

        return wrong

    patches.wrap(LandRecords, "receive", receive)
