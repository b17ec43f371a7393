"""Rewinds, whole, on the embedded log and store: with a consumer in this process, interrupted after every deed."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.entrypoints.lake import BAD, DATASET, RAW, STAMPS, Lake, places

from streamlake.domain.errors import GroupActive, LogUnavailable, ReplayRefused
from streamlake.domain.model.contracts import consumer_group
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.replay_plans import REWIND, ReplayRequest
from streamlake.domain.model.selections import Selection
from streamlake.domain.model.snapshots import commit_metadata, committed_replay
from streamlake.domain.use_cases.control import Control
from streamlake.domain.use_cases.provision_topics import ProvisionTopics
from streamlake.domain.use_cases.replay_records import ABORTED, COMPLETE, FAILED, Counts, RunRecord
from streamlake.domain.use_cases.rewind import Rewind, RewindStates
from streamlake.entrypoints import rewind_run
from streamlake.entrypoints.consumer_daemon import DatasetConsumer

GROUP = consumer_group(DATASET)
LANES = [TopicPartition(RAW, n) for n in range(2)]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Three hundred records, all landed and committed, and a control topic."""
    monkeypatch.setattr(rewind_run, "ALONE_S", 0.0)
    monkeypatch.setattr(rewind_run, "POLL_S", 0.02)
    made = Lake(tmp_path, memory=False, max_age_s=0.2)
    provision: ProvisionTopics = made.container.provision()
    provision.apply(provision.plan())
    made.put(0, STAMPS[:200], {7: BAD})
    made.put(1, STAMPS[:100])
    made.land_live()
    live = {lane: Position(end, commit_metadata(made.topic_id)) for lane, end in zip(LANES, (200, 100), strict=True)}
    made.admin.alter_group_offsets(GROUP, live)
    return made


def stored(lake: Lake, replay_id: str, selection: Selection = Selection({0: (5, 150)})) -> None:  # noqa: B008 - frozen
    request = ReplayRequest(replay_id, DATASET, selection, REWIND)
    [plan] = lake.container.replay().plan(DATASET, [request], by="test")
    lake.container.replay().store(plan)


def run(lake: Lake, replay_id: str) -> RunRecord:
    return lake.container.replay().run(replay_id, by="test")


def held(lake: Lake) -> str | None:
    """The rewind that has the group."""
    state = RewindStates(lake.container.object_store()).find(DATASET)
    return state.replay_id if state is not None and state.held else None


def committed(lake: Lake) -> dict[int, Position]:
    return {lane.partition: at for lane, at in lake.admin.group_offsets(GROUP, LANES).items()}


