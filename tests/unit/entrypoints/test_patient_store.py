"""Long looks outlast a store that now and then does not answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import ObjectMissing, StoreUnavailable
from streamlake.domain.ports.object_store import ObjectInfo
from streamlake.entrypoints.patient_store import PAUSES_S, PatientStore


class _Moody(MemoryObjectStore):
    """Answers only every third time, and never more than two objects of a listing."""

    def __init__(self, every: int = 3) -> None:
        super().__init__()
        self._every = every
        self._asked = 0

    def _mood(self) -> None:
        self._asked += 1
        if self._asked % self._every:
            raise StoreUnavailable("not now")

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        self._mood()
        return super().read(name)

    def folders(self, prefix: str) -> Sequence[str]:
        return sorted({info.name.split("/")[0] for info in MemoryObjectStore.list(self, prefix)})

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        self._mood()
        for number, info in enumerate(super().list(prefix, start=start)):
            if number == 2:
                raise StoreUnavailable("not now")
            yield info


def filled(every: int = 3) -> _Moody:
    store = _Moody(every)
    for number in range(7):
        store.create(f"a/{number}", b"%d" % number, content_type="", metadata={})
    return store


def test_a_listing_goes_on_where_it_was_cut_off() -> None:
    slept: list[float] = []
    store = PatientStore(filled(), slept.append)
    assert [info.name for info in store.list("a/")] == [f"a/{number}" for number in range(7)]
    assert set(slept) <= set(PAUSES_S)


def test_a_read_is_made_again() -> None:
    store = PatientStore(filled(), lambda pause: None)
    assert store.read("a/3")[1] == b"3"
    assert store.describe("a/3").name == "a/3"


def test_patience_has_an_end_and_then_the_fault_is_told() -> None:
    slept: list[float] = []
    store = PatientStore(filled(10**9), slept.append)
    with pytest.raises(StoreUnavailable):
        store.read("a/3")
    assert tuple(slept) == PAUSES_S
    with pytest.raises(StoreUnavailable):
        list(store.list("a/"))


def test_what_is_not_the_worlds_fault_is_told_at_once() -> None:
    store = PatientStore(filled(1), lambda pause: pytest.fail("there is nothing to wait for"))
    with pytest.raises(ObjectMissing):
        store.read("nothing")
