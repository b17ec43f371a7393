"""Events come in only where the log can take them; a dataset without topics stops nobody else."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence

from tests.unit.entrypoints.http_api.door import Door

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.domain.errors import LogUnavailable, StreamLakeError
from streamlake.domain.ports.event_log import TopicInfo, TopicSpec
from streamlake.entrypoints.http_api import Readiness

EVENTS = "/v1/datasets/orders/events"


class Reachable:
    """An admin over the log in memory that can be cut off, and tells when it was asked."""

    def __init__(self) -> None:
        self._admin = MemoryEventLog(ManualClock()).admin()
        self.fault: StreamLakeError | None = None
        self.asked = threading.Semaphore(0)

    def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
        self.asked.release()
        if self.fault:
            raise self.fault
        return self._admin.topics(names)

    def provision(self, dataset: str) -> None:
        for end in ("raw", "dlq"):
            self._admin.create_topic(TopicSpec(f"streamlake.{dataset}.{end}", 1, 1))

    def __getattr__(self, name: str) -> object:
        return getattr(self._admin, name)


def test_before_the_first_probe_nothing_is_ready(make_door: Callable[..., Door]) -> None:
    door = make_door(ready=False)

    answer = door.post(EVENTS)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:streamlake:problem:not-ready"
    assert door.everything() == []
    ready = door.request("GET", "/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert door.request("GET", "/livez").status_code == 200


def test_a_dataset_without_its_topics_is_refused_alone(make_door: Callable[..., Door]) -> None:
    door = make_door(topics=["refunds"])

    assert door.post(EVENTS).status_code == 503
    assert door.post("/v1/datasets/refunds/events").status_code == 202
    told = door.request("GET", "/readyz")
    assert told.status_code == 503
    assert set(told.json()["datasets"]) == {"orders"}
    assert "streamlake.orders.raw, streamlake.orders.dlq" in told.json()["reasons"][0]


def test_it_is_ready_when_everything_is_there_and_again_when_it_is_back() -> None:
    admin = Reachable()
    readiness = Readiness(admin, ["orders"])  # type: ignore[arg-type]  # by __getattr__ it has the rest
    seen = []
    for step in ("missing", "present", "cut off", "back"):
        if step == "present":
            admin.provision("orders")
        admin.fault = LogUnavailable("no broker") if step == "cut off" else None
        readiness.probe()
        seen.append((step, readiness.report().ready, readiness.refusal("orders") is None))

    assert seen == [
        ("missing", False, False),
        ("present", True, True),
        ("cut off", False, False),
        ("back", True, True),
    ]


def test_the_probe_runs_by_itself_and_at_once_when_something_looks_wrong() -> None:
    admin = Reachable()
    admin.provision("orders")
    readiness = Readiness(admin, ["orders"], interval_s=3600, retry_s=0.01)  # type: ignore[arg-type]
    readiness.start()
    try:
        assert admin.asked.acquire(timeout=60)
        readiness.suspect()
        assert admin.asked.acquire(timeout=60)
    finally:
        readiness.stop()
    assert readiness.report().reasons == ["shutting down"]


def test_a_probe_that_is_broken_itself_says_so_and_goes_on(log_lines: io.StringIO) -> None:
    class Broken(Reachable):
        def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
            super().topics(names)
            raise TypeError("s3cret")

    admin = Broken()
    readiness = Readiness(admin, ["orders"], interval_s=3600, retry_s=0.01)  # type: ignore[arg-type]
    readiness.start()
    try:
        assert admin.asked.acquire(timeout=60)
        assert admin.asked.acquire(timeout=60)
        assert not readiness.report().ready
        assert "s3cret" not in str(readiness.report()) + log_lines.getvalue()
    finally:
        readiness.stop()
