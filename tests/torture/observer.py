"""Watches a world while it suffers, from outside: what is committed is landed or lettered, and what is there stays.

Committed positions are read *before* parts and letters are: so whatever is committed must be found. It believes no
claim and no roll-up; it reads bodies, each part's once.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections import Counter, defaultdict

from tests.integration.system import World

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.contracts import dlq_topic
from streamlake.domain.model.parts import parse_part_name
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.times import day_of_ms, iso_date
from streamlake.domain.ports.object_store import ObjectInfo

PAUSE_S = 1.0


class Observer:
    """Looks about once a second, in a thread, until told to stop."""

    def __init__(self, world: World) -> None:
        self.broken: list[str] = []
        """Promises that did not hold, in words."""
        self.rounds = 0
        self.blind: Counter[str] = Counter()
        """Rounds that ended early because log or store did not answer the observer, by error."""
        self.regressions = 0
        """Committed positions seen to move backwards: allowed (a stale member's), told."""
        self.parts: dict[str, ObjectInfo] = {}
        self._said: set[str] = set()
        self._world = world
        self._done: dict[int, set[int]] = defaultdict(set)
        self._frontier: dict[int, int] = defaultdict(int)
        self._committed: dict[int, int] = {}
        self._letters_read: dict[TopicPartition, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """One last look, and the end."""
        self._stop.set()
        self._thread.join(120)
        if self._thread.is_alive():
            self.broken.append("the observer itself is stuck")

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(PAUSE_S)
            try:
                self._look()
            except StreamLakeError as e:
                self.blind[type(e).__name__] += 1
            except Exception as e:  # noqa: BLE001 - a thread's death must be seen
                self.broken.append(f"the observer failed: {type(e).__name__}: {e}")
                return

    def _look(self) -> None:
        committed = self._world.committed()
        self._look_at_parts()
        self._read_letters()
        for partition, offset in sorted(committed.items()):
            if offset > (end := self._end_of_run(partition)):
                self._say(f"partition {partition}: {offset} is committed, {end} is neither landed nor lettered")
            if offset < self._committed.get(partition, 0):
                self.regressions += 1
        self._committed = committed
        self.rounds += 1

    def _say(self, what: str) -> None:
        if what not in self._said:  # a fault stays, and would be told at every look
            self._said.add(what)
            self.broken.append(f"{time.strftime('%H:%M:%S')} {what}")

    def _end_of_run(self, partition: int) -> int:
        done, end = self._done[partition], self._frontier[partition]
        while end in done:
            end += 1
        self._frontier[partition] = end
        return end

    def _look_at_parts(self) -> None:
        prefix = f"raw/dataset={self._world.dataset}/"
        found = {info.name: info for info in self._world.store.list(prefix) if parse_part_name(info.name)}
        for name, known in self.parts.items():
            now = found.get(name)
            if now is None:
                self._say(f"{name} is gone")
            elif (now.generation, now.crc32c) != (known.generation, known.crc32c):
                self._say(f"{name} has changed: {known} -> {now}")
        numbers: dict[str, list[int]] = defaultdict(list)
        for name in found:
            part = parse_part_name(name)
            assert part is not None
            numbers[name.rpartition("/")[0]].append(part.number)
        for folder, there in numbers.items():
            if sorted(there) != list(range(1, len(there) + 1)):
                self._say(f"{folder}: part numbers are not dense: {sorted(there)}")
        for name in sorted(found.keys() - self.parts.keys()):
            self._read_part(name)
            self.parts[name] = found[name]

    def _read_part(self, name: str) -> None:
        date = name.partition("ingestion_date=")[2].partition("/")[0]
        body = self._world.store.read(name)[1]
        for line in (gzip.decompress(body) if name.endswith(".gz") else body).splitlines():
            envelope = json.loads(line)
            partition, offset = envelope["partition"], envelope["offset"]
            if offset in self._done[partition]:
                self._say(f"{name}: {partition}@{offset} is there twice, or lettered")
            if iso_date(day_of_ms(envelope["timestamp"])) != date:
                self._say(f"{name}: {partition}@{offset} is of another date")
            self._done[partition].add(offset)

    def _read_letters(self) -> None:
        topic = dlq_topic(self._world.dataset)
        info = self._world.admin.topics([topic])[topic]
        lanes = [TopicPartition(topic, number) for number in range(info.partitions)]
        for lane, marks in self._world.admin.watermarks(lanes).items():
            if marks.high <= (start := self._letters_read.get(lane, 0)):
                continue
            for batch in self._world.reader.read(lane, start, marks.high):
                for offset, headers in zip(batch.offsets, batch.headers, strict=True):
                    told = dict(headers)
                    if told.get("dlq_stage") == b"consumer":
                        place = int(told["dlq_source_partition"] or b""), int(told["dlq_source_offset"] or b"")
                        self._done[place[0]].add(place[1])
                    self._letters_read[lane] = offset + 1
