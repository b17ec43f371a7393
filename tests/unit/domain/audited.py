"""A small sound world to audit, made by the real landing code, and the means to damage it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import google_crc32c
from tests.unit.domain.worlds import (
    BAD,
    DATASET,
    DLQ,
    FORMATS,
    GOOD,
    NOW,
    P0,
    P1,
    RAW,
    T0,
    Catalog,
    open_log,
    part_log,
)

from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.audit_report import AuditReport, Finding, Scope
from streamlake.domain.model.contracts import consumer_group
from streamlake.domain.model.parts import dump_claims, part_info
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import Header, OutgoingRecord
from streamlake.domain.model.times import DAY_MS, rfc3339
from streamlake.domain.ports.event_log import LogReader, TopicSpec
from streamlake.domain.ports.object_store import ObjectInfo
from streamlake.domain.use_cases.audit import Audit
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots
from streamlake.domain.use_cases.part_log import PartLogs

GROUP = consumer_group(DATASET)
LIMITS = LandingLimits(max_bytes=10**9, max_records=5, max_age_s=60)


class AuditedWorld:
    """A log and a bucket: records come, are landed or lettered and committed, and somebody does damage."""

    def __init__(self, form: str = "json") -> None:
        self.log: MemoryEventLog = open_log()
        self.store = MemoryObjectStore()
        self.admin = self.log.admin()
        self.form = form

    @property
    def topic_id(self) -> str:
        """The raw topic's id now."""
        return self.admin.topics([RAW])[RAW].topic_id

    def produce(
        self,
        count: int,
        source: TopicPartition = P0,
        *,
        bad: Iterable[int] = (),
        next_day: Iterable[int] = (),
        headers: Iterable[Header] = (),
    ) -> None:
        """So many records, some of them against the contract, some of the next day; the numbers count from 0."""
        wrong, later = set(bad), set(next_day)
        self.log.writer().append_and_wait(
            [
                OutgoingRecord(
                    source.topic,
                    f"key-{number}".encode(),
                    BAD if number in wrong else GOOD[:-1] + b',"n":%d}' % number,
                    list(headers),
                    T0 + number + (DAY_MS if number in later else 0),
                    source.partition,
                )
                for number in range(count)
            ]
        )

    def land(self, *, commit: bool = True, roll_up: bool = True, until: Mapping[TopicPartition, int] = {}) -> None:
        """What a consumer does with all there is from the committed positions on."""
        core = LandRecords(DATASET, Catalog(), LIMITS)
        logs = PartLogs(lambda date: part_log(self.store, date, form=self.form))
        landing = LandSnapshots(DATASET, self.admin, self.log.writer(), logs)
        snapshots = []
        committed = self.admin.group_offsets(GROUP, [P0, P1])
        for source, marks in self.admin.watermarks([P0, P1]).items():
            start = committed[source].offset if source in committed else marks.low
            snapshots += core.assign(source, self.topic_id, start)
            for batch in self.log.reader().read(source, start, until.get(source, marks.high)):
                snapshots += core.receive(batch, 0.0)
        snapshots += core.drain("shutdown")
        for snapshot in snapshots:
            landing.land(snapshot, NOW)
            settled = core.settled(snapshot)
            if commit:
                self.admin.alter_group_offsets(GROUP, settled)
        for log in logs if roll_up else ():
            log.roll_up.write(0.0)

    def recreate_topic(self) -> None:
        """Another topic of the same name; what was committed is gone."""
        self.log.delete_topic(RAW)
        self.admin.create_topic(TopicSpec(RAW, 2, 1))

    def commit(self, source: TopicPartition, offset: int, metadata: str = "") -> None:
        """An operator's reset."""
        self.admin.alter_group_offsets(GROUP, {source: Position(offset, metadata)})

    def audit(self, reader: LogReader | None = None, **scope: object) -> AuditReport:
        """What the audit says."""
        audit = Audit(DATASET, self.store, FORMATS, self.admin, reader or self.log.reader())
        return audit.run(replace(Scope(), **scope), rfc3339(NOW))  # type: ignore[arg-type]

    # Damage

    def names(self) -> list[str]:
        """The parts' names, in the order of their text."""
        return [info.name for info in self.store.list("raw/") if "/part-" in info.name]

    def delete(self, name: str) -> tuple[ObjectInfo, bytes]:
        """Remove an object; returns what it was."""
        self.store._names.remove(name)
        return self.store._objects.pop(name)

    def put(self, name: str, body: bytes, metadata: Mapping[str, str]) -> None:
        """Write an object over whatever was there."""
        if name in self.store._objects:
            self.delete(name)
        self.store.create(name, body, content_type="", metadata=metadata)

    def patch(self, name: str, **metadata: str) -> None:
        """Change custom metadata and nothing else: generation and checksum stay, as GCS does it."""
        info, body = self.store._objects[name]
        self.store._objects[name] = replace(info, metadata={**info.metadata, **metadata}), body

    def edit(self, name: str, change: Callable[[bytes], bytes], *, forge: bool = False) -> None:
        """Change a body; forging, with the checksum in its metadata made to fit."""
        info, body = self.store.read(name)
        changed = change(body)
        assert changed != body
        forged = {"crc32c": checksum(changed)} if forge else {}
        self.put(name, changed, {**info.metadata, **forged})

    def forget_letter(self, at: int) -> None:
        """One record of the dead-letter topic is gone: the topic is made anew without it."""
        letters = [record for number in range(2) for record in self.letters(number)]
        del letters[at]
        self.replace_letters(letters)

    def replace_letters(self, letters: Sequence[OutgoingRecord]) -> None:
        """The dead-letter topic with these instead."""
        self.log.delete_topic(DLQ)
        self.admin.create_topic(TopicSpec(DLQ, 2, 1, {"max.message.bytes": str(10**7)}))
        self.log.writer().append_and_wait(letters)

    def letters(self, partition: int) -> list[OutgoingRecord]:
        """The dead-letter topic's records, as they could be appended again."""
        found = []
        for batch in self.log.reader().read(TopicPartition(DLQ, partition), 0, 10**9):
            columns = zip(batch.keys, batch.values, batch.headers, batch.timestamps, strict=True)
            found += [OutgoingRecord(DLQ, k, v, headers, t, partition) for k, v, headers, t in columns]
        return found

    def append_letter(self, **changed: str) -> None:
        """The first letter again, with other headers."""
        [letter, *_] = self.letters(0) + self.letters(1)
        headers = [(name, changed[name].encode() if name in changed else value) for name, value in letter.headers]
        [outcome] = self.log.writer().append_and_wait([letter._replace(headers=headers)])
        assert not isinstance(outcome, StreamLakeError)


def sound_world(form: str = "json") -> AuditedWorld:
    """Two partitions, two dates, letters on both, several parts each, all of it committed."""
    world = AuditedWorld(form)
    world.produce(30, P0, bad=(3, 11, 12), next_day=(7, 8, 20))
    world.produce(22, P1, bad=(0, 21), next_day=(5, 6))
    world.land()
    return world


def checksum(body: bytes) -> str:
    """As GCS gives it."""
    return base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode()


def claims_of(world: AuditedWorld, name: str) -> str:
    """The claims of a part, in canonical form."""
    return dump_claims(part_info(world.store.describe(name).metadata).claims)


def kinds(report: AuditReport) -> set[str]:
    """The kinds of its findings."""
    return {finding.kind for finding in report.findings}


def the(report: AuditReport, kind: str) -> Finding:
    """Its only finding of a kind."""
    [found] = [finding for finding in report.findings if finding.kind == kind]
    return found


def found(report: AuditReport, kind: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The objects and offsets of all findings of a kind."""
    theirs = [each for each in report.findings if each.kind == kind]
    return (
        sorted({name for each in theirs for name in each.objects}),
        [run for each in theirs if each.offsets for run in each.offsets.ranges],
    )
