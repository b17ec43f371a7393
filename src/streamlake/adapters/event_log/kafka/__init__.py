"""An event log in Apache Kafka, through librdkafka."""

from __future__ import annotations

from collections.abc import Mapping

from streamlake.adapters.event_log.kafka.admin import KafkaAdmin
from streamlake.adapters.event_log.kafka.config import KafkaConfig
from streamlake.adapters.event_log.kafka.reader import KafkaReader
from streamlake.adapters.event_log.kafka.subscription import KafkaSubscriber
from streamlake.adapters.event_log.kafka.writer import KafkaWriter
from streamlake.domain.ports.event_log import LogAdmin, LogReader, LogSubscriber, LogWriter

__all__ = ["KafkaEventLog"]


class KafkaEventLog:
    """The log itself, which hands out the roles. Each is a client of its own, made when it is asked for: after fork.

    `bootstrap` is `host:port[,host:port ...]`; `properties` are librdkafka's, in its spelling. Raises SettingsInvalid
    for one that librdkafka does not know, that it refuses, or that a promise rests on; nothing is connected for that.
    """

    def __init__(self, bootstrap: str, properties: Mapping[str, str] | None = None) -> None:
        self._config = KafkaConfig(bootstrap, properties or {})

    def writer(self) -> LogWriter:
        """A writer, with a thread of its own."""
        return KafkaWriter(self._config)

    def reader(self) -> LogReader:
        """A reader; every read is a consumer of its own, without a group."""
        return KafkaReader(self._config)

    def subscriber(self) -> LogSubscriber:
        """What opens subscriptions; each is another member."""
        return KafkaSubscriber(self._config)

    def admin(self) -> LogAdmin:
        """An admin."""
        return KafkaAdmin(self._config)
