"""librdkafka's properties: our defaults, what may not be overridden, and which client each one belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from streamlake.adapters.event_log.kafka.client_log import LOG
from streamlake.domain.errors import SettingsInvalid

Properties = dict[str, str | int | float | bool]

COMMON_DEFAULTS: Properties = {
    "client.id": "streamlake",
    # librdkafka waits up to 10 s between attempts to reconnect; a broker is back sooner than that.
    "reconnect.backoff.max.ms": "2000",
    # New partitions, and topics that are gone, are seen this soon (librdkafka: 5 min).
    "topic.metadata.refresh.interval.ms": "30000",
}

PRODUCER_DEFAULTS: Properties = {
    "linger.ms": "5",
    "compression.type": "lz4",
    # Below the deadline of the HTTP API, so that it can answer what became of a record.
    "delivery.timeout.ms": "20000",
    # The limit is the topic's, the broker's answer names it. Batches stay at batch.size (1 MB).
    "message.max.bytes": "16777216",
    "queue.buffering.max.messages": "500000",
    "queue.buffering.max.kbytes": "262144",
    # A topic that is not there is said to be missing after this (librdkafka: 30 s, beyond the delivery timeout, which
    # would make a certain 'no' an unknown outcome).
    "topic.metadata.propagation.max.ms": "3000",
}

CONSUMER_DEFAULTS: Properties = {
    "max.poll.interval.ms": "300000",
    # What bounds a commit to a broker that does not answer (librdkafka: 60 s, beyond any shutdown deadline).
    "socket.timeout.ms": "10000",
    # What is fetched ahead, of all partitions together: most of a second's worth (librdkafka: 64 MiB).
    "queued.max.messages.kbytes": "32768",
}

CLASSIC_DEFAULTS: Properties = {"session.timeout.ms": "30000"}
"""With group.protocol=consumer the broker decides, and the client refuses to be told."""

HEARTBEATS_A_SESSION = 3
"""At least, as Kafka advises: with librdkafka's 3 s alone, a member whose session is set to 3 s expels itself."""

READER_DEFAULTS: Properties = {"queued.max.messages.kbytes": "16384"}

PROMISED: Mapping[str, tuple[str, str]] = {
    "acks": ("all", "an acknowledged event must be on every in-sync replica"),
    "enable.idempotence": ("true", "a retry must neither duplicate nor reorder"),
    "partitioner": ("murmur2_random", "a key must go to the partition that every other client chooses for it"),
    "queuing.strategy": ("fifo", "events of one key keep their order"),
    "enable.auto.commit": ("false", "an offset is committed only after its record has landed"),
    "enable.auto.offset.store": ("false", "an offset is committed only after its record has landed"),
    "auto.offset.reset": ("error", "a start position is resolved, never guessed"),
    "isolation.level": ("read_committed", "records of aborted transactions must not land"),
    "check.crcs": ("true", "what lands is byte for byte what was sent"),
    "allow.auto.create.topics": ("false", "topics are made by `streamlake topics provision` alone"),
    "enable.partition.eof": ("false", "the adapter decides where it needs it"),
    "offset.store.method": ("broker", "positions are the group's, in Kafka"),
}
"""What the promises rest on: property -> the only value it may have, and why."""

DEPRECATED = frozenset({"queuing.strategy", "offset.store.method"})
"""Of these: setting them, even to their defaults, costs a warning."""

CLASSIC_PROMISED: Mapping[str, tuple[str, str]] = {
    "partition.assignment.strategy": ("cooperative-sticky", "the subscription assigns incrementally"),
}

OURS: Mapping[str, str] = {
    "bootstrap.servers": "it is the address of STREAMLAKE_EVENT_LOG",
    "metadata.broker.list": "it is the address of STREAMLAKE_EVENT_LOG",
    "group.id": "it is streamlake-consumer-<dataset>",
    "transactional.id": "the writer makes no transactions",
    "delivery.report.only.error": "every append is answered by its delivery report",
    "test.mock.num.brokers": "a mocked cluster keeps nothing",
    "logger": "log lines go where StreamLake's go",
    "opaque": "it cannot be given as text",
    "default.topic.config": "it cannot be given as text",
    "on_delivery": "it cannot be given as text",
    "on_commit": "it cannot be given as text",
}
"""What is never taken from the settings, and why."""

