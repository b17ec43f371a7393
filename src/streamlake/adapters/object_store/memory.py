"""Objects in this process's memory: for tests, simulations and a first look."""

from __future__ import annotations

import base64
import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock

import google_crc32c

from streamlake.domain.errors import (
    AlreadyExists,
    BucketMissing,
    GenerationChanged,
    ObjectMissing,
    StoreUnavailable,
)
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore, StoreAdmin, check_name

# As many as GCS puts on one page of a listing.
_PAGE = 1000


class MemoryObjectStore(ObjectStore, StoreAdmin):
    """The whole bucket is this object: share it, and its data are shared; drop it, and they are gone.

    The bucket is there from the start unless `bucket_exists=False`. `close()` keeps the data.
    """

    def __init__(self, *, bucket_exists: bool = True) -> None:
        self._exists = bucket_exists
        self._lock = Lock()
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        # Sorted by code point, which is the order of the UTF-8 bytes.
        self._names: list[str] = []
        self._generations = itertools.count(1)

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        check_name(name)
        actual = _crc32c(body)
        with self._lock:
            self._require_bucket()
            if crc32c not in (None, actual):
                raise StoreUnavailable(f"{name}: the body's CRC-32C is {actual}, not {crc32c}; nothing was written")
            if name in self._objects:
                raise AlreadyExists(f"{name}: the object is there already")
            return self._write(name, body, actual, metadata)

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        check_name(name)
        actual = _crc32c(body)
        with self._lock:
            self._require_bucket()
            current = self._objects[name][0].generation if name in self._objects else 0
            if current != if_generation:
                raise GenerationChanged(f"{name}: the generation is {current}, not {if_generation}")
            return self._write(name, body, actual, {})

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        check_name(name)
        with self._lock:
            self._require_bucket()
            if name not in self._objects:
                raise ObjectMissing(f"{name}: there is no such object")
            return self._objects[name]

    def describe(self, name: str) -> ObjectInfo:
        return self.read(name)[0]

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        least = max(prefix, start)
        while page := self._page(prefix, least):
            yield from page
            least = page[-1].name + "\0"  # the very next name there could be

    def folders(self, prefix: str) -> Sequence[str]:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a folder's prefix ends in '/': {prefix!r}")
        below = (info.name[len(prefix) :].split("/", 1) for info in self.list(prefix))
        return sorted({segments[0] for segments in below if len(segments) > 1})

    def close(self) -> None:
        """Nothing is held but memory."""

    def bucket_exists(self) -> bool:
        with self._lock:
            return self._exists

    def create_bucket(self) -> None:
        with self._lock:
            self._exists = True

    def _require_bucket(self) -> None:
        if not self._exists:
            raise BucketMissing("the memory bucket was not created")

    def _write(self, name: str, body: bytes, crc32c: str, metadata: Mapping[str, str]) -> ObjectInfo:
        info = ObjectInfo(name, len(body), next(self._generations), crc32c, dict(metadata))
        if name not in self._objects:
            insort(self._names, name)
        self._objects[name] = (info, bytes(body))
        return info

    def _page(self, prefix: str, least: str) -> Sequence[ObjectInfo]:
        with self._lock:
            self._require_bucket()
            first = bisect_left(self._names, least)
            last = bisect_right(self._names, prefix, first, key=lambda name: name[: len(prefix)])
            return [self._objects[name][0] for name in self._names[first : min(last, first + _PAGE)]]


def _crc32c(body: bytes) -> str:
    return base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode("ascii")
