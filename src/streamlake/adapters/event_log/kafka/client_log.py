"""Where librdkafka's own lines go, and how often.

While a broker is away every client says so several times a second, each time with another port and another number of
milliseconds. Once in half a minute is enough: readiness and our own lines say it all the while.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

LOG = logging.getLogger("streamlake.kafka")
"""Without a logger librdkafka writes to stderr past every format."""

AGAIN_S = 30.0
MOST_KNOWN = 1_000

_NUMBERS = re.compile(r"\d+")


class OnceInAWhile(logging.Filter):
    """Lets a line pass once in `AGAIN_S`, whatever its numbers; the next one tells how many were left out.

    A connection that failed is a warning: whether it is an error is for whoever asked for something to say.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        kind = _NUMBERS.sub("", message)
        now = self._clock()
        last, left_out = self._told.get(kind, (-AGAIN_S, 0))
        if now - last < AGAIN_S:
            self._told[kind] = last, left_out + 1
            return False
        if len(self._told) >= MOST_KNOWN:
            self._told.clear()
        self._told[kind] = now, 0
        record.msg, record.args = message + (f" ({left_out} more like it)" if left_out else ""), ()
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


LOG.addFilter(OnceInAWhile())
