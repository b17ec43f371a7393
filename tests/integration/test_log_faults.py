"""The log is not what it was: topics missing, recreated, cut by retention, offsets reset. Never skipped or mixed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient
from tests.integration.faulty import HEALED_S, NOTICED_S, FaultyWorld, good, log_lines, problems, write
from tests.integration.system import Child, delete_topic, wait_until, wait_until_ready
from tests.services.fault_proxy import fault_proxy
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService

from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.parts import part_info
from streamlake.domain.model.positions import Position
from streamlake.domain.ports.event_log import TopicSpec

pytestmark = [pytest.mark.kafka, pytest.mark.gcs]


@pytest.fixture
def world(kafka_service: KafkaService, gcs_service: GcsService, tmp_path: Path) -> Iterator[FaultyWorld]:
    """A world of this test's own."""
    with fault_proxy(gcs_service.endpoint) as proxy:
        dataset = f"t{uuid.uuid4().hex[:10]}"
        made = FaultyWorld(tmp_path, kafka_service.bootstrap, proxy, gcs_service.endpoint, dataset)
        made.set_up()
        yield made
        made.close()


@pytest.fixture
def kafka_admin(kafka_service: KafkaService) -> AdminClient:
    """Kafka's own tools, as an operator uses them past StreamLake."""
    return AdminClient({"bootstrap.servers": kafka_service.bootstrap})


def _consumer(world: FaultyWorld, name: str = "consumer") -> Child:
    child = world.launch_consumer(name)
    wait_until_ready(child)
    return child


def _says(child: Child, *words: str) -> bool:
    said = " ".join(problems(child) or [])
    return all(word in said for word in words)


def _told(child: Child, fault: str) -> bool:
    return any(line.get("fault") == fault for line in log_lines(child.log))


def _provision_and_check(world: FaultyWorld, consumer: Child) -> None:
    """The operator mends the topics; the one bad record becomes a letter, and everything else lands."""
    assert world.cli("topics", "provision").returncode == 0
    wait_until("everything is committed", world.all_committed, HEALED_S)
    wait_until_ready(consumer, within_s=30)
    verdict = world.observe()
    assert verdict.faults() == {}
    assert len(verdict.letters) == 1


def _create_again(world: FaultyWorld) -> None:
    wanted = TopicSpec(raw_topic(world.dataset), 6, 1)
    wait_until("the topic is made anew", lambda: world.admin.create_topic(wanted), 60)
    wait_until("it is there", lambda: wanted.name in world.admin.topics([wanted.name]), 60)


def _records_by_topic_id(world: FaultyWorld) -> dict[str, list[str]]:
    """Topic id -> the `customer_id`s that landed in parts claiming it; each part must claim one."""
    found: dict[str, list[str]] = {}
    ids_of = {info.name: {lane.topic_id for lane in part_info(info.metadata).claims} for info in world.part_infos()}
    for name, envelope in world.rows():
        [topic_id] = ids_of[name]
        found.setdefault(topic_id, []).append(envelope["payload"]["customer_id"])
    return {topic_id: sorted(labels) for topic_id, labels in found.items()}


def test_without_a_dead_letter_topic_nothing_of_a_bad_snapshot_is_committed(
    world: FaultyWorld, kafka_admin: AdminClient
) -> None:
    """Readiness names the topic; made again, the letter is written and the stream goes on by itself."""
    consumer = _consumer(world)
    write(world, [good(f"before-{n}") for n in range(12)])
    wait_until("everything is committed", world.all_committed)
    before = world.committed()
    dlq = dlq_topic(world.dataset)
    delete_topic(kafka_admin, dlq)
    write(world, [b"{broken", good("after")], partition=0)
    wait_until("readiness names it", lambda: _says(consumer, f"DeadLetterTopicMissing: {dlq}"), NOTICED_S)
    assert not _told(consumer, "TopicMissing"), "it is not taken for the raw topic's end"
    assert world.committed() == before
    _provision_and_check(world, consumer)


def test_a_dead_letter_topic_too_small_even_for_a_truncated_letter_stops_commits_until_it_is_enlarged(
    world: FaultyWorld,
) -> None:
    """The process lives and says which topic and what of it; `topics provision` mends it, and nothing is lost."""
    topic = dlq_topic(world.dataset)
    consumer = _consumer(world)
    write(world, [good(f"before-{n}") for n in range(12)])
    wait_until("everything is committed", world.all_committed)
    before = world.committed()
    world.admin.configure_topic(topic, {"max.message.bytes": "100"})
    write(world, [b"{broken" + bytes(400_000), *(good(f"after-{n}") for n in range(11))])
    wait_until("readiness names it", lambda: _says(consumer, "SettingsInvalid", topic, "max.message.bytes"), NOTICED_S)
    alive = consumer.get("/livez")
    assert alive is not None
    assert alive.status_code == 200
    assert world.committed() == before
    _provision_and_check(world, consumer)


