"""Object storage, as little of it as landing needs. There is no delete, and no overwrite but compare-and-swap."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading its body.

    `generation` is > 0 and changes with every write of the name. `crc32c` is base64 of the big-endian CRC-32C, as GCS
    gives it. `metadata` is the custom metadata it was written with.
    """

    name: str
    size: int
    generation: int
    crc32c: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_ms: int | None = field(default=None, compare=False)
    """When it was written, milliseconds since the epoch by the store's clock, where a listing tells. For people only:
    nothing rests on it."""


def check_name(name: str) -> None:
    """Raise `ValueError` unless every store can hold an object of this name.

    Relative, `/`-separated, 1 to 1,024 bytes of UTF-8; no segment empty, `.` or `..`; no NUL, CR or LF. (GCS would take
    some of these; a folder cannot, and a name that climbs out of a folder must never reach one.)
    """
    if not 1 <= len(name.encode()) <= 1024:
        raise ValueError(f"an object name has 1 to 1,024 bytes of UTF-8, not {len(name.encode())}")
    if any(character in name for character in "\0\r\n"):
        raise ValueError(f"an object name holds no NUL, CR or LF: {name!r}")
    if any(segment in ("", ".", "..") for segment in name.split("/")):
        raise ValueError(f"an object name is relative, and no segment of it is empty, '.' or '..': {name!r}")


class ObjectStore(Protocol):
    """One bucket (and, if it has one, a key prefix that callers never see). Safe for use by several threads.

    Names are what `check_name` lets pass; others are refused with `ValueError` before anything happens. Reads and lists
    see every write answered before they began. A body and its metadata become visible together. Each method makes one
    attempt: no retries of its own.

    Errors of every method: `StoreUnavailable` (408, 429, 5xx, reset, timeout: a write may or may not have been
    applied), `AccessDenied` (401, 403), `BucketMissing` (no such bucket).
    """

    @abstractmethod
    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        """Write an object that must not exist yet. Exactly one of any number of concurrent creates succeeds.

        With `crc32c` the store checks that the body arrived as it was sent: if not, nothing is written and the
        error is `StoreUnavailable`. Raises `AlreadyExists` where the name is taken; also if it was taken by an earlier
        attempt of this very caller whose answer was lost.
        """

    @abstractmethod
    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        """Write an object if its generation is `if_generation` (0: if there is none). For roll-ups only.

        The new generation carries no custom metadata, whatever the old one had.

        Raises `GenerationChanged` where it is not; nothing is written then.
        """

    @abstractmethod
    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        """Info and whole body of one generation, never a mixture of two. Raises `ObjectMissing`, and `ObjectDamaged`
        where the store holds something else than what was written."""

    @abstractmethod
    def describe(self, name: str) -> ObjectInfo:
        """Info without the body. Raises `ObjectMissing`."""

    @abstractmethod
    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        """Every object whose name begins with `prefix` and is >= `start`, ascending by UTF-8 bytes, metadata included.

        Pages as it goes: an object created while listing may or may not be seen.
        """

    @abstractmethod
    def folders(self, prefix: str) -> Sequence[str]:
        """The distinct next path segments below `prefix` that hold objects, ascending by UTF-8 bytes, without slashes.

        `prefix` ends in `/`, or is empty for the whole bucket. An object directly below `prefix` is not a folder.
        """

    @abstractmethod
    def close(self) -> None:
        """Release connections. Idempotent; other calls after it are an error of the caller."""


class StoreAdmin(Protocol):
    """Whether the bucket is there, and making it: only ever on an operator's explicit wish."""

    @abstractmethod
    def bucket_exists(self) -> bool:
        """True if the bucket exists and may be listed. Raises `StoreUnavailable`, `AccessDenied`."""

    @abstractmethod
    def create_bucket(self) -> None:
        """Make the bucket; does nothing where it exists. Raises `StoreUnavailable`, `AccessDenied`."""


class BucketStore(ObjectStore, StoreAdmin, Protocol):
    """Both roles in one, as adapters have them."""
