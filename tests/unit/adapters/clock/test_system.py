"""The machine's clock keeps the contract, and tells the real time."""

from __future__ import annotations

import time

import pytest
from tests.contracts.clock import ClockContract

from streamlake.adapters.clock.system import SystemClock
from streamlake.domain.ports.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return SystemClock()


class TestSystemClock(ClockContract):
    """`SystemClock` as a `Clock`."""


def test_the_wall_time_is_the_machines(clock: Clock) -> None:
    before = time.time()
    assert before - 1 <= clock.now().timestamp() <= time.time() + 1


def test_the_monotonic_time_passes(clock: Clock) -> None:
    began = clock.monotonic()
    deadline = time.monotonic() + 5
    while clock.monotonic() == began:
        assert time.monotonic() < deadline
