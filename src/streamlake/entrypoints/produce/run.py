"""One run: batches out, results in, and everything written down in the order that loses nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from time import monotonic

from streamlake.domain.errors import SettingsInvalid, StreamLakeError
from streamlake.entrypoints.produce.batches import Batch
from streamlake.entrypoints.produce.checkpoint import Checkpoint
from streamlake.entrypoints.produce.results import BatchResult, Tally, reject_lines

SAVE_S = 0.5
"""A checkpoint this old is repeated work, never lost work."""


@dataclass
class Run:
    """What senders report to, from any thread. Rejects are on disk before the checkpoint that leaves them behind."""

    checkpoint: Checkpoint
    rejects: RejectsFile | None = None
    tally: Tally = field(default_factory=Tally)
    failed: threading.Event = field(default_factory=threading.Event)
    """A batch could not be stored, or the user has had enough: no more is begun, and nothing tried again."""
    _begun: int = 0
    _ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _saved: float = 0.0

    def begin(self, batch: Batch) -> bool:
        """A batch is about to be sent. False where it must not be: something has failed."""
        if self.failed.is_set():
            return False
        self._begun += len(batch.events)
        return True

    def done(self, batch: Batch, result: BatchResult) -> None:
        """A batch has its result. What cannot be written down has failed: its batch is sent again, by the next run."""
        with self._lock:
            if self._ended:
                return  # the answer to an interrupted run comes too late: it is counted already
            try:
                self._write_down(batch, result)
            except StreamLakeError as fault:
                result = BatchResult(0, (), len(batch.events), str(fault))
            if result.failed:
                self.failed.set()
            self.tally.add(result)

    def end(self) -> None:
        """Save the checkpoint, and count what was begun and has no outcome as failed. Raises `SettingsInvalid`."""
        with self._lock:
            self._ended = True
            if left := self._begun - self.tally.total:
                self.tally.failed["no answer yet"] += left
            self._save()

    def _write_down(self, batch: Batch, result: BatchResult) -> None:
        if self.rejects is not None:
            self.rejects.write(reject_lines(batch, result))
        if not result.failed:
            moved = self.checkpoint.settle(batch.place, batch.after)
            if moved and monotonic() - self._saved > SAVE_S:
                self._save()

    def _save(self) -> None:
        self.checkpoint.save()
        self._saved = monotonic()


class RejectsFile:
    """Appended to without a buffer: what has been written is with the system, and a full disk is found out at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._faults():
            torn = _is_torn(path)
            self._out = FileIO(path, "ab")
        if torn:
            self.write(b"\n")

    def write(self, lines: bytes) -> None:
        """Append. Raises `SettingsInvalid` where it cannot be done."""
        with self._faults():
            rest = memoryview(lines)
            while rest:
                rest = rest[self._out.write(rest) :]

    def close(self) -> None:
        """Close it."""
        self._out.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SettingsInvalid(f"--rejects {self._path}: cannot be written: {error.strerror}") from error


def _is_torn(path: Path) -> bool:
    """Does the file end within a line, as a full disk has left it?"""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() != b"\n"