def test_an_operators_reset_reads_again_and_adds_nothing(world: FaultyWorld) -> None:
    """Offsets set to 0 by a foreign tool: honoured, told loudly, and what has landed stays as it is."""
    consumer = _consumer(world)
    write(world, [good(f"before-{n}") for n in range(60)])
    wait_until("everything is committed", world.all_committed)
    assert consumer.terminate() == 0
    parts = world.parts()
    world.admin.alter_group_offsets(world.group, dict.fromkeys(world.lanes, Position(0, "")))
    again = _consumer(world, "again")
    wait_until("everything is committed again", world.all_committed)
    told = [line for line in log_lines(again.log) if "re-read" in str(line.get("event"))]
    assert {line["partition"] for line in told} == set(range(6))
    assert world.parts() == parts
    write(world, [good(f"after-{n}") for n in range(60)])
    wait_until("it goes on", world.all_committed)
    assert world.observe().faults() == {}


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
def test_a_topic_recreated_under_a_live_consumer_is_another_log(
    world: FaultyWorld, kafka_admin: AdminClient, slow: bool
) -> None:
    """Its records are never taken for the old one's, and none is skipped: it goes on from 0 under the new id."""
    consumer = _consumer(world)
    old = [f"old-{n:03}" for n in range(60)]
    write(world, [good(label) for label in old])
    wait_until("everything is committed", world.all_committed)
    first_id = world.topic_id
    delete_topic(kafka_admin, raw_topic(world.dataset))
    if slow:
        wait_until("it is noticed", lambda: _told(consumer, "TopicMissing"), NOTICED_S)
    _create_again(world)
    assert world.topic_id != first_id
    new = [f"new-{n:03}" for n in range(120)]
    write(world, [good(label) for label in new])
    wait_until("all of the new log is committed", world.all_committed, HEALED_S)
    wait_until_ready(consumer, within_s=30)
    assert _told(consumer, "TopicMissing") or _told(consumer, "TopicRecreated")
    landed = _records_by_topic_id(world)
    assert landed.pop(first_id) == old
    assert landed == {world.topic_id: new}


def test_a_missing_topic_is_named_by_readiness(world: FaultyWorld, kafka_admin: AdminClient) -> None:
    """As long as it is missing, though the group has taken its partitions away."""
    consumer = _consumer(world)
    write(world, [good(f"before-{n}") for n in range(12)])
    wait_until("everything is committed", world.all_committed)
    delete_topic(kafka_admin, raw_topic(world.dataset))
    wait_until("readiness names it", lambda: _says(consumer, raw_topic(world.dataset), "does not exist"), NOTICED_S)
    assert consumer.process.poll() is None


def test_what_retention_took_halts_its_partition_until_the_gap_is_accepted(
    world: FaultyWorld, kafka_admin: AdminClient
) -> None:
    """The others go on; `streamlake resume --accept-gap` is enough, without a restart."""
    consumer = _consumer(world)
    write(world, [good(f"before-{n}") for n in range(60)])
    wait_until("everything is committed", world.all_committed)
    assert consumer.terminate() == 0
    write(world, [good(f"away-{n}") for n in range(60)])
    topic = raw_topic(world.dataset)
    [done] = kafka_admin.delete_records([Place(topic, 0, 15)]).values()
    assert done.result().low_watermark == 15

    again = world.launch_consumer("again")
    wait_until("readiness names the partition and the way on", lambda: _says(again, f"{topic}[0]", "--accept-gap"))
    wait_until("the others go on", lambda: _committed_but(world, 0), NOTICED_S)
    assert world.committed()[0] == 10
    shown = world.cli("resume", "--dataset", world.dataset, "--partition", "0")
    assert shown.returncode == 1
    assert b"[10, 15)" in shown.stdout
    assert world.cli("resume", "--dataset", world.dataset, "--partition", "0", "--accept-gap").returncode == 0
    wait_until("it goes on", world.all_committed, HEALED_S)
    wait_until_ready(again, within_s=30)
    [gap] = world.store.list("ops/gaps/")
    assert f"{world.topic_id}-0-10-15" in gap.name
    verdict = world.observe()
    gone: Sequence[tuple[str, int, int]] = [(world.topic_id, 0, offset) for offset in range(10)]
    assert verdict.faults() == {"phantom": gone, "changed": gone}, "landed before retention took them; else nothing"


def _committed_but(world: FaultyWorld, partition: int) -> bool:
    """Is every offset of the other partitions committed?"""
    committed = world.committed()
    marks = world.admin.watermarks(world.lanes)
    return all(
        committed.get(lane.partition, 0) == mark.high for lane, mark in marks.items() if lane.partition != partition
    )
