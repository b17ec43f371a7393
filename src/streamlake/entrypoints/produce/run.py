"""One run: batches out, results in, and everything written down in the order that loses nothing."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import BinaryIO

from streamlake.entrypoints.produce.batches import Batch
from streamlake.entrypoints.produce.checkpoint import Checkpoint
from streamlake.entrypoints.produce.results import BatchResult, Tally, write_rejects

SAVE_S = 0.5
"""A checkpoint this old is repeated work, never lost work."""


@dataclass
class Run:
    """What senders report to, from any thread. Rejects are on disk before the checkpoint that leaves them behind."""

    checkpoint: Checkpoint
    rejects: BinaryIO | None = None
    tally: Tally = field(default_factory=Tally)
    failed: threading.Event = field(default_factory=threading.Event)
    """A batch could not be stored: no more of them are begun."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _saved: float = 0.0

    def done(self, batch: Batch, result: BatchResult) -> None:
        """A batch has its result."""
        with self._lock:
            self.tally.add(result)
            if self.rejects is not None:
                write_rejects(self.rejects, batch, result)
            if result.failed:
                self.failed.set()
            elif self.checkpoint.settle(batch.place, batch.after) and monotonic() - self._saved > SAVE_S:
                self._save()

    def save(self) -> None:
        """At the end."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        if self.rejects is not None:
            self.rejects.flush()
        self.checkpoint.save()
        self._saved = monotonic()
