"""Standing by: while a rewind holds the dataset's group, its consumers are out of it, and say so."""

from __future__ import annotations

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.times import epoch_ms
from streamlake.domain.ports.clock import Clock
from streamlake.domain.use_cases.control import Control, StopOrder


class StandBy:
    """The order to stand by, as last seen. `look` belongs to the watcher's thread, `order` to any."""

    def __init__(self, dataset: str, control: Control, clock: Clock) -> None:
        self._dataset = dataset
        self._control = control
        self._clock = clock
        self._seen: StopOrder | None = None
        self._seen_end: int | None = None

    def look(self) -> None:
        """Look for an order, or for its end. What cannot be seen just now stays as it was: an order expires."""
        try:
            end = self._control.end()
            if end != self._seen_end:
                self._seen = self._control.stop_order(self._dataset)
                self._seen_end = end
        except StreamLakeError:
            return

    @property
    def order(self) -> StopOrder | None:
        """The order in force; None while there is none, or it has run out."""
        seen = self._seen
        return None if seen is None or seen.until_ms <= epoch_ms(self._clock.now()) else seen
