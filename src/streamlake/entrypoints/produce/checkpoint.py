"""How far a file has been sent: a small JSON file, replaced as a whole; a killed `produce` goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from streamlake.domain.errors import SettingsInvalid
from streamlake.entrypoints.produce.batches import START, Batch, Place

VERSION = 1
_COMPARED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Job:
    """What is being sent, and as whom: the same again gives the same ingestion ids."""

    dataset: str
    producer_service: str
    token: str
    batch_size: int
    head: str
    """Hash of the file's beginning: another file is not the rest of this one."""

    def token_of(self, batch: Batch) -> str:
        """The idempotency key of one batch."""
        return f"{self.token}:{batch.place.batch}"


class Checkpoint:
    """Moves forward over the batches that are settled without a gap. Used under one lock."""

    def __init__(self, path: Path | None, job: Job, start: Place = START) -> None:
        self._path = path
        self._job = job
        self.place = start
        self._settled: dict[int, Place] = {}

    def settle(self, place: Place, after: Place) -> bool:
        """The batch at `place` is done. True where that moved the checkpoint."""
        self._settled[place.batch] = after
        before = self.place
        while (next_place := self._settled.pop(self.place.batch, None)) is not None:
            self.place = next_place
        return self.place != before

    def save(self) -> None:
        """On disk, whole or not at all. Raises `SettingsInvalid` where it cannot be written."""
        if self._path is None:
            return
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with fresh.open("w") as out:
                json.dump({"v": VERSION, **asdict(self._job), **asdict(self.place)}, out)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise SettingsInvalid(f"--checkpoint {self._path}: cannot be written: {error.strerror}") from error


def load(path: Path) -> tuple[Job, Place] | None:
    """What an earlier run has left, or None. Raises `SettingsInvalid` where it cannot be read."""
    try:
        told = json.loads(path.read_bytes())
        if told.pop("v") != VERSION:
            raise ValueError("another version")
        place = Place(told.pop("batch"), told.pop("line"), told.pop("offset"))
        return Job(**told), place
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as damaged:
        raise SettingsInvalid(f"{path}: is not a checkpoint of `streamlake produce`: {damaged}") from None


def head_of(file: Path, until: int = _COMPARED_BYTES) -> str:
    """Hash and length of a file's beginning, to tell it from another's. `until`: no more of it than that."""
    with file.open("rb") as stream:
        begin = stream.read(min(until, _COMPARED_BYTES))
    return f"{len(begin)}:{hashlib.sha256(begin).hexdigest()}"


def beginning_of_rest(file: Path, sent: Place) -> Place:
    """Where what has not been sent begins. Raises `ValueError` where what was sent last has changed.

    A last line without a line feed is a line, and sent as one. The line feed that it gets when the file grows belongs
    to it; anything else says that the line was not complete when it was sent.
    """
    if sent.offset == 0:
        return sent
    with file.open("rb") as stream:
        stream.seek(sent.offset - 1)
        last, following = stream.read(1), stream.read(2)
    if last == b"\n" or not following:
        return sent
    for end in (b"\n", b"\r\n"):
        if following.startswith(end):
            return replace(sent, offset=sent.offset + len(end))
    raise ValueError(f"{file}: line {sent.line:,} was its last, without a line feed, when it was sent; now it goes on")
