"""`python -m benchmarks.audit FOLDER`: an audit of very many parts and offsets on the file store; time and memory.

Makes the parts first (real objects with real metadata, tiny bodies; a folder in memory such as /dev/shm spares the
disk), or takes what is in the folder already. The log is a stand-in that says how far it goes: a sound zone needs no
lookup in it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.event_log.memory.roles import MemoryAdmin
from streamlake.adapters.object_store.filesystem import FilesystemObjectStore
from streamlake.adapters.part_format.ndjson import JsonPartFormat
from streamlake.domain.model.audit_report import Scope
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.parts import PartInfo, Predecessor, part_name, raw_prefix
from streamlake.domain.model.positions import Lane, Offsets, Position, TopicPartition, Watermarks
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.snapshots import commit_metadata
from streamlake.domain.model.times import iso_date, ms_of_date
from streamlake.domain.ports.event_log import LogReader, TopicSpec
from streamlake.domain.use_cases.audit import Audit
from streamlake.domain.use_cases.roll_up import rebuild_roll_up

DATASET = "many"
PARTITIONS = 6
FIRST_DAY = 20_000
BODY = b"{}\n"


class _Admin(MemoryAdmin):
    """A log of which only the ends are known."""

    def __init__(self, log: MemoryEventLog, high: int) -> None:
        super().__init__(log._store)  # noqa: SLF001
        self._high = high

    def watermarks(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Watermarks]:
        return dict.fromkeys(partitions, Watermarks(0, self._high))

    def group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        return dict.fromkeys(partitions, Position(self._high, commit_metadata("memory-1")))


class _Reader(LogReader):
    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        raise AssertionError(f"a sound zone needs no lookup, this asks for {source} [{start}, {until})")


def make(store: FilesystemObjectStore, parts: int, dates: int, rows: int) -> None:
    """So many parts of so many rows, over so many dates."""
    store.create_bucket()
    crc32c = JsonPartFormat().encode(DATASET, [], None).crc32c
    each = parts // dates
    for day in range(dates):
        date, previous = iso_date(FIRST_DAY + day), None
        for number in range(1, each + 1):
            at = day * each + number - 1
            share = rows // PARTITIONS
            span = Offsets([(at * share, (at + 1) * share)])
            claims = {Lane("memory-1", partition): span for partition in range(PARTITIONS)}
            stamp = ms_of_date(date) + number
            info = PartInfo(claims, claims, share * PARTITIONS, crc32c, "bench", stamp, stamp, None, previous)
            name = raw_prefix(DATASET, date) + part_name(number, "json")
            found = store.create(name, b"", content_type="", metadata=info.to_metadata(), crc32c=crc32c)
            previous = Predecessor(info.digest(name), found.generation, crc32c)
        rebuild_roll_up(store, DATASET, date)
        print(f"\rmade {(day + 1) * each:,} parts", end="", file=sys.stderr)
    print(file=sys.stderr)


def main() -> None:
    """Make, or measure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--parts", type=int, default=100_000)
    arguments.add_argument("--dates", type=int, default=100)
    arguments.add_argument("--rows", type=int, default=1_002, help="per part")
    arguments.add_argument("--make", action="store_true", help="make the parts, and measure in another process")
    told = arguments.parse_args()
    store = FilesystemObjectStore(told.folder)
    if told.make:
        make(store, told.parts, told.dates, told.rows)
        return
    log = MemoryEventLog(ManualClock())
    log.admin().create_topic(TopicSpec(raw_topic(DATASET), PARTITIONS, 1))
    admin = _Admin(log, told.parts // told.dates * told.dates * (told.rows // PARTITIONS))
    began, cpu = time.monotonic(), time.process_time()
    report = Audit(DATASET, store, {"json": JsonPartFormat()}, admin, _Reader()).run(Scope(), "2026-11-21T00:00:00Z")
    took, used = time.monotonic() - began, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{report.verdict}: {report.zone.parts:,} parts, {sum(each.landed for each in report.partitions):,} offsets,"
        f" {took:.1f} s ({used:.1f} s of CPU), {after // 1024} MiB at most"
    )


if __name__ == "__main__":
    main()
