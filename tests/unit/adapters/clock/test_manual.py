"""The manual clock keeps the contract, and moves only when told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.contracts.clock import ClockContract

from streamlake.adapters.clock.manual import ManualClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


class TestManualClock(ClockContract):
    """`ManualClock` as a `Clock`."""


def test_it_stands_still(clock: ManualClock) -> None:
    assert (clock.now(), clock.now()) == (NOON, NOON)
    assert clock.monotonic() == clock.monotonic()


def test_advancing_moves_both_times(clock: ManualClock) -> None:
    began = clock.monotonic()
    clock.advance(1.5)
    assert clock.now() == NOON + timedelta(seconds=1.5)
    assert clock.monotonic() == began + 1.5


def test_time_does_not_run_backwards(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="seconds must be >= 0, is -1"):
        clock.advance(-1)


def test_setting_it_makes_the_wall_time_jump_and_leaves_the_monotonic_time_alone(clock: ManualClock) -> None:
    began = clock.monotonic()
    clock.set(NOON - timedelta(days=1))
    assert clock.now() == NOON - timedelta(days=1)
    assert clock.monotonic() == began


def test_any_time_zone_is_told_in_utc(clock: ManualClock) -> None:
    clock.set(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert clock.now().utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="timezone-aware"):
        clock.set(datetime(2026, 3, 1))  # noqa: DTZ001  # the mistake under test
