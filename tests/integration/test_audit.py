"""`streamlake audit` on real services: no finding through live landing and kill -9, and every damage found after."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka.admin import AdminClient
from tests.integration.system import Producer, World, delete_topic, poison, wait_until
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService
from tests.unit.audit_schema import SCHEMA

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.ports.event_log import TopicSpec

QUICK = {"STREAMLAKE_LANDING__MAX_AGE_S": "1"}


@pytest.fixture(params=["embedded", "kafka"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The embedded default, and the real thing; each with its own dataset."""
    dataset = f"t{uuid.uuid4().hex[:10]}"
    if request.param == "embedded":
        environment = {
            "STREAMLAKE_EVENT_LOG": f"sqlite://{tmp_path}/log.sqlite",
            "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
            "STREAMLAKE_EMBEDDED__SESSION_TIMEOUT_S": "3",
        }
        made = World(tmp_path, environment | QUICK, dataset, "parquet")
    else:
        made = _on_kafka(request, tmp_path, dataset)
    yield made
    made.close()


@pytest.fixture
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Only the real thing."""
    made = _on_kafka(request, tmp_path, f"t{uuid.uuid4().hex[:10]}")
    yield made
    made.close()


def _on_kafka(request: pytest.FixtureRequest, folder: Path, dataset: str) -> World:
    kafka: KafkaService = request.getfixturevalue("kafka_service")
    gcs: GcsService = request.getfixturevalue("gcs_service")
    environment = {
        "STREAMLAKE_EVENT_LOG": f"kafka://{kafka.bootstrap}",
        "STREAMLAKE_OBJECT_STORE": f"gs://{dataset}/some/prefix",
        "STORAGE_EMULATOR_HOST": gcs.endpoint,
        "STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS": "6000",
    }
    return World(folder, environment | QUICK, dataset, "json.gz")


def audit(world: World, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report, which keeps to its schema."""
    done = world.cli("audit", "--dataset", world.dataset, "--json", *options)
    assert done.returncode in (0, 1), done.stderr.decode()
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    return done.returncode, report


def kinds(report: dict[str, Any]) -> set[str]:
    return {each["kind"] for each in report["findings"]}


def total(report: dict[str, Any], name: str) -> int:
    values = [each[name] for each in report["partitions"]]
    return sum(value["offsets"] if isinstance(value, dict) else value for value in values)


def test_no_finding_through_live_landing_and_kill_9_and_all_of_it_proved_after(world: World) -> None:
    world.set_up()
    api = world.api()
    first, second = world.consumer("first"), world.consumer("second")
    producer = Producer(api, world.dataset, seed=11)
    wait_until("a part has landed", world.parts)
    looks = [audit(world)]
    first.kill()
    looks.append(audit(world))
    first = world.consumer("first")
    world.freeze(second)
    looks.append(audit(world, "--deep"))
    wait_until("the frozen one is given up", lambda: world.members() == 1)
    second.send(signal.SIGCONT)
    looks += [audit(world), audit(world, "--date", time.strftime("%Y-%m-%d", time.gmtime()))]
    world.append(poison(world.dataset, int(time.time() * 1000)))
    producer.stop()
    wait_until("everything is committed", world.all_committed)
    assert {(code, tuple(report["findings"])) for code, report in looks} == {(0, ())}
    assert all(total(report, "landed") > 0 for _, report in looks)

    code, report = audit(world, "--deep", "--strict")
    seen = world.observe()
    assert (code, report["verdict"], report["findings"]) == (0, "clean", [])
    assert total(report, "visible") == len(seen.log)
    assert total(report, "landed") == len(seen.landed) == report["zone"]["rows_compared"]
    assert total(report, "lettered") == len(seen.letters) == 8
    assert (first.terminate(), second.terminate(), api.terminate()) == (0, 0, 0)


def test_transactions_leave_gaps_and_an_accepted_gap_stands_apart(real: World) -> None:
    """Markers and an aborted record are told from loss by looking; what an operator skipped is told as such."""
    real.set_up()
    world = real
    consumer = world.consumer("consumer")
    topic = raw_topic(world.dataset)
    _write_in_transactions(world, topic)
    wait_until("everything is committed", lambda: _reached(world, 0))
    consumer.terminate()
    code, report = audit(world, "--partition", "0", "--deep")
    assert (code, report["verdict"]) == (0, "clean")
    [partition] = report["partitions"]
    assert (partition["visible"], partition["landed"], partition["gaps"]["ranges"]) == (20, 20, [[10, 14]])

    end = world.committed()[0]
    _write_plain(world, topic, 10)
    world.admin.alter_group_offsets(world.group, {TopicPartition(topic, 0): Position(end + 4)})
    code, report = audit(world)
    assert (code, kinds(report)) == (1, {"missing"}), "an operator's reset ahead skips records"
    assert [each["offsets"]["ranges"] for each in report["findings"]] == [[[end + 1, end + 4]]], "one is a marker"
    assert world.cli("resume", "--dataset", world.dataset, "--partition", "0", "--accept-gap").returncode == 0
    assert (audit(world)[0], audit(world, "--strict")[0]) == (0, 1)
    consumer = world.consumer("again")
    wait_until("everything is committed", lambda: _reached(world, 0))
    code, report = audit(world)
    assert (code, report["verdict"], total(report, "accepted")) == (0, "clean", 3)
    assert [note["kind"] for note in report["notes"]] == ["accepted_gap"]


