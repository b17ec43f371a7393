"""Real services, one of each for the whole session; skipped with the reason where there is none.

Where they are promised (in CI, or with STREAMLAKE_REQUIRE_SERVICES=1) a missing one is a failure instead: a suite that
skips what it is for must not be green.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from tests.services.gcs import GcsService, gcs
from tests.services.kafka import KafkaService, ServiceUnavailable, kafka

HERE = Path(__file__).parent
TIMED = {
    "test_event_log_kafka_faults",
    "test_group_faults",
    "test_http_honesty",
    "test_leaving_and_starting",
    "test_network_faults",
    "test_storage_faults",
    "test_torture_slice",
}
"""They hold processes to their times; about half of what this folder takes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two queues, where tests run side by side: never are two of the timed ones under way, which mostly wait for what
    they have broken, and the rest shares its services. Tests without services go wherever there is room."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.xdist_group("timed" if item.path.stem in TIMED else "services"))


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where the services are promised."""
    if os.environ.get("CI") or os.environ.get("STREAMLAKE_REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka_service() -> Iterator[KafkaService]:
    """A Kafka of one broker. Other tests use it too: make topics and groups of your own, break nothing."""
    with ExitStack() as services:
        try:
            service = services.enter_context(kafka())
        except ServiceUnavailable as e:
            missing(str(e))
        yield service


@pytest.fixture(scope="session")
def gcs_service() -> Iterator[GcsService]:
    """A Google Cloud Storage API. Other tests use it too: make buckets of your own."""
    with ExitStack() as services:
        try:
            service = services.enter_context(gcs())
        except ServiceUnavailable as e:
            missing(str(e))
        yield service
