"""Damage that only bodies tell: `--deep` finds it, and an audit of what parts say of themselves does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from tests.simulation.ports import picked
from tests.unit.domain.audited import AuditedWorld, checksum, found, kinds, sound_world
from tests.unit.domain.worlds import GOOD, P0, PREFIX

from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.ports.event_log import LogReader

LAST = f"{PREFIX}part-0011.json"
ROLL_UP = f"{PREFIX}_metadata.json"


@pytest.fixture
def world() -> AuditedWorld:
    return sound_world()


@pytest.mark.parametrize("form", ["json", "json.gz"])
def test_what_was_not_damaged_gives_no_finding(form: str) -> None:
    world = sound_world(form)
    report = world.audit(deep=True)
    assert (report.verdict, report.findings, report.notes) == ("clean", [], [])
    assert (report.zone.bodies_read, report.zone.rows_compared) == (14, 47)


def test_a_body_that_was_forged_with_everything_that_is_said_of_it(world: AuditedWorld) -> None:
    """Body, checksum, chain and roll-up all fit; the log knows better."""
    forge(world, LAST, lambda body: body.replace(b'"n":20', b'"n":99'))
    assert world.audit().findings == []
    report = world.audit(deep=True)
    assert kinds(report) == {"payload_changed"}
    assert found(report, "payload_changed") == ([LAST], [(20, 21)])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda body: body.replace(b'"offset":20', b'"offset":19'), "body_rows"),
        (lambda body: body + body, "body_rows"),
        (lambda body: b"", "body_rows"),
        (lambda body: b"\xff" + body, "body_damaged"),
        (lambda body: body.replace(b'"partition":1', b'"partition":0'), "body_rows"),
        (lambda body: body.replace(b'"dataset":"orders"', b'"dataset":"flights"'), "envelope_wrong"),
        (lambda body: body.replace(b'"topic":"streamlake.', b'"topic":"streamleak.'), "envelope_wrong"),
        (lambda body: body.replace(b'"key":"key-20"', b'"key":"key-21"'), "envelope_wrong"),
        (lambda body: body.replace(b'"key":"key-20"', b'"key":null'), "envelope_wrong"),
        (lambda body: body.replace(b'"ingestion_id":"', b'"ingestion_id":"0'), "envelope_wrong"),
        (lambda body: body.replace(b',"payload"', b',"replay_id":"r","payload"'), "envelope_wrong"),
        (lambda body: body.replace(b'"timestamp":1795', b'"timestamp":1796'), "envelope_wrong"),
        (lambda body: body.replace(b'"headers":{}', b'"headers":{"a":"b"}'), "envelope_wrong"),
    ],
)
def test_a_forged_row(world: AuditedWorld, change: Callable[[bytes], bytes], kind: str) -> None:
    forge(world, LAST, change)
    assert kind in kinds(world.audit(deep=True))
    assert LAST in found(world.audit(deep=True), kind)[0]


def test_a_forged_letter(world: AuditedWorld) -> None:
    letters = world.letters(0) + world.letters(1)
    world.replace_letters([letters[0]._replace(value=GOOD), *letters[1:]])
    assert world.audit().findings == []
    assert kinds(world.audit(deep=True)) == {"letter_changed"}


def test_a_row_that_the_log_never_showed(world: AuditedWorld) -> None:
    """A reader that lands aborted records, say; here the log does not show one that has landed."""
    report = world.audit(reader=_Hiding(world.log.reader(), 26), deep=True)
    assert found(report, "foreign_rows")[1] == [(26, 27)]


class _Hiding(LogReader):
    """A log that does not show one offset of partition 0."""

    def __init__(self, reader: LogReader, hidden: int) -> None:
        self._reader = reader
        self._hidden = hidden

    def read(self, source: TopicPartition, start: int, until: int) -> Iterator[RecordBatch]:
        for batch in self._reader.read(source, start, until):
            shown = [at for at, offset in enumerate(batch.offsets) if (source, offset) != (P0, self._hidden)]
            yield picked(batch, shown)


def forge(world: AuditedWorld, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a body and all that is said of it, the roll-up included."""
    world.edit(name, change, forge=True)
    told = json.loads(world.store.read(ROLL_UP)[1])
    for part in told["parts"]:
        if name.endswith(part["name"]):
            part["crc32c"] = checksum(world.store.read(name)[1])
            was, part["bytes"] = part["bytes"], len(world.store.read(name)[1])
            told["totals"]["live"]["bytes"] += part["bytes"] - was
    world.put(ROLL_UP, json.dumps(told).encode(), {})
