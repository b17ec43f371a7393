"""Topics as the contracts want them; nothing is ever lowered or lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.worlds import DATASET, DLQ, RAW, Catalog, contract

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.event_log.memory.roles import MemoryAdmin
from streamlake.domain.errors import SettingsInvalid
from streamlake.domain.model.times import DAY_MS
from streamlake.domain.ports.event_log import LogAdmin, TopicInfo, TopicSpec
from streamlake.domain.use_cases.provision_topics import ProvisionTopics, TopicPlan

MIB = 1024 * 1024
CONTROL = "streamlake.control"


def admin() -> LogAdmin:
    return MemoryEventLog(ManualClock()).admin()


def provision(at: LogAdmin, **changes: Any) -> ProvisionTopics:
    return ProvisionTopics(Catalog(contract(**changes)), at, max_event_bytes=MIB)


def plans(at: LogAdmin, *, allow_repartition: bool = False, **changes: Any) -> dict[str, TopicPlan]:
    return {plan.spec.name: plan for plan in provision(at, **changes).plan(allow_repartition=allow_repartition)}


def apply(at: LogAdmin, **changes: Any) -> None:
    each = provision(at, **changes)
    each.apply(each.plan())


def test_planning_does_nothing() -> None:
    at = admin()
    assert all(plan.create for plan in plans(at).values())
    assert at.topics() == {}


def test_every_dataset_has_its_two_topics_and_all_share_one_control_topic() -> None:
    at = admin()
    both = Catalog(contract(), contract(dataset="flights"))
    each = ProvisionTopics(both, at, max_event_bytes=MIB)
    each.apply(each.plan())
    flights = {"streamlake.flights.raw", "streamlake.flights.dlq"}
    assert set(at.topics()) == {RAW, DLQ, CONTROL} | flights


def test_what_was_provisioned_needs_nothing_more() -> None:
    at = admin()
    apply(at)
    found = plans(at)
    assert not any(plan.changes or plan.refused for plan in found.values())
    apply(at)


def test_topics_have_the_settings_that_the_promises_rest_on() -> None:
    at = admin()
    apply(at, partitions=3, raw_retention_ms=20 * DAY_MS)
    raw, dlq, control = (at.topic_config(name) for name in (RAW, DLQ, CONTROL))
    assert {name: info.partitions for name, info in at.topics().items()} == {RAW: 3, DLQ: 3, CONTROL: 1}
    assert (raw["retention.ms"], dlq["retention.ms"]) == (str(20 * DAY_MS), "-1")
    assert raw["message.timestamp.type"] == "CreateTime"
    assert int(raw["message.timestamp.before.max.ms"]) == 7 * DAY_MS
    assert int(raw["message.timestamp.after.max.ms"]) == 3_600_000
    assert int(raw["max.message.bytes"]) == 2 * MIB < int(dlq["max.message.bytes"])
    assert control["cleanup.policy"] == "compact"
    assert {each["unclean.leader.election.enable"] for each in (raw, dlq, control)} == {"false"}


def test_the_newest_contract_decides() -> None:
    catalog = Catalog(contract(1, partitions=2), contract(2, partitions=4))
    [raw, *_] = ProvisionTopics(catalog, admin(), max_event_bytes=MIB).plan()
    assert raw.spec.partitions == 4


@pytest.mark.parametrize(
    ("name", "safer", "wanted"),
    [
        ("retention.ms", str(90 * DAY_MS), 30 * DAY_MS),
        ("retention.ms", "-1", 30 * DAY_MS),
        ("max.message.bytes", str(9 * MIB), 30 * DAY_MS),
    ],
)
def test_nothing_is_ever_lowered(name: str, safer: str, wanted: int) -> None:
    at = admin()
    apply(at)
    at.configure_topic(RAW, {name: safer})
    found = plans(at, raw_retention_ms=wanted)[RAW]
    assert not found.changes
    assert name in found.refused[0]
    apply(at, raw_retention_ms=wanted)
    assert at.topic_config(RAW)[name] == safer


@pytest.mark.parametrize("wanted", [60 * DAY_MS, -1])
def test_a_longer_retention_is_set(wanted: int) -> None:
    at = admin()
    apply(at)
    assert plans(at, raw_retention_ms=wanted)[RAW].configure == {"retention.ms": str(wanted)}
    apply(at, raw_retention_ms=wanted)
    assert at.topic_config(RAW)["retention.ms"] == str(wanted)


def test_settings_nobody_asked_for_are_left_alone() -> None:
    at = admin()
    apply(at)
    at.configure_topic(RAW, {"segment.bytes": "12345678"})
    apply(at, raw_retention_ms=60 * DAY_MS)
    assert at.topic_config(RAW)["segment.bytes"] == "12345678"


def test_more_partitions_are_refused_without_the_flag() -> None:
    at = admin()
    apply(at, partitions=2)
    found = plans(at, partitions=4)[RAW]
    assert found.add_partitions is None
    assert "--allow-repartition" in found.refused[0]
    apply(at, partitions=4)
    assert at.topics([RAW])[RAW].partitions == 2


def test_more_partitions_are_added_with_the_flag() -> None:
    at = admin()
    apply(at, partitions=2)
    each = provision(at, partitions=4)
    each.apply(each.plan(allow_repartition=True))
    assert {name: info.partitions for name, info in at.topics().items()} == {RAW: 4, DLQ: 4, CONTROL: 1}


def test_fewer_partitions_are_refused_with_the_flag_too() -> None:
    at = admin()
    apply(at, partitions=4)
    found = plans(at, partitions=2, allow_repartition=True)[RAW]
    assert (found.changes, len(found.refused)) == (False, 1)


@pytest.mark.parametrize(
    ("raw", "dlq"),
    [(14 * DAY_MS, -1), (30 * DAY_MS, 37 * DAY_MS - 1), (-1, 365 * DAY_MS)],
    ids=["raw too short", "letters too short", "letters end before raw"],
)
def test_a_retention_that_breaks_a_promise_is_refused_before_anything_is_done(raw: int, dlq: int) -> None:
    at = admin()
    with pytest.raises(SettingsInvalid, match=DATASET):
        provision(at, raw_retention_ms=raw, dlq_retention_ms=dlq).plan()


@pytest.mark.parametrize(("raw", "dlq"), [(14 * DAY_MS + 1, -1), (30 * DAY_MS, 37 * DAY_MS), (-1, -1)])
def test_a_retention_that_keeps_the_promises_is_taken(raw: int, dlq: int) -> None:
    assert provision(admin(), raw_retention_ms=raw, dlq_retention_ms=dlq).plan()


class Cluster(MemoryAdmin):
    """The log in memory as a cluster of so many brokers; topics have the replication they were made with."""

    def __init__(self, brokers: int) -> None:
        super().__init__(MemoryEventLog(ManualClock())._store)
        self.brokers = brokers
        self.replication: dict[str, int] = {}

    def broker_count(self) -> int:
        return self.brokers

    def create_topic(self, spec: TopicSpec) -> bool:
        self.replication[spec.name] = spec.replication
        return super().create_topic(replace(spec, replication=1))

    def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
        found = super().topics(names)
        return {name: replace(info, replication=self.replication[name]) for name, info in found.items()}


@pytest.mark.parametrize(("brokers", "replication", "in_sync"), [(1, 1, None), (2, 2, None), (3, 3, "2"), (5, 3, "2")])
def test_topics_are_replicated_as_far_as_there_are_brokers(brokers: int, replication: int, in_sync: str | None) -> None:
    for plan in plans(Cluster(brokers)).values():
        assert plan.spec.replication == replication
        assert plan.spec.config.get("min.insync.replicas") == in_sync


def test_a_topic_with_fewer_replicas_is_told_of_and_stays_writable() -> None:
    """Made on one broker, then there were three: two in-sync replicas asked of one would refuse every append."""
    at = Cluster(1)
    apply(at)
    at.brokers = 3
    for plan in plans(at).values():
        assert not plan.changes
        assert plan.refused[0].startswith("replication: stays 1, wanted 3")
