"""A store and a writer that fail on command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from streamlake.domain.errors import StoreUnavailable
from streamlake.domain.model.records import AppendOutcome, OutgoingRecord
from streamlake.domain.ports.event_log import LogWriter
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore

T = TypeVar("T")


class Fault(Enum):
    """How a store call can fail."""

    BEFORE = "before anything happened"
    AFTER = "after it was applied: the reply is lost"
    LATE = "now; it is applied later, when nobody expects it"


class FaultyStore(ObjectStore):
    """A store of which the n-th call (from 1) fails as the script says; `hook` runs ahead of every call."""

    def __init__(self, store: ObjectStore, script: Mapping[int, Fault] | None = None) -> None:
        self.script = dict(script or {})
        self.hook: Callable[[str, str], None] = lambda call, name: None
        self.calls: list[tuple[str, str]] = []
        self._store = store
        self._delayed: list[Callable[[], object]] = []

    @property
    def writes(self) -> list[str]:
        """The names that were created or replaced, attempts included."""
        return [name for call, name in self.calls if call in ("create", "replace")]

    def deliver(self) -> None:
        """What was late arrives now."""
        while self._delayed:
            try:
                self._delayed.pop(0)()
            except Exception as nobody_listens:  # noqa: BLE001 - the caller is long gone
                del nobody_listens

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        return self._call(
            "create",
            name,
            lambda: self._store.create(name, body, content_type=content_type, metadata=metadata, crc32c=crc32c),
        )

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        return self._call(
            "replace",
            name,
            lambda: self._store.replace(name, body, content_type=content_type, if_generation=if_generation),
        )

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        return self._call("read", name, lambda: self._store.read(name))

    def describe(self, name: str) -> ObjectInfo:
        return self._call("describe", name, lambda: self._store.describe(name))

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        return iter(self._call("list", prefix, lambda: [*self._store.list(prefix, start=start)]))

    def folders(self, prefix: str) -> Sequence[str]:
        return self._call("folders", prefix, lambda: self._store.folders(prefix))

    def close(self) -> None:
        self._store.close()

    def _call(self, call: str, name: str, apply: Callable[[], T]) -> T:
        self.calls.append((call, name))
        self.hook(call, name)
        fault = self.script.pop(len(self.calls), None)
        lost = StoreUnavailable(f"{call} {name}: {fault}")
        if fault is Fault.LATE:
            self._delayed.append(apply)
        if fault in (Fault.BEFORE, Fault.LATE):
            raise lost
        answer = apply()
        if fault is Fault.AFTER:
            raise lost
        return answer


class FaultyWriter(LogWriter):
    """A writer whose n-th record (from 1) has the outcome of the script; with `applied` it is stored all the same."""

    def __init__(self, writer: LogWriter, script: Mapping[int, AppendOutcome] | None = None) -> None:
        self.script = dict(script or {})
        self.applied = False
        self.sent: list[OutgoingRecord] = []
        self._writer = writer

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        done(self.append_and_wait(records))

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        return [self._append(record) for record in records]

    def close(self, timeout_s: float) -> None:
        self._writer.close(timeout_s)

    def _append(self, record: OutgoingRecord) -> AppendOutcome:
        self.sent.append(record)
        scripted = self.script.pop(len(self.sent), None)
        if scripted is not None and not self.applied:
            return scripted
        [outcome] = self._writer.append_and_wait([record])
        return scripted or outcome


class Unlisting(FaultyStore):
    """A store whose listings miss these names: they came into being while it paged."""

    def __init__(self, store: ObjectStore, missed: set[str]) -> None:
        super().__init__(store)
        self._missed = missed

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix, start=start) if info.name not in self._missed)
