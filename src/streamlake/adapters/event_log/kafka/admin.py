"""Looking at, and setting up, topics and groups."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    Uuid,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not marked so for type checkers
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from streamlake.adapters.event_log.kafka.config import KafkaConfig
from streamlake.adapters.event_log.kafka.errors import (
    ALTER,
    JUST_STARTED,
    NO_LEADERS,
    NO_SUCH_TOPIC,
    fault_of,
    translated,
)
from streamlake.adapters.event_log.kafka.records import place_of
from streamlake.domain.errors import LogUnavailable, TopicMissing
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.ports.event_log import GroupInfo, LogAdmin, TopicInfo, TopicSpec

EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
NO_SUCH_TIME = -1
"""ListOffsets' answer where no record is as late as that."""

REQUEST_S = 10.0
RETRY_S = 0.2
KNOWN_RETRY_S = 0.02
STATES: Mapping[ConsumerGroupState, str] = {
    ConsumerGroupState.PREPARING_REBALANCING: "PreparingRebalance",
    ConsumerGroupState.COMPLETING_REBALANCING: "CompletingRebalance",
    ConsumerGroupState.STABLE: "Stable",
    ConsumerGroupState.DEAD: "Dead",
    ConsumerGroupState.EMPTY: "Empty",
}
"""Kafka's own words for the states that the driver renames; KIP-848's further ones are unknown to it."""

T = TypeVar("T")


