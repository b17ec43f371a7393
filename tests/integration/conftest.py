"""Real services, one of each for the whole session; skipped with the reason where there is none.

Where they are promised (in CI, or with STREAMLAKE_REQUIRE_SERVICES=1) a missing one is a failure instead: a suite that
skips what it is for must not be green.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NoReturn, TypeVar

import pytest
from tests.services.gcs import GcsService, gcs
from tests.services.kafka import KafkaService, ServiceUnavailable, kafka

S = TypeVar("S")


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where the services are promised."""
    if os.environ.get("CI") or os.environ.get("STREAMLAKE_REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def promised(service: AbstractContextManager[S]) -> Iterator[S]:
    """The service, running; where there is none, the test is skipped or fails (`missing`)."""
    with ExitStack() as services:
        try:
            running = services.enter_context(service)
        except ServiceUnavailable as e:
            missing(str(e))
        yield running


@pytest.fixture(scope="session")
def kafka_service() -> Iterator[KafkaService]:
    """A Kafka of one broker. Other tests use it too: make topics and groups of your own, break nothing."""
    with promised(kafka()) as service:
        yield service


@pytest.fixture(scope="session")
def gcs_service() -> Iterator[GcsService]:
    """A Google Cloud Storage API. Other tests use it too: make buckets of your own."""
    with promised(gcs()) as service:
        yield service
