"""The fault proxy does to requests what it says, and leaves the others as they were."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import httpx
import pytest
from tests.integration.system import wait_until
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.faults import DENIED, REFUSED, Fault, Request, fits
from tests.services.gcs import GcsService

from streamlake.adapters.object_store.gcs import GcsObjectStore
from streamlake.domain.errors import AccessDenied, AlreadyExists, BucketMissing, ObjectMissing, StoreUnavailable

pytestmark = pytest.mark.gcs

PART = b"x" * (8 * 1024 * 1024)


@pytest.fixture
def proxy(gcs_service: GcsService) -> Iterator[FaultProxy]:
    """A proxy of this test's own."""
    with fault_proxy(gcs_service.endpoint) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: FaultProxy) -> Iterator[GcsObjectStore]:
    """A bucket of this test's own, through the proxy."""
    store = GcsObjectStore(f"p{uuid.uuid4().hex[:12]}", endpoint=proxy.endpoint)
    store.create_bucket()
    yield store
    store.close()


@pytest.fixture
def impatient(proxy: FaultProxy, store: GcsObjectStore) -> Iterator[GcsObjectStore]:
    """The same, for one who soon gives up."""
    impatient = GcsObjectStore(store._bucket, endpoint=proxy.endpoint, read_timeout_s=1.5)
    yield impatient
    impatient.close()


def create(store: GcsObjectStore, name: str, body: bytes = b"body") -> None:
    """Create an object with metadata."""
    store.create(name, body, content_type="text/plain", metadata={"a": "b"})


def names(store: GcsObjectStore) -> list[str]:
    """What is there."""
    return [info.name for info in store.list("")]


def test_without_faults_everything_passes_as_it_is(store: GcsObjectStore) -> None:
    """Bodies of 8 MiB, metadata, checksums, conflicts."""
    create(store, "part", PART)
    with pytest.raises(AlreadyExists):
        create(store, "part")
    info, body = store.read("part")
    assert body == PART
    assert info.metadata == {"a": "b"}
    assert store.replace("part", b"{}", content_type="application/json", if_generation=info.generation).size == 2


def test_chunked_bodies_and_connections_kept_alive_pass(proxy: FaultProxy, store: GcsObjectStore) -> None:
    """A body without a length arrives whole, twice over one connection."""
    bucket = store._bucket
    with httpx.Client(base_url=proxy.endpoint) as client:
        for name in ("one", "two"):
            answer = client.post(
                f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", content=iter([b"ab", b"c" * 100_000])
            )
            assert answer.status_code == 200
            assert proxy.endpoint in answer.text, "the store's own address would lead past the proxy"
    assert store.read("two")[1] == b"ab" + b"c" * 100_000


@pytest.mark.parametrize("fault", [*REFUSED, Fault.RESET, Fault.SILENT, Fault.CORRUPT_REQUEST])
def test_a_refused_request_is_not_applied(
    proxy: FaultProxy, store: GcsObjectStore, impatient: GcsObjectStore, gcs_service: GcsService, fault: Fault
) -> None:
    """The client hears of a fault that passes, nothing is there, and the next attempt succeeds."""
    if fault is Fault.CORRUPT_REQUEST and not gcs_service.checks_crc32c:
        pytest.skip("this server accepts wrong checksums")
    proxy.faults.begin(fault, times=1)
    with pytest.raises(StoreUnavailable):
        create(impatient if fault is Fault.SILENT else store, "a")
    assert names(store) == []
    create(store, "a")
    assert proxy.faults.figures() == {fault.value: 1}


@pytest.mark.parametrize("fault", [Fault.APPLIED_503, Fault.APPLIED_RESET, Fault.APPLIED_SILENT])
def test_a_lost_answer_leaves_the_object_there(
    proxy: FaultProxy, store: GcsObjectStore, impatient: GcsObjectStore, fault: Fault
) -> None:
    """The client hears of a fault that passes, and its next attempt loses against itself."""
    proxy.faults.begin(fault, times=1)
    with pytest.raises(StoreUnavailable):
        create(impatient if fault is Fault.APPLIED_SILENT else store, "a", PART)
    wait_until("it is applied", lambda: names(store) == ["a"], 30)
    with pytest.raises(AlreadyExists):
        create(store, "a")


def test_a_late_request_is_applied_after_the_client_gave_up(
    proxy: FaultProxy, store: GcsObjectStore, impatient: GcsObjectStore
) -> None:
    """First there is nothing, then there is."""
    proxy.faults.late_s = 5.0
    proxy.faults.begin(Fault.LATE, times=1)
    with pytest.raises(StoreUnavailable):
        create(impatient, "a")
    assert names(store) == []
    wait_until("it is applied", lambda: names(store) == ["a"], 30)
    wait_until("it is counted", lambda: proxy.faults.figures() == {"late": 1}, 30)
    assert proxy.faults.pending == 0


def test_slow_bodies_arrive_whole(proxy: FaultProxy, store: GcsObjectStore) -> None:
    """A trickle is no timeout as long as something comes."""
    proxy.faults.slow_s = 0.5
    proxy.faults.begin(Fault.SLOW_REQUEST, times=1)
    proxy.faults.begin(Fault.SLOW_ANSWER, times=2)
    began = time.monotonic()
    create(store, "a", PART)
    assert store.read("a")[1] == PART
    assert time.monotonic() - began > 1
    assert proxy.faults.figures() == {"slow-request": 1, "slow-answer": 2}


def test_denials_are_an_operators_affair(proxy: FaultProxy, store: GcsObjectStore) -> None:
    """401 and 403, and 404 on everything."""
    for fault, error in zip(DENIED, (AccessDenied, AccessDenied, BucketMissing), strict=True):
        proxy.faults.begin(fault)
        with pytest.raises(error):
            create(store, "a")
        proxy.faults.end(fault)
    with pytest.raises(ObjectMissing):
        store.read("a")


def test_a_corrupt_answer_is_noticed(proxy: FaultProxy, store: GcsObjectStore) -> None:
    """The checksum tells."""
    create(store, "a")
    proxy.faults.begin(Fault.CORRUPT_ANSWER, times=1)
    with pytest.raises(StoreUnavailable):
        store.read("a")
    assert store.read("a")[1] == b"body"


def test_every_fault_fits_some_request() -> None:
    """None is dead."""
    upload = Request("POST", "/upload/storage/v1/b/x/o?uploadType=multipart")
    download = Request("GET", "/storage/v1/b/x/o/y?alt=media")
    assert all(fits(fault, upload) or fits(fault, download) for fault in Fault)