class KafkaAdmin(LogAdmin):
    """One admin client. It has no thread of its own; after `close` it may not be used."""

    def __init__(self, config: KafkaConfig) -> None:
        # The reference is kept for as long as calls may run: the futures of a collected client fail with _DESTROY.
        self._open: AdminClient | None = config.open_admin()
        self._config = config

    def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
        with translated("topics"):
            if names is None:
                # Kafka's own (__consumer_offsets ...) are nobody's business here.
                names = [n for n in self._client.list_topics(timeout=REQUEST_S).topics if not n.startswith("__")]
            if not names:
                return {}
            asked = self._client.describe_topics(TopicCollection(list(names)), request_timeout=REQUEST_S)
            found = {}
            for name, future in asked.items():
                described = _unless_missing(future)
                if described is not None:
                    partitions = described.partitions
                    copies = min((len(p.replicas) for p in partitions), default=0)
                    found[name] = TopicInfo(name, spelled(described.topic_id), len(partitions), copies)
            return found

    def topic_config(self, name: str) -> Mapping[str, str]:
        with translated(f"configuration of {name}"):
            resource = ConfigResource(ResourceType.TOPIC, name)
            entries = _one(self._client.describe_configs([resource], request_timeout=REQUEST_S)).result()
            return {key: entry.value for key, entry in entries.items() if entry.value is not None}

    def broker_count(self) -> int:
        with translated("brokers"):
            return len(self._client.describe_cluster(request_timeout=REQUEST_S).result().nodes)

    def create_topic(self, spec: TopicSpec) -> bool:
        topic = NewTopic(spec.name, spec.partitions, spec.replication, config=dict(spec.config))
        with translated(f"create topic {spec.name}"):
            asked = self._client.create_topics([topic], request_timeout=REQUEST_S, operation_timeout=REQUEST_S)
            try:
                _one(asked).result()
            except KafkaException as e:
                if e.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    return False
                raise
        self._wait_until_known(spec)
        return True

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
        ]
        with translated(f"configure {name}"):
            resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
            _one(self._client.incremental_alter_configs([resource], request_timeout=REQUEST_S)).result()

    def add_partitions(self, name: str, total: int) -> None:
        with translated(f"grow {name} to {total} partitions"):
            wanted = NewPartitions(name, total)
            asked = self._client.create_partitions([wanted], request_timeout=REQUEST_S, operation_timeout=REQUEST_S)
            _one(asked).result()

    def watermarks(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Watermarks]:
        low = self._offsets("watermarks", dict.fromkeys(partitions, EARLIEST))
        high = self._offsets("watermarks", dict.fromkeys(partitions, LATEST))
        return {p: Watermarks(low[p], high[p]) for p in partitions}

    def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int | None]:
        specs = {p: OffsetSpec.for_timestamp(time_ms) for p, time_ms in times.items()}
        found = self._offsets("offsets for times", specs)
        return {p: offset if offset >= 0 else None for p, offset in found.items()}

    def group(self, group: str) -> GroupInfo:
        with translated(f"group {group}"):
            try:
                asked = self._client.describe_consumer_groups
                described = self._patiently(lambda: asked([group], **_TIMEOUT)[group].result())
            except KafkaException as e:
                if e.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return GroupInfo(group, "Dead", [])
                raise
        members = [f"{member.client_id}@{member.host}" for member in described.members]
        return GroupInfo(group, STATES.get(described.state, "Unknown"), members)

    def group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        if not partitions:
            return {}
        doing = f"offsets of group {group}"
        # Asked as a member would ask, without joining: where a connection drops just then, librdkafka's admin call for
        # it aborts the whole process (issues 3663 and 5397) or dereferences a group it has not (5040).
        onlooker = self._config.open_consumer(self._config.onlooker(group))
        places = [place_of(p) for p in partitions]
        try:
            with translated(doing):
                answers = self._patiently(lambda: onlooker.committed(places, timeout=REQUEST_S))
        finally:
            onlooker.close()
        found = {}
        for place in answers:
            if place.error is not None:
                raise fault_of(place.error, f"{doing}: {place.topic}[{place.partition}]")
            if place.offset >= 0:
                found[TopicPartition(place.topic, place.partition)] = Position(place.offset, place.metadata or "")
        return found

    def alter_group_offsets(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        if not positions:
            return
        # Kafka would alter the partitions that exist and refuse the others; all or none is promised.
        self._insist_on_existence(positions)
        doing = f"alter offsets of group {group}"
        places = [place_of(p, position.offset, position.metadata) for p, position in positions.items()]
        wanted = ConsumerGroupTopicPartitions(group, places)

        def alter() -> Any:
            answer = self._client.alter_consumer_group_offsets([wanted], **_TIMEOUT)[group].result()
            for place in answer.topic_partitions:
                if place.error is not None and place.error.code() in JUST_STARTED:  # which is told of each partition
                    raise KafkaException(place.error)
            return answer.topic_partitions

        with translated(doing, ALTER):
            altered = self._patiently(alter)
        for place in altered:
            if place.error is not None:
                raise fault_of(place.error, f"{doing}: {place.topic}[{place.partition}]", ALTER)

    def close(self) -> None:
        self._open = None

    @property
    def _client(self) -> AdminClient:
        if self._open is None:
            raise ValueError("the admin is closed")
        return self._open

    def _offsets(self, doing: str, specs: Mapping[TopicPartition, Any]) -> dict[TopicPartition, int]:
        if not specs:
            return {}
        asked = {place_of(p): spec for p, spec in specs.items()}
        found = {}
        futures = self._client.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, **_TIMEOUT)
        for place, future in futures.items():
            with translated(f"{doing} of {place.topic}[{place.partition}]"):
                partition = TopicPartition(place.topic, place.partition)
                found[partition] = self._offset(partition, future)
        return found

    def _offset(self, partition: TopicPartition, future: Future[Any]) -> int:
        try:
            offset: int = future.result().offset
        except KafkaException as e:
            if e.args[0].code() == NO_LEADERS:
                self._insist_on_existence([partition])
            raise
        if offset < NO_SUCH_TIME:
            # Where the connection drops in mid-request librdkafka (2.16.0) says OFFSET_INVALID, and no word of an
            # error: a log would seem to be empty.
            raise LogUnavailable(f"offset of {partition}: the connection dropped")
        return offset

    def _wait_until_known(self, spec: TopicSpec) -> None:
        """KRaft's controller answers when the topic is in its log, and brokers hear of it some milliseconds later: with
        three of them, one look in three came too early. So each leader is asked, and the one that `topics` asks; it
        is still one attempt to our caller."""
        places = [TopicPartition(spec.name, n) for n in range(spec.partitions)]
        deadline = time.monotonic() + REQUEST_S
        while True:
            try:
                self._offsets("offsets", dict.fromkeys(places, LATEST))
                self._insist_on_existence(places)
                return
            except (TopicMissing, LogUnavailable) as e:
                if time.monotonic() > deadline:
                    raise LogUnavailable(f"{spec.name} was created, and its brokers do not know it yet: {e}") from e
            time.sleep(KNOWN_RETRY_S)

    def _insist_on_existence(self, partitions: Iterable[TopicPartition]) -> None:
        topics = self.topics(sorted({p.topic for p in partitions}))
        for place in partitions:
            if place.topic not in topics or place.partition >= topics[place.topic].partitions:
                raise TopicMissing(f"{place} does not exist")

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask a group's coordinator, again where it is only just finding its feet: still one attempt to our caller.

        Where a connection drops within an admin's request to one, librdkafka may abort the process (its issue 5397). So
        only commands make those, never a consumer or the API.
        """
        deadline = time.monotonic() + REQUEST_S
        while True:
            try:
                return ask()
            except KafkaException as e:
                if e.args[0].code() not in JUST_STARTED or time.monotonic() > deadline:
                    raise
            time.sleep(RETRY_S)


_TIMEOUT = {"request_timeout": REQUEST_S}


def spelled(topic_id: Uuid) -> str:
    """A topic id as Kafka's own tools write it: URL-safe base64. The driver has `/` and `+` in it, and an id stands in
    paths and in the ids of letters."""
    return str(topic_id).replace("/", "_").replace("+", "-")


def _one(futures: Mapping[Any, Future[T]]) -> Future[T]:
    (future,) = futures.values()
    return future


def _unless_missing(future: Future[T]) -> T | None:
    try:
        return future.result()
    except KafkaException as e:
        if e.args[0].code() in NO_SUCH_TOPIC:
            return None
        raise