def test_what_a_recreated_topic_leaves_behind_is_no_finding_and_never_clean(
    real: World, kafka_service: KafkaService
) -> None:
    real.set_up()
    world, topic = real, raw_topic(real.dataset)
    consumer = world.consumer("consumer")
    _write_plain(world, topic, 10)
    wait_until("everything is committed", lambda: _reached(world, 0))
    consumer.terminate()
    delete_topic(AdminClient({"bootstrap.servers": kafka_service.bootstrap}), topic)
    assert audit(world)[1]["verdict"] == "unproven"
    wait_until("it is made anew", lambda: world.admin.create_topic(TopicSpec(topic, 6, 1)))
    _write_plain(world, topic, 5)
    consumer = world.consumer("again")
    wait_until("everything is committed", lambda: _reached(world, 0))
    code, report = audit(world, "--deep")
    assert (code, report["verdict"], report["findings"]) == (0, "unproven", [])
    assert sorted((each["current"], each["landed"]) for each in report["partitions"] if each["landed"]) == [
        (False, 10),
        (True, 5),
    ]
    assert audit(world, "--strict")[0] == 1


def test_a_part_deleted_from_the_bucket_is_found_and_named(real: World) -> None:
    real.set_up()
    world, topic = real, raw_topic(real.dataset)
    consumer = world.consumer("consumer")
    for batch in range(1, 4):
        _write_plain(world, topic, 5)
        wait_until("a part has landed", partial(_has_parts, world, batch))
    wait_until("everything is committed", lambda: _reached(world, 0))
    consumer.terminate()
    victim = sorted(world.parts())[1]
    world.delete(victim)
    code, report = audit(world)
    assert (code, kinds(report)) == (1, {"part_missing", "missing"})
    assert report["findings"][0]["objects"][0] == victim
    assert [each["offsets"]["ranges"] for each in report["findings"] if each["offsets"]] == [[[5, 10]]]
    text = world.cli("audit", "--dataset", world.dataset, "--no-report")
    assert text.returncode == 1
    assert victim.encode() in text.stdout.replace(b"\n", b"").replace(b" ", b"") or b"part-0002" in text.stdout


def test_a_file_edited_by_hand_is_found_by_reading(tmp_path: Path) -> None:
    environment = {
        "STREAMLAKE_EVENT_LOG": f"sqlite://{tmp_path}/log.sqlite",
        "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
    }
    world = World(tmp_path, environment | QUICK, f"t{uuid.uuid4().hex[:10]}", "json")
    try:
        world.set_up()
        consumer = world.consumer("consumer")
        _write_plain(world, raw_topic(world.dataset), 5)
        wait_until("everything is committed", lambda: _reached(world, 0))
        consumer.terminate()
        [name] = world.parts()
        file = tmp_path / "lake" / name
        file.write_bytes(file.read_bytes().replace(b'"amount":1', b'"amount":2'))
        assert audit(world)[0] == 0, "what parts say of themselves is untouched"
        code, report = audit(world, "--deep")
        assert (code, kinds(report)) == (1, {"body_damaged"})
        assert report["findings"][0]["objects"] == [name]
    finally:
        world.close()


def test_every_audit_leaves_a_report_unless_told_not_to(real: World) -> None:
    real.set_up()
    before = _reports(real)
    audit(real)
    audit(real, "--no-report")
    assert len(_reports(real)) == len(before) + 1
    assert real.cli("audit", "--dataset", "nope").returncode == 3
    assert real.cli("audit", "--dataset", real.dataset, "--date", "today").returncode == 2
    assert real.cli("audit").returncode == 2


def _reports(world: World) -> list[str]:
    return [info.name for info in world.store.list(f"ops/audit/dataset={world.dataset}/")]


def _has_parts(world: World, count: int) -> bool:
    return len(world.parts()) == count


def _good(number: int) -> bytes:
    return b'{"order_id":"o-%d","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}' % number


def _write_plain(world: World, topic: str, count: int) -> None:
    from streamlake.domain.model.records import OutgoingRecord

    now = int(time.time() * 1000)
    records = [OutgoingRecord(topic, b"k", _good(number), (), now, 0) for number in range(count)]
    world.append(records)


def _write_in_transactions(world: World, topic: str) -> None:
    """Ten records, committed; three, aborted; ten, committed: each transaction ends in a marker."""
    servers = world.environment["STREAMLAKE_EVENT_LOG"].removeprefix("kafka://")
    producer = KafkaProducer({"bootstrap.servers": servers, "transactional.id": world.dataset})
    producer.init_transactions(30)
    for count, end in ((10, "commit"), (2, "abort"), (10, "commit")):
        producer.begin_transaction()
        for number in range(count):
            producer.produce(topic, _good(number), b"k", partition=0)
        producer.flush(10)
        producer.commit_transaction(30) if end == "commit" else producer.abort_transaction(30)


def _reached(world: World, partition: int) -> bool:
    """Is everything visible of a partition committed? (A marker at the very end never is.)"""
    lane = TopicPartition(raw_topic(world.dataset), partition)
    mark = world.admin.watermarks([lane])[lane]
    committed = world.committed().get(partition, 0)
    visible = [offset for batch in world.reader.read(lane, committed, mark.high) for offset in batch.offsets]
    return mark.high > 0 and not visible
