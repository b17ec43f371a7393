"""The store as replays use it: after each part, the prefix is left to live landing for a while.

Every part of a prefix is made by whoever is first at its number, so a replay that never paused would have live landing
lose one race after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore

SHORTEST_PAUSE_S = 0.2


class YieldingStore(ObjectStore):
    """A store whose `create` of a replay's part waits until the prefix has rested, since the last one made there, as
    long as making that took, and at least `SHORTEST_PAUSE_S`. Nothing else waits. `wait` is told how
    long in seconds; it may return early."""

    def __init__(self, store: ObjectStore, clock: Clock, wait: Callable[[float], object]) -> None:
        self._store = store
        self._clock = clock
        self._wait = wait
        self._rested: dict[str, float] = {}

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        if metadata.get("kind") != "replay":
            return self._store.create(name, body, content_type=content_type, metadata=metadata, crc32c=crc32c)
        prefix = name.rpartition("/")[0]
        pause = self._rested.get(prefix, 0.0) - self._clock.monotonic()
        if pause > 0:
            self._wait(pause)
        began = self._clock.monotonic()
        made = self._store.create(name, body, content_type=content_type, metadata=metadata, crc32c=crc32c)
        ended = self._clock.monotonic()
        self._rested[prefix] = ended + max(SHORTEST_PAUSE_S, ended - began)
        return made

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        return self._store.replace(name, body, content_type=content_type, if_generation=if_generation)

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        return self._store.read(name)

    def describe(self, name: str) -> ObjectInfo:
        return self._store.describe(name)

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix, start=start)

    def folders(self, prefix: str) -> Sequence[str]:
        return self._store.folders(prefix)

    def close(self) -> None:
        """Nothing of its own to release: the store behind it is another's."""