ALIASES: Mapping[str, str] = {
    "request.required.acks": "acks",
    "auto.commit.enable": "enable.auto.commit",
    "message.timeout.ms": "delivery.timeout.ms",
}

PRODUCER_ONLY = frozenset(
    (  # noqa: SIM905 - a list of words
        "acks batch.num.messages batch.size compression.codec compression.level compression.type "
        "delivery.report.only.error delivery.timeout.ms enable.gapless.guarantee enable.idempotence linger.ms "
        "message.send.max.retries message.timeout.ms partitioner produce.offset.report "
        "queue.buffering.backpressure.threshold queue.buffering.max.kbytes queue.buffering.max.messages "
        "queue.buffering.max.ms queuing.strategy request.required.acks request.timeout.ms retries "
        "sticky.partitioning.linger.ms transaction.timeout.ms transactional.id"
    ).split()
)

CONSUMER_ONLY = frozenset(
    (  # noqa: SIM905 - a list of words
        "allow.auto.create.topics auto.commit.enable auto.commit.interval.ms auto.offset.reset check.crcs "
        "client.rack consume.callback.max.messages coordinator.query.interval.ms enable.auto.commit "
        "enable.auto.offset.store enable.partition.eof fetch.error.backoff.ms fetch.max.bytes "
        "fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms group.id "
        "group.instance.id group.protocol group.protocol.type group.remote.assignor heartbeat.interval.ms "
        "isolation.level max.partition.fetch.bytes max.poll.interval.ms offset.store.method offset.store.path "
        "offset.store.sync.interval.ms partition.assignment.strategy queued.max.messages.kbytes "
        "queued.min.messages session.timeout.ms"
    ).split()
)

_SECRET = re.compile(r"password|secret|key|token|pem|jaas|credential|oauthbearer\.config", re.IGNORECASE)
_PROBE = "streamlake.probe"


