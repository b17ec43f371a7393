"""Does to a world what a plan says: a thread per lane, so that the lanes' deeds overlap."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

from confluent_kafka.admin import AdminClient
from tests.integration.faulty import FaultyWorld
from tests.integration.system import poison
from tests.services.faults import DENIED, Fault
from tests.services.kafka import KafkaService
from tests.torture.fleet import Diary, Member
from tests.torture.plan import Plan, Step

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.records import Appended, OutgoingRecord

OFFSETS = "__consumer_offsets"
ARMED_S = 30.0
"""How long the end waits for a fault that has not befallen anybody yet."""


class Storms:
    """One plan on its way. `run` returns when the last lane is through; everything it stopped goes on by then."""

    def __init__(
        self, plan: Plan, world: FaultyWorld, kafka: KafkaService, members: Mapping[str, Member], diary: Diary
    ) -> None:
        self.broken: list[str] = []
        self.straight: list[Appended] = []
        """Where records written past the API are, as far as that was answered."""
        self._plan = plan
        self._world = world
        self._kafka = kafka
        self._members = members
        self._diary = diary
        self._over = threading.Event()
        self._began = 0.0
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})

    def run(self) -> None:
        """From now on."""
        self._began = time.monotonic()
        deeds: dict[str, Callable[[Step], None]] = {
            name: lambda step, member=member: self._process(member, step)  # type: ignore[misc]
            for name, member in self._members.items()
        }
        deeds |= {"broker": self._broker, "topic": self._topic, "store": self._storm}
        lanes = [threading.Thread(target=self._lane, args=(deeds[name], steps)) for name, steps in self._plan.items()]
        lanes += [threading.Thread(target=self._ends_of_storms, args=(self._plan["store"],))]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()

    def append(self, records: Sequence[OutgoingRecord]) -> None:
        """Write past the API. What is not answered may be in the log or not."""
        outcomes = self._world.writer.append_and_wait(records)
        self.straight += [outcome for outcome in outcomes if isinstance(outcome, Appended)]

    def _lane(self, deed: Callable[[Step], None], steps: Sequence[Step]) -> None:
        for step in steps:
            self._wait_for(step.at)
            try:
                deed(step)
            except Exception as e:  # noqa: BLE001 - a lane that ends early would make a mild run look like a hard one
                self.broken.append(f"{step.deed}: {type(e).__name__}: {e}")

    def _wait_for(self, at: float) -> None:
        self._over.wait(max(0.0, self._began + at - time.monotonic()))

    def _process(self, member: Member, step: Step) -> None:
        deed = {"kill": member.kill, "term": member.term}.get(step.deed, member.stop)
        deed(step.length, self._over)

    # --- the log -----------------------------------------------------------------------------------------------------

    def _broker(self, step: Step) -> None:
        how, _, role = step.deed.partition("-")
        number = {"leader": self._leader, "coordinator": self._coordinator}.get(role, lambda: 0)()
        self._diary.note(f"broker-{number + 1}", step.deed, f"{step.length:.1f} s")
        (self._kafka.kill if how == "kill" else self._kafka.pause)(number)
        self._over.wait(step.length)
        (self._kafka.restart if how == "kill" else self._kafka.resume)(number)
        self._diary.note(f"broker-{number + 1}", "back")

    def _leader(self) -> int:
        return self._leader_of(raw_topic(self._world.dataset), 0)

    def _coordinator(self) -> int:
        """The group's: the leader of its partition among Kafka's own offsets, by Java's hash of its name. (To describe
        the group could abort this process, see `FaultyWorld.committed`.)"""
        signed = reduce(lambda found, character: (31 * found + ord(character)) & 0xFFFFFFFF, self._world.group, 0)
        positive = (signed if signed < 2**31 else 2**32 - signed) & 0x7FFFFFFF
        partitions = len(self._admin.list_topics(OFFSETS, timeout=10).topics[OFFSETS].partitions)
        return self._leader_of(OFFSETS, positive % partitions)

    def _leader_of(self, topic: str, partition: int) -> int:
        leader: int = self._admin.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader
        return leader - 1

    def _topic(self, step: Step) -> None:
        if step.deed == "poison":
            self.append(poison(self._world.dataset, int(time.time() * 1000)))
            self._diary.note("topic", "poison")
            return
        deadline = time.monotonic() + ARMED_S
        while True:
            try:
                total = len(self._world.lanes) + 2
                self._world.admin.add_partitions(raw_topic(self._world.dataset), total)
            except Exception:
                if time.monotonic() > deadline:
                    raise
                self._over.wait(0.5)  # the broker may just be down
            else:
                self._diary.note("topic", "grow", str(total))
                return

    # --- the store ---------------------------------------------------------------------------------------------------

    def _storm(self, step: Step) -> None:
        fault = Fault(step.deed)
        self._diary.note("store", fault.value, f"{step.length:.1f} s at {step.chance}")
        if fault in DENIED:
            self._world.faults.begin(fault, times=1)
        else:
            self._world.faults.begin(fault, step.chance)

    def _ends_of_storms(self, steps: Sequence[Step]) -> None:
        faults = self._world.faults
        for step in sorted(steps, key=lambda step: step.end):
            fault = Fault(step.deed)
            if fault not in DENIED:
                self._wait_for(step.end)
                faults.end(fault)
                if not faults.counts[fault]:
                    faults.begin(fault, times=1)  # it befell nobody yet: the next request it fits
        deadline = time.monotonic() + ARMED_S
        while time.monotonic() < deadline and any(not faults.counts[fault] for fault in Fault):
            time.sleep(0.1)
        faults.end()
