"""What every clock promises: subclass `ClockContract` and supply the fixture `clock`."""

from __future__ import annotations

from datetime import timedelta

from streamlake.domain.ports.clock import Clock


class ClockContract:
    """The two times."""

    def test_the_wall_time_is_aware_and_in_utc(self, clock: Clock) -> None:
        assert clock.now().utcoffset() == timedelta(0)

    def test_the_monotonic_time_never_goes_back(self, clock: Clock) -> None:
        times = [clock.monotonic() for _ in range(1000)]
        assert times == sorted(times)