@contextmanager
def consuming(lake: Lake) -> Iterator[DatasetConsumer]:
    """A consumer of the dataset, with a watcher that looks often."""
    consumer = lake.container.consumer(DATASET)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            consumer.watch(lake.topic_id, {}, {}, [])

    threads = [threading.Thread(target=consumer.run, args=(stop,)), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    try:
        yield consumer
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_consumers_land_the_range_and_go_on_where_they_were(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewind_run, "ALONE_S", 30.0)
    before = lake.parts()
    stored(lake, "r")
    with consuming(lake) as consumer:
        wait_for(lambda: len(consumer.owned) == 2)
        outcome = run(lake, "r")
        lake.put(0, STAMPS[:50])
        wait_for(lambda: committed(lake)[0].offset == 250)
    assert (outcome.state, outcome.counts) == (COMPLETE, Counts(145, 144, 1))
    assert lake.rows("r") == places((0, [n for n in range(5, 150) if n != 7]))
    assert lake.rows() == places((0, [n for n in range(250) if n != 7]), (1, range(100)))
    assert (lake.letters(), lake.letters("r")) == ([(0, 7)], [(0, 7)])
    assert lake.parts().items() >= before.items()
    assert committed(lake)[0] == Position(250, commit_metadata(lake.topic_id))
    made = [p.info.writer for p in lake.container.raw_zone(DATASET).parts() if p.info.replay_id == "r"]
    assert made


def test_without_consumers_it_is_filled_from_here_and_the_group_is_put_back(lake: Lake) -> None:
    stored(lake, "r")
    before = committed(lake)
    assert run(lake, "r").counts == Counts(145, 144, 1)
    assert committed(lake) == before
    parts = lake.parts()
    assert run(lake, "r").state == COMPLETE
    assert lake.parts() == parts


def test_while_it_is_stopped_a_consumer_is_not_ready_and_says_why(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(lake, "r")
    seen: list[list[str]] = []
    with consuming(lake) as consumer:
        wait_for(lambda: len(consumer.owned) == 2)
        reset = Rewind.reset

        def look_first(*arguments: Any) -> bool:
            seen.append(consumer.troubles)
            return reset(*arguments)

        monkeypatch.setattr(Rewind, "reset", look_first)
        assert run(lake, "r").state == COMPLETE
        wait_for(lambda: len(consumer.owned) == 2)
        assert consumer.troubles == []
    assert "orders: stopped for the rewind r by test since" in seen[0][0]


def test_members_that_do_not_leave_are_named_and_the_next_rewind_may_begin(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewind_run, "EMPTY_S", 0.3)
    stored(lake, "r")
    member = lake.container.event_log().subscriber().subscribe(GROUP, [RAW], _Silent())
    try:
        member.poll(1, 0.0)
        outcome = run(lake, "r")
        assert outcome.state == FAILED
        assert outcome.reason.startswith("GroupActive: orders: did not leave")
        assert lake.container.control().stop_order(DATASET) is None, "the order is taken back"
        assert held(lake) is None
    finally:
        member.close()


class _Silent:
    def assigned(self, partitions: object) -> dict[TopicPartition, int]:
        return {}

    def revoked(self, partitions: object) -> None: ...

    def lost(self, partitions: object) -> None: ...

    def failed(self, partition: object, fault: object) -> None: ...


class Crash(BaseException):
    """kill -9, as far as a thread can have it."""


DEEDS = [
    (RewindStates, "move"),
    (Control, "stop"),
    (Control, "go_on"),
    (Rewind, "reset"),
    (Rewind, "put_back"),
    (Rewind, "blocks"),
]


class Faulty:
    """Raises a fault, or ends the process by one, before or after the nth deed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int, fault: BaseException, *, after: bool) -> None:
        self.struck = False
        self._left = nth
        self._fault = fault
        self._after = after
        for owner, name in DEEDS:
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, deed: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            due = self._left == 0
            if due and not self._after:
                self.struck = True
                raise self._fault
            done = deed(*arguments, **named)
            if due:
                self.struck = True
                raise self._fault
            return done

        return faulty


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("end", ["resume", "abort"])
@pytest.mark.parametrize(
    ("fault", "least"), [(Crash(), 7), (LogUnavailable("control: not there"), 4)], ids=["killed", "log away"]
)
def test_interrupted_at_any_deed_it_can_be_completed_or_aborted(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, fault: BaseException, least: int, after: bool, end: str
) -> None:
    """The log is away for one deed, or the command ends there: whatever has ended has taken its order back."""
    interrupted = 0
    for nth in range(1, 20):
        replay_id = f"r{nth}"
        stored(lake, replay_id)
        before = committed(lake)
        with monkeypatch.context() as patched:
            faulty = Faulty(patched, nth, fault, after=after)
            interrupted += not completes(lake, replay_id)
        if not faulty.struck:
            break
        if end == "resume":
            assert run(lake, replay_id).state == COMPLETE
            assert lake.rows(replay_id) == places((0, [n for n in range(5, 150) if n != 7]))
        else:
            if held(lake) == replay_id:
                assert lake.container.replay().abort(replay_id, by="test").state == ABORTED
        assert committed(lake) == before
        assert held(lake) is None
        assert lake.container.control().stop_order(DATASET) is None, "consumers stand by for a rewind that has ended"
    assert interrupted >= least


def completes(lake: Lake, replay_id: str) -> bool:
    try:
        return run(lake, replay_id).state == COMPLETE
    except (Crash, LogUnavailable):
        return False


@pytest.mark.parametrize("end", ["resume", "abort"])
def test_it_has_not_ended_while_its_order_stands(lake: Lake, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Consumers would stand by for minutes for a replay that is complete, or given up."""

    def away(*_: object) -> None:
        raise LogUnavailable("control: not there")

    stored(lake, "r")
    with monkeypatch.context() as patched:
        patched.setattr(Control, "go_on", away)
        outcome = run(lake, "r")
        assert (outcome.state, held(lake)) == (FAILED, "r")
        assert "stand by" in outcome.reason
        if end == "abort":
            assert lake.container.replay().abort("r", by="test").state == FAILED
            assert held(lake) == "r"
    if end == "abort":
        assert lake.container.replay().abort("r", by="test").state == ABORTED
    else:
        assert run(lake, "r").state == COMPLETE
    assert held(lake) is None
    assert lake.container.control().stop_order(DATASET) is None


def test_an_order_that_could_not_be_taken_back_at_once_is_taken_back_soon(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its consumers come back to land the range: it is not left to the command, which would wait for them in vain."""
    monkeypatch.setattr(rewind_run, "ALONE_S", 30.0)
    go_on, calls = Control.go_on, itertools.count(1)

    def away_once(*arguments: Any) -> None:
        if next(calls) == 1:
            raise LogUnavailable("control: not there")
        go_on(*arguments)

    monkeypatch.setattr(Control, "go_on", away_once)
    stored(lake, "r")
    with consuming(lake) as consumer:
        wait_for(lambda: len(consumer.owned) == 2)
        assert run(lake, "r").state == COMPLETE
    made = {p.info.writer for p in lake.container.raw_zone(DATASET).parts() if p.info.replay_id == "r"}
    assert len(made) == 1
    assert next(calls) == 3


def test_another_rewind_of_the_dataset_is_refused_until_the_first_has_ended(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(lake, "first")
    stored(lake, "second")
    with monkeypatch.context() as patched:
        faulty = Faulty(patched, 4, Crash(), after=True)
        with pytest.raises(Crash):
            run(lake, "first")
    assert faulty.struck
    with pytest.raises(ReplayRefused, match="is being rewound for replay first"):
        run(lake, "second")
    assert lake.container.replay().abort("first", by="test").state == ABORTED
    assert run(lake, "second").state == COMPLETE


def test_an_abort_where_nothing_is_under_way_is_refused(lake: Lake) -> None:
    stored(lake, "r")
    with pytest.raises(ReplayRefused, match="nothing to abort"):
        lake.container.replay().abort("r", by="test")


def test_a_consumer_that_finds_a_block_without_a_plan_halts(lake: Lake) -> None:
    forged = commit_metadata(lake.topic_id).replace("null", '{"id":"nobody","until":50,"resume":200}')
    assert committed_replay(forged) is not None
    lake.admin.alter_group_offsets(GROUP, {LANES[0]: Position(5, forged)})
    with consuming(lake) as consumer:
        wait_for(lambda: consumer.halted)
        assert "nobody: there is no such replay" in consumer.halted[LANES[0]]
    assert committed(lake)[0].offset == 5


def test_a_stale_commit_takes_nothing_away(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody moves the group on in the middle: what consumers do not land then is filled from storage's account."""
    stored(lake, "r")

    def meddle(text: str) -> None:
        if "offsets of" in text:
            lake.admin.alter_group_offsets(GROUP, {LANES[0]: Position(200, commit_metadata(lake.topic_id))})

    outcome = lake.container.replay().run("r", by="test", say=meddle)
    assert (outcome.state, outcome.counts) == (COMPLETE, Counts(145, 144, 1))


def test_a_group_with_members_is_not_altered(lake: Lake) -> None:
    with consuming(lake) as consumer:
        wait_for(lambda: len(consumer.owned) == 2)
        with pytest.raises(GroupActive):
            lake.admin.alter_group_offsets(GROUP, {LANES[0]: Position(0)})
