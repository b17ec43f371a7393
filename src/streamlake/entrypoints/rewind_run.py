"""A rewind as it runs: stop the consumers, put their group back, let them go, and fill what they leave.

    take --> stop order, renewed --> group empty? --> blocks stored --> offsets altered --> order taken back
         --> consumers land the range and jump --> what is missing is filled by a bounded attempt --> released

Interrupted anywhere, the next attempt finds in `ops/rewind/<dataset>.json` how far it was. Nothing rests on the order
being obeyed: Kafka does not alter the offsets of a group that has members.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from streamlake.domain.errors import GroupActive, ReplayRefused, StreamLakeError, WorldFault
from streamlake.domain.model.replay_plans import ReplayPlan
from streamlake.domain.model.times import epoch_ms, rfc3339
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import LogAdmin
from streamlake.domain.use_cases.control import Control, StopOrder
from streamlake.domain.use_cases.replay import check_topic
from streamlake.domain.use_cases.replay_records import ABORTED, FAILED, INTERRUPTED, Counts, ReplayRecords, RunRecord
from streamlake.domain.use_cases.rewind import (
    RELEASED,
    RESET,
    REWRITING,
    STOPPING,
    Rewind,
    RewindState,
    RewindStates,
)
from streamlake.entrypoints.bounded_replay import BoundedRun

LEASE = timedelta(minutes=10)
RENEW_S = 60.0
EMPTY_S = 90.0
"""Consumers leave within 30 s of the order, which they see within 5; one that was killed stays for its session."""

STALLED_S = 60.0
"""Consumers that bring a rewound group no further for so long are not waited for any more."""

ALONE_S = 15.0
"""The same, while the group has no members at all: they have to come back from standing by."""

POLL_S = 0.5

_log = structlog.get_logger("streamlake.replay")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RewindParts:
    """What it is made of (`container` builds it)."""

    admin: LogAdmin
    control: Control
    states: RewindStates
    rewind: Rewind
    records: ReplayRecords
    clock: Clock
    stop: threading.Event
    fill: BoundedRun


class Interrupted(WorldFault):
    """A signal came: `streamlake replay resume` goes on."""


class RewindRun:
    """One attempt to carry out a stored rewind, in this process."""

    def __init__(self, plan: ReplayPlan, parts: RewindParts, by: str, say: Say) -> None:
        self._plan = plan
        self._parts = parts
        self._by = by
        self._say = say
        self._renewed = float("-inf")
        self._order_stands = True  # that of an attempt before may

    def run(self, fill: Callable[[BoundedRun], RunRecord]) -> RunRecord:
        """Carry it out, or what is left of it; `fill` runs the bounded attempt at the end. Raises `ReplayRefused` where
        another rewind has the dataset."""
        done = self._parts.fill.complete_already()
        state = self._parts.states.find(self._plan.dataset)
        if done is not None and not (state is not None and state.held and state.replay_id == self._plan.replay_id):
            return done
        state = self._parts.states.take(self._plan, self._by, self._now())
        try:
            check_topic(self._plan, self._parts.admin)
            if state.state != REWRITING:
                state = self._put_the_group_back(state)
            self._wait_for_the_consumers(state)
        except Interrupted as signal:
            self._try_to_go_on()
            return self._record(INTERRUPTED, str(signal))
        except StreamLakeError as fault:
            self._try_to_go_on()
            self._release_untouched()
            return self._record(FAILED, f"{type(fault).__name__}: {fault}")
        outcome = fill(self._parts.fill)
        return outcome if outcome.state in (FAILED, INTERRUPTED) else self._end(state, outcome)

    def abort(self) -> RunRecord:
        """Put the group to where it goes on live, and give it up. What has landed stays. Raises `ReplayRefused` where
        this rewind does not have the dataset."""
        state = self._parts.states.find(self._plan.dataset)
        if state is None or not state.held or state.replay_id != self._plan.replay_id:
            raise ReplayRefused(f"replay {self._plan.replay_id}: is not being carried out, there is nothing to abort")
        try:
            if state.blocks and self._parts.rewind.rewound(self._plan, state.blocks):
                self._with_an_empty_group(lambda: self._parts.rewind.put_back(self._plan, state.blocks))
            self._go_on()
        except StreamLakeError as fault:
            self._try_to_go_on()
            return self._record(FAILED, f"abort: {type(fault).__name__}: {fault}")
        self._release(state)
        return self._record(ABORTED, "aborted; what has landed stays, the group goes on live")

    def _end(self, state: RewindState, outcome: RunRecord) -> RunRecord:
        """It is over when nothing keeps the consumers from going on, and the next rewind may begin."""
        try:
            self._go_on()
        except StreamLakeError as fault:
            why = "everything has landed, but the consumers still stand by"
            return self._record(FAILED, f"{why}: {type(fault).__name__}: {fault}")
        self._release(state)
        return outcome

    def _put_the_group_back(self, state: RewindState) -> RewindState:
        """Steps 1 to 3: the group is empty, and its offsets carry the replay."""
        parts, plan = self._parts, self._plan
        if state.state == STOPPING:
            self._empty_the_group()
            blocks = parts.rewind.blocks(plan)
            state = parts.states.move(replace(state, state=RESET, blocks=blocks))
        self._with_an_empty_group(lambda: parts.rewind.reset(plan, state.blocks))
        return parts.states.move(replace(state, state=REWRITING))

    def _with_an_empty_group(self, alter: Callable[[], bool]) -> None:
        """A consumer that does not obey may join in between: then once more."""
        while True:
            self._empty_the_group()
            try:
                if alter():
                    return
                self._say("the group's offsets were changed by somebody else; once more")
            except GroupActive:
                self._say("a consumer has joined; once more")

    def _empty_the_group(self) -> None:
        """Steps 1 and 2. Raises `GroupActive`, naming the members, where they do not leave in time."""
        deadline = self._parts.clock.monotonic() + EMPTY_S
        self._say("waiting for the consumers to leave the group")
        while True:
            self._renew()
            members = self._parts.rewind.members()
            if members is None:
                return
            if self._parts.clock.monotonic() > deadline:
                raise GroupActive(f"{self._plan.dataset}: did not leave in {EMPTY_S:.0f} s: {', '.join(members)}")
            self._wait()

    def _wait_for_the_consumers(self, state: RewindState) -> None:
        """Step 4: they may go on; until no position carries the replay any more, or nothing moves."""
        clock, rewind = self._parts.clock, self._parts.rewind
        last: dict[int, int] = {}
        since = clock.monotonic()
        self._try_to_go_on()
        while left := rewind.rewound(self._plan, state.blocks):
            now = clock.monotonic()
            if left != last:
                last, since = left, now
                behind = sum(state.blocks[p].until - at for p, at in left.items())
                self._say(f"consumers have {behind:,} offsets of {len(left)} partitions to land")
            alone = rewind.members() is None
            if now - since > (ALONE_S if alone else STALLED_S):
                self._say("no consumer lands it; filling it from here")
                if alone:
                    self._put_back_if_empty(state)
                return
            self._wait()
            self._try_to_go_on()

    def _put_back_if_empty(self, state: RewindState) -> None:
        """Without consumers nobody would jump: what is filled from here need not be read by them again."""
        try:
            self._parts.rewind.put_back(self._plan, state.blocks)
        except GroupActive:
            self._say("a consumer has joined; it lands what is left, too")

    def _renew(self) -> None:
        """The order is a lease: it ends by itself if this process does."""
        now = self._parts.clock.monotonic()
        if now - self._renewed < RENEW_S:
            return
        moment = self._parts.clock.now()
        until = epoch_ms(moment + LEASE)
        order = StopOrder(self._plan.replay_id, until, self._by, rfc3339(moment))
        self._order_stands = True
        self._parts.control.stop(self._plan.dataset, order, epoch_ms(moment))
        self._renewed = now

    def _go_on(self) -> None:
        """Take this replay's order back, also one of an attempt that was killed. Raises the log's errors."""
        if not self._order_stands:
            return
        control, dataset, moment = self._parts.control, self._plan.dataset, self._parts.clock.now()
        order = control.stop_order(dataset)
        if order is not None and order.replay_id == self._plan.replay_id:
            control.go_on(dataset, self._by, rfc3339(moment), epoch_ms(moment))
        self._renewed = float("-inf")
        self._order_stands = False

    def _try_to_go_on(self) -> None:
        """The same, where it is tried again later, or the order may expire."""
        try:
            self._go_on()
        except StreamLakeError as fault:
            replay_id = self._plan.replay_id
            _log.warning("the order to stop could not be taken back yet", replay_id=replay_id, error=str(fault))

    def _release(self, state: RewindState) -> None:
        self._parts.states.move(replace(state, state=RELEASED))

    def _release_untouched(self) -> None:
        """Before any offset was known, let alone altered, the next rewind need not wait for this one."""
        if self._order_stands:
            return
        state = self._parts.states.find(self._plan.dataset)
        if state is not None and state.replay_id == self._plan.replay_id and state.state == STOPPING:
            self._release(state)

    def _record(self, outcome: str, reason: str) -> RunRecord:
        log = self._parts.records.begin(self._plan.replay_id, self._by, self._now())
        counts = Counts()
        with suppress(StreamLakeError):  # not known just now
            counts = self._parts.fill.counts()
        return log.update(self._now(), state=outcome, reason=reason, counts=counts)

    def _wait(self) -> None:
        if self._parts.stop.wait(POLL_S):
            replay_id = self._plan.replay_id
            again, back = f"`streamlake replay resume {replay_id}`", f"`streamlake replay abort {replay_id}`"
            raise Interrupted(f"stopped; {again} goes on, {back} puts it back")

    def _now(self) -> str:
        return rfc3339(self._parts.clock.now())
