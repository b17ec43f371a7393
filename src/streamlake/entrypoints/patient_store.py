"""A store for long looks: one answer of 'not now' among ten thousand must not end them.

An adapter makes one attempt; a command that reads a whole raw zone needs somebody who waits, and this is who.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from streamlake.domain.errors import StoreUnavailable
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore

T = TypeVar("T")

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long it waits after each failed attempt; then the error is the caller's."""


class PatientStore(ObjectStore):
    """Reads and lists again where the store did not answer; a listing goes on where it was. Writes are not repeated:
    what became of them is the caller's to ask."""

    def __init__(self, store: ObjectStore, sleep: Callable[[float], object]) -> None:
        self._store = store
        self._sleep = sleep

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        return self._store.create(name, body, content_type=content_type, metadata=metadata, crc32c=crc32c)

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        return self._store.replace(name, body, content_type=content_type, if_generation=if_generation)

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        return self._patiently(lambda: self._store.read(name))

    def describe(self, name: str) -> ObjectInfo:
        return self._patiently(lambda: self._store.describe(name))

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        pauses = iter(PAUSES_S)
        while True:
            try:
                for info in self._store.list(prefix, start=start):
                    start = info.name + "\0"  # the very next name there could be
                    pauses = iter(PAUSES_S)
                    yield info
            except StoreUnavailable as fault:
                self._wait(pauses, fault)
            else:
                return

    def folders(self, prefix: str) -> Sequence[str]:
        return self._patiently(lambda: self._store.folders(prefix))

    def close(self) -> None:
        self._store.close()

    def _patiently(self, ask: Callable[[], T]) -> T:
        pauses = iter(PAUSES_S)
        while True:
            try:
                return ask()
            except StoreUnavailable as fault:
                self._wait(pauses, fault)

    def _wait(self, pauses: Iterator[float], fault: StoreUnavailable) -> None:
        pause = next(pauses, None)
        if pause is None:
            raise fault
        self._sleep(pause)
