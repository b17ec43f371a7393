"""Topics as the contracts want them: plan first, then do; nothing is ever lowered or lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamlake.domain.errors import SettingsInvalid
from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.times import DAY_MS
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import LogAdmin, TopicInfo, TopicSpec
from streamlake.domain.use_cases.control import CONTROL_TOPIC

REPLICATION = 3
HEADER_ROOM_BYTES = 1024 * 1024
"""Raw topics take the API's event limit plus this; dead letters carry a trace and detail on top, so twice this more."""

TIMESTAMP_BEFORE_MAX_MS = 7 * DAY_MS
TIMESTAMP_AFTER_MAX_MS = 3_600_000
"""Kafka 4's own default: a record stamped further ahead is refused."""

DLQ_OUTLIVES_RAW_MS = 7 * DAY_MS

MIN_IN_SYNC = "min.insync.replicas"

_LARGER_IS_SAFER = {"max.message.bytes", MIN_IN_SYNC, "retention.ms"}
_UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What is to be done about one topic; nothing, if all fields below `spec` are empty."""

    spec: TopicSpec
    create: bool = False
    configure: Mapping[str, str] = field(default_factory=dict)
    add_partitions: int | None = None
    refused: Sequence[str] = ()
    """What differs and is left as it is, with the reason."""

    @property
    def changes(self) -> bool:
        """Is there anything to do?"""
        return self.create or bool(self.configure) or self.add_partitions is not None


class ProvisionTopics:
    """Makes, or brings up to date, the topics of every contract and the control topic."""

    def __init__(self, catalog: ContractCatalog, admin: LogAdmin, *, max_event_bytes: int) -> None:
        self._catalog = catalog
        self._admin = admin
        self._max_event_bytes = max_event_bytes

    def plan(self, *, allow_repartition: bool = False) -> list[TopicPlan]:
        """What would be done, topic by topic. Raises `SettingsInvalid` where contracts contradict a promise."""
        specs = self._specs(min(REPLICATION, self._admin.broker_count()))
        existing = self._admin.topics([spec.name for spec in specs])
        return [self._compare(spec, existing.get(spec.name), allow_repartition) for spec in specs]

    def apply(self, plans: Sequence[TopicPlan]) -> None:
        """Do it. Repeating it is harmless."""
        for plan in plans:
            if plan.create:
                self._admin.create_topic(plan.spec)
            if plan.configure:
                self._admin.configure_topic(plan.spec.name, plan.configure)
            if plan.add_partitions is not None:
                self._admin.add_partitions(plan.spec.name, plan.add_partitions)

    def _specs(self, replication: int) -> list[TopicSpec]:
        safe = {"unclean.leader.election.enable": "false"}
        if replication >= REPLICATION:
            safe[MIN_IN_SYNC] = str(replication - 1)
        raw_bytes = self._max_event_bytes + HEADER_ROOM_BYTES
        stamps = {
            "message.timestamp.type": "CreateTime",
            "message.timestamp.before.max.ms": str(TIMESTAMP_BEFORE_MAX_MS),
            "message.timestamp.after.max.ms": str(TIMESTAMP_AFTER_MAX_MS),
        }
        specs = []
        for dataset in self._catalog.datasets():
            contract = self._catalog.newest(dataset)
            _check_retention(dataset, contract.raw_retention_ms, contract.dlq_retention_ms)
            raw = {"retention.ms": str(contract.raw_retention_ms), "max.message.bytes": str(raw_bytes)}
            dlq = {
                "retention.ms": str(contract.dlq_retention_ms),
                "max.message.bytes": str(raw_bytes + 2 * HEADER_ROOM_BYTES),
            }
            specs.append(TopicSpec(raw_topic(dataset), contract.partitions, replication, safe | stamps | raw))
            specs.append(TopicSpec(dlq_topic(dataset), contract.partitions, replication, safe | dlq))
        specs.append(TopicSpec(CONTROL_TOPIC, 1, replication, safe | {"cleanup.policy": "compact"}))
        return specs

    def _compare(self, spec: TopicSpec, found: TopicInfo | None, allow_repartition: bool) -> TopicPlan:
        if found is None:
            return TopicPlan(spec, create=True)
        now = self._admin.topic_config(spec.name)
        configure, refused = {}, []
        replicated = found.replication >= spec.replication
        if not replicated:
            refused.append(
                f"replication: stays {found.replication}, wanted {spec.replication}: kafka-reassign-partitions raises"
                f" it; {MIN_IN_SYNC} is set after that, or nothing could be appended"
            )
        for name, wanted in spec.config.items():
            has = now.get(name)
            if has == wanted or (name == MIN_IN_SYNC and not replicated):
                continue
            if name in _LARGER_IS_SAFER and has is not None and _lowers(int(has), int(wanted)):
                refused.append(f"{name}: stays {has}, the contract wants {wanted}: nothing is ever lowered")
            else:
                configure[name] = wanted
        grow = None
        if found.partitions > spec.partitions:
            refused.append(
                f"partitions: stay {found.partitions}, the contract wants {spec.partitions}: none is removed"
            )
        elif found.partitions < spec.partitions and allow_repartition:
            grow = spec.partitions
        elif found.partitions < spec.partitions:
            refused.append(
                f"partitions: stay {found.partitions}, the contract wants {spec.partitions}: keys would change"
                " partition and lose their order (--allow-repartition does it all the same)"
            )
        return TopicPlan(spec, configure=configure, add_partitions=grow, refused=refused)


def _lowers(has: int, wanted: int) -> bool:
    return has == _UNLIMITED or (wanted != _UNLIMITED and wanted < has)


def _check_retention(dataset: str, raw_ms: int, dlq_ms: int) -> None:
    """Records must outlive the oldest timestamp they may carry twice over, and letters their raw records."""
    if raw_ms != _UNLIMITED and raw_ms <= 2 * TIMESTAMP_BEFORE_MAX_MS:
        days = 2 * TIMESTAMP_BEFORE_MAX_MS // DAY_MS
        raise SettingsInvalid(
            f"{dataset}: raw retention must be over {days} days (twice message.timestamp.before.max.ms, or old records"
            f" are deleted before they land), is {raw_ms / DAY_MS:g} days"
        )
    if dlq_ms != _UNLIMITED and (raw_ms == _UNLIMITED or dlq_ms < raw_ms + DLQ_OUTLIVES_RAW_MS):
        raise SettingsInvalid(
            f"{dataset}: dead letters must be kept {DLQ_OUTLIVES_RAW_MS // DAY_MS} days longer than raw records or more"
        )
