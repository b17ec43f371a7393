"""The memory store keeps the object store's contract."""

from __future__ import annotations

from collections import defaultdict

import pytest
from tests.contracts.object_store import ObjectStoreContract, OpenStore, put

from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import BucketMissing


class TestMemoryObjectStore(ObjectStoreContract):
    """One instance is one bucket."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        buckets: defaultdict[str, MemoryObjectStore] = defaultdict(lambda: MemoryObjectStore(bucket_exists=False))
        return buckets.__getitem__


def test_the_bucket_is_there_unless_said_otherwise() -> None:
    """Nobody has to provision memory."""
    put(MemoryObjectStore(), "a")
    with pytest.raises(BucketMissing):
        put(MemoryObjectStore(bucket_exists=False), "a")


def test_closing_keeps_the_data() -> None:
    """The instance is the bucket; a use case that closes its store must not wipe it."""
    store = MemoryObjectStore()
    created = put(store, "a", b"body")
    store.close()
    assert store.read("a") == (created, b"body")
