"""Writes straight to the log with timestamps around midnights, so that several dates interleave in every partition."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.times import DAY_MS

PAUSE_S = 0.3
AROUND_MS = 3_000
BATCH = 20


class MidnightProducer:
    """A second producer, in a thread: another program that knows nothing of our headers."""

    def __init__(self, dataset: str, append: Callable[[Sequence[OutgoingRecord]], None], seed: int) -> None:
        self._topic = raw_topic(dataset)
        self._append = append
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="midnight", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more records; the outcomes of all are in."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE_S):
            self._append([self._record(number + i) for i in range(BATCH)])
            number += BATCH

    def _record(self, number: int) -> OutgoingRecord:
        """Just before or just after one of the last two midnights, out of order."""
        today = int(time.time() * 1000) // DAY_MS * DAY_MS
        midnight = today - self._dice.choice((0, DAY_MS))
        at = min(midnight + self._dice.randint(-AROUND_MS, AROUND_MS), int(time.time() * 1000))
        key = f"mid-{self._dice.randrange(50)}"
        value = f'{{"order_id":"{key}","customer_id":"m{number}","amount":1,"event_time":"2026-01-01T00:00:00Z"}}'
        return OutgoingRecord(self._topic, key.encode(), value.encode(), (), at)
