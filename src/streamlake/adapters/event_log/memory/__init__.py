"""An event log in memory, for tests, simulations and a first try: everything is gone with the process.

Deterministic: no threads, no random numbers, no time but the clock's. The same calls give the same offsets, partitions,
ids and assignments. Several members of a group may live in one process; every role is locked, so threads are welcome.
"""

from __future__ import annotations

from collections.abc import Callable

from streamlake.adapters.event_log.memory.roles import MemoryAdmin, MemoryReader, MemoryWriter
from streamlake.adapters.event_log.memory.store import Store
from streamlake.adapters.event_log.memory.subscription import MemorySubscriber
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import EventLog, LogAdmin, LogReader, LogSubscriber, LogWriter


class MemoryEventLog(EventLog):
    """The log itself, which hands out the roles; all of them see the same records and groups.

    `wait` is how a poll without records waits: it is called with a few hundredths of a second until the poll's timeout
    is used up (`time.sleep` in a running product, a manual clock's `advance` in a simulation). Without it a poll
    returns at once. `log_id` is part of every topic id: give another one for every log whose records are landed in
    one raw zone, or the second log passes for the first.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        session_timeout_s: float = 30.0,
        client_id: str = "streamlake",
        log_id: str = "memory",
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._store = Store(clock, session_timeout_s, client_id, log_id, wait)

    def writer(self) -> LogWriter:
        """A writer; its outcomes are told before `append` returns."""
        return MemoryWriter(self._store)

    def reader(self) -> LogReader:
        """A reader."""
        return MemoryReader(self._store)

    def subscriber(self) -> LogSubscriber:
        """What opens subscriptions."""
        return MemorySubscriber(self._store)

    def admin(self) -> LogAdmin:
        """An admin."""
        return MemoryAdmin(self._store)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and what groups committed to it. For tests and simulations: no port offers it."""
        with self._store.lock:
            self._store.delete(name)

    def trim(self, partition: TopicPartition, before: int) -> None:
        """Drop the records below `before`, as retention would. For tests and simulations: no port offers it."""
        with self._store.lock:
            self._store.trim(partition, before)
