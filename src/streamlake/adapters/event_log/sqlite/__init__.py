"""An event log in one sqlite file: the embedded default, for one machine and any number of its processes.

Durable (write-ahead log, `synchronous=FULL`: an acknowledged append survives kill -9 and a power cut), with partitions,
timestamps, groups and fenced commits. Not for network file systems. Retention is not enforced: records stay until
somebody trims them. Topic configuration is stored and told; `max.message.bytes` alone is acted on.
"""

from __future__ import annotations

import socket
from pathlib import Path

from streamlake.adapters.event_log.sqlite.admin import SqliteAdmin
from streamlake.adapters.event_log.sqlite.database import Database
from streamlake.adapters.event_log.sqlite.reader import SqliteReader
from streamlake.adapters.event_log.sqlite.subscription import Membership, SqliteSubscriber
from streamlake.adapters.event_log.sqlite.writer import SqliteWriter
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import EventLog, LogAdmin, LogReader, LogSubscriber, LogWriter


class SqliteEventLog(EventLog):
    """The log, which hands out the roles. It opens nothing by itself: the file, and its folder, are made by the first
    role that writes or subscribes; those who only look take a file that is not there for a log without topics.
    Connections belong to the process that opened them. So it may be made before a fork; the roles are made, or first
    used, after it.

    `session_timeout_s`: a member that has not polled for so long is expelled by the others. `busy_timeout_s`: how long
    to wait for other processes that write; then it is `LogUnavailable`, or `NotStored`. `delivery_timeout_s`: how long
    `append_and_wait` waits.
    """

    def __init__(
        self,
        path: Path | str,
        clock: Clock,
        *,
        session_timeout_s: float = 30.0,
        client_id: str = "streamlake",
        busy_timeout_s: float = 5.0,
        delivery_timeout_s: float = 10.0,
    ) -> None:
        self._database = Database(Path(path), busy_timeout_s)
        name = f"{client_id}@{socket.gethostname()}"
        self._membership = Membership(self._database, clock, session_timeout_s, name)
        self._delivery_timeout_s = delivery_timeout_s

    def writer(self) -> LogWriter:
        """A writer with a thread of its own, which begins with the first append."""
        return SqliteWriter(self._database, self._delivery_timeout_s)

    def reader(self) -> LogReader:
        """A reader, safe for use by several threads."""
        return SqliteReader(self._database)

    def subscriber(self) -> LogSubscriber:
        """What opens subscriptions, each with a connection of its own."""
        return SqliteSubscriber(self._membership)

    def admin(self) -> LogAdmin:
        """An admin."""
        return SqliteAdmin(self._membership)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and what groups committed to it. For tests and operations: no port offers it."""
        admin = SqliteAdmin(self._membership)
        admin.delete_topic(name)
        admin.close()

    def trim(self, partition: TopicPartition, before: int) -> None:
        """Drop the records below `before`, as retention would. For tests and operations: no port offers it."""
        admin = SqliteAdmin(self._membership)
        admin.trim(partition, before)
        admin.close()