class KafkaConfig:
    """The properties of every client of one event log, checked once. Holds no client, so it survives a fork."""

    def __init__(self, bootstrap: str, properties: Mapping[str, str]) -> None:
        if not bootstrap:
            raise SettingsInvalid("event log: a kafka:// address needs host:port")
        self._servers: Properties = {"bootstrap.servers": bootstrap}
        self._given = dict(properties)
        self._classic = properties.get("group.protocol", "classic").lower() != "consumer"
        for name, value in properties.items():
            _refuse_what_promises_rest_on(name, value)
        self._secrets = [v for n, v in properties.items() if v and _SECRET.search(n)]
        self._try_out(Producer, self.producer())
        self._try_out(Consumer, self.consumer("probe"))

    @property
    def broker_assigns(self) -> bool:
        """Is this the new group protocol (KIP-848), where the broker assigns?"""
        return not self._classic

    @property
    def max_poll_interval_s(self) -> float:
        """How long a member may stay away from `poll` before it is out of the group."""
        return float(str(self.consumer("any")["max.poll.interval.ms"])) / 1000

    @property
    def delivery_timeout_s(self) -> float:
        """How long the fate of a record may stay open."""
        producer = self.producer()
        # Given under its other name it comes after the default, and librdkafka takes the last.
        return float(str(producer.get("message.timeout.ms", producer["delivery.timeout.ms"]))) / 1000

    def producer(self) -> Properties:
        """The writer's."""
        pinned = {n: value for n, (value, _) in PROMISED.items() if n in PRODUCER_ONLY - DEPRECATED}
        return self._client(PRODUCER_DEFAULTS, CONSUMER_ONLY) | pinned

    def consumer(self, group: str) -> Properties:
        """A group member's."""
        defaults = CONSUMER_DEFAULTS | (CLASSIC_DEFAULTS | self._heartbeat() if self._classic else {})
        promised = {**PROMISED, **(CLASSIC_PROMISED if self._classic else {})}
        pinned = {n: value for n, (value, _) in promised.items() if n in CONSUMER_ONLY - DEPRECATED}
        return self._client(defaults, PRODUCER_ONLY) | pinned | {"group.id": group}

    def onlooker(self, group: str) -> Properties:
        """Of a consumer that asks for a group's positions and never joins: as the admin, with a group's name."""
        return self.admin() | {"group.id": group}

    def reader(self, group: str) -> Properties:
        """A bounded reader's. librdkafka wants a group to be named, and does not join it for `assign`."""
        return READER_DEFAULTS | self.consumer(group) | {"enable.partition.eof": "true"}

    def admin(self) -> Properties:
        """The admin's. Its calls report what went wrong, so its log lines would say it twice."""
        return {"log_level": "0"} | self._client({}, PRODUCER_ONLY | CONSUMER_ONLY)

    def open_producer(self, properties: Properties, **callbacks: object) -> Producer:
        """A producer. Raises SettingsInvalid where the properties do not go together."""
        return self._open(Producer, properties, **callbacks)

    def open_consumer(self, properties: Properties, **callbacks: object) -> Consumer:
        """A consumer. Raises SettingsInvalid where the properties do not go together."""
        return self._open(Consumer, properties, **callbacks)

    def open_admin(self) -> AdminClient:
        """An admin client. Raises SettingsInvalid where the properties do not go together."""
        return self._open(AdminClient, self.admin())

    def _heartbeat(self) -> Properties:
        session_ms = str(self._given.get("session.timeout.ms", ""))
        if not session_ms.isdecimal():
            return {}
        return {"heartbeat.interval.ms": str(max(1, min(3000, int(session_ms) // HEARTBEATS_A_SESSION)))}

    def _client(self, defaults: Properties, foreign: frozenset[str]) -> Properties:
        given: Properties = {name: value for name, value in self._given.items() if name not in foreign}
        return COMMON_DEFAULTS | defaults | given | self._servers

    def _open(self, client: type[_Client], properties: Properties, **callbacks: object) -> _Client:
        try:
            if client is AdminClient:
                return client(properties)
            return client(properties, logger=LOG, **callbacks)
        except KafkaException as e:
            # Not chained: the driver's message may hold a secret, and tracebacks are logged.
            raise SettingsInvalid(f"kafka: {self._scrubbed(e)}") from None

    def _try_out(self, client: type[Producer] | type[Consumer], properties: Properties) -> None:
        """Let librdkafka check names and values without making a client.

        It sets one property after the other and stops at the first bad one, before it makes anything: so a last one
        that is sure to be bad is reached only where all the others are good.
        """
        try:
            client({**properties, _PROBE: ""})
        except KafkaException as e:
            if _PROBE not in str(e):
                raise SettingsInvalid(f"kafka property: {self._scrubbed(e)}") from None
        except TypeError as e:
            # A callback given as text. Not chained, as above.
            raise SettingsInvalid(f"kafka property: {e}") from None

    def _scrubbed(self, error: KafkaException) -> str:
        text: str = error.args[0].str()
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


_Client = TypeVar("_Client", Producer, Consumer, AdminClient)


def _refuse_what_promises_rest_on(name: str, value: str) -> None:
    if reason := OURS.get(name):
        raise SettingsInvalid(f"kafka property {name} cannot be set: {reason}")
    same = ALIASES.get(name, name)
    allowed, reason = {**PROMISED, **CLASSIC_PROMISED}.get(same, (value, ""))
    meant = {"-1": "all"}.get(value, value) if same == "acks" else value
    if meant.lower() != allowed.lower():
        raise SettingsInvalid(f"kafka property {name} must be {allowed}: {reason}")
    if same == "delivery.timeout.ms" and value == "0":
        raise SettingsInvalid(f"kafka property {name} must not be 0: an append would never be answered")
