"""Bounded replays on a real Kafka and a real Google Cloud Storage API, as an operator runs them."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer as RawProducer
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not marked so for type checkers
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from tests.integration.system import Producer, World, delete_topic, poison, wait_until
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.times import rfc3339_of_ms

pytestmark = [pytest.mark.kafka, pytest.mark.gcs]

GOOD = b'{"order_id":"o","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}'
HOUR_MS = 3_600_000


@pytest.fixture
def world(kafka_service: KafkaService, gcs_service: GcsService, tmp_path: Path) -> Iterator[World]:
    """A dataset of its own, its topics and bucket made."""
    dataset = f"t{uuid.uuid4().hex[:10]}"
    environment = {
        "STREAMLAKE_EVENT_LOG": f"kafka://{kafka_service.bootstrap}",
        "STREAMLAKE_OBJECT_STORE": f"gs://{dataset}",
        "STORAGE_EMULATOR_HOST": gcs_service.endpoint,
        "STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS": "6000",
        "STREAMLAKE_KAFKA__HEARTBEAT_INTERVAL_MS": "500",
        "STREAMLAKE_LANDING__MAX_AGE_S": "1",
        "STREAMLAKE_LANDING__MAX_RECORDS": "500",
    }
    made = World(tmp_path, environment, dataset, "json")
    made.set_up()
    yield made
    made.close()


@pytest.fixture
def kafka_admin(kafka_service: KafkaService) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka_service.bootstrap})


def put(world: World, stamps: list[int], partition: int = 0, value: bytes = GOOD) -> None:
    """Append a record for each timestamp."""
    records = [OutgoingRecord(raw_topic(world.dataset), b"k", value, (), stamp, partition) for stamp in stamps]
    world.append(records)


def replay(world: World, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """Run a replay; its rows of plan and outcome."""
    done = world.cli("replay", "run", "--dataset", world.dataset, "--json", *arguments)
    assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told


def offsets(world: World, replay_id: str) -> list[tuple[int, int]]:
    """(partition, offset) of every row of a replay, each as often as it is there."""
    rows, _ = world.replayed(replay_id)
    return sorted((partition, offset) for (_, partition, offset), n in rows.items() for _ in range(n))


def now_ms() -> int:
    return int(time.time() * 1000)


def test_a_range_with_aborted_transactions_and_markers_is_replayed_whole(
    world: World, kafka_service: KafkaService
) -> None:
    """Committed, aborted, committed: what the log shows is replayed, and nothing else; the range ends in a marker."""
    for commit in (True, False, True):
        producer = RawProducer({"bootstrap.servers": kafka_service.bootstrap, "transactional.id": uuid.uuid4().hex})
        producer.init_transactions(30)
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(raw_topic(world.dataset), GOOD, b"k", 0, timestamp=now_ms())
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    [row] = replay(world, "--all", "--id", "whole")
    assert row["plan"]["partitions"][0]["until"] == 12
    assert row["outcome"]["counts"] == {"selected": 6, "landed": 6, "lettered": 0}
    assert offsets(world, "whole") == [(0, n) for n in (0, 1, 2, 8, 9, 10)]
    parts = world.parts()
    replay(world, "--all", "--id", "whole")
    assert world.parts() == parts, "the same id again adds nothing"


def test_gaps_of_compaction_are_gaps(world: World, kafka_admin: AdminClient) -> None:
    """Records of one key, compacted away: the replay is complete without them."""
    topic = raw_topic(world.dataset)
    changes = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "100",
    }
    entries = [ConfigEntry(name, to, incremental_operation=AlterConfigOpType.SET) for name, to in changes.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    [done] = kafka_admin.incremental_alter_configs([resource]).values()
    done.result()
    put(world, [now_ms()] * 20)
    lane = TopicPartition(topic, 0)

    def visible() -> list[int]:
        put(world, [now_ms()])  # only what lies before the active segment is compacted
        high = world.admin.watermarks([lane])[lane].high
        return [offset for batch in world.reader.read(lane, 0, high) for offset in batch.offsets]

    wait_until("something is compacted away", lambda: visible()[0] > 5)
    replay(world, "--offsets", "0", "--id", "gaps")
    found = [offset for _, offset in offsets(world, "gaps")]
    assert found
    assert found[0] > 5
    parts = world.parts()
    replay(world, "--offsets", "0", "--id", "gaps")
    assert world.parts() == parts


def test_times_and_dates_are_looked_at_record_by_record(world: World) -> None:
    """Out of order, around midnight, with an end in the future: exactly the records of those times."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = int(midnight.timestamp() * 1000)
    stamps = [start + 5, start - HOUR_MS, start, start - 1, start - 2 * HOUR_MS, start + 1]
    put(world, stamps)
    put(world, stamps[::-1], partition=1)
    [row] = replay(world, "--from", rfc3339_of_ms(start - 1), "--to", "2099-01-01T00:00:00+02:00", "--id", "times")
    assert row["outcome"]["counts"]["landed"] == 8
    assert offsets(world, "times") == [(0, 0), (0, 2), (0, 3), (0, 5), (1, 0), (1, 2), (1, 3), (1, 5)]
    yesterday = (midnight - timedelta(days=1)).date().isoformat()
    done = world.cli("backfill", "--dataset", world.dataset, "--dates", f"{yesterday}..{midnight.date()}", "--json")
    assert done.returncode == 0, done.stderr
    first, second = [row["plan"]["replay_id"] for row in json.loads(done.stdout)]
    assert [offset for p, offset in offsets(world, first) if p == 0] == [1, 3, 4]
    assert [offset for p, offset in offsets(world, second) if p == 0] == [0, 2, 5]
    names = [name for name in world.parts() if "/part-" in name]
    parts = {name: json.loads(world.store.read(name)[1].splitlines()[0])["replay_id"] for name in names}
    assert {name.split("ingestion_date=")[1][:10] for name, owner in parts.items() if owner == first} == {yesterday}


def test_a_start_before_retention_fails_unless_it_is_accepted(world: World, kafka_admin: AdminClient) -> None:
    put(world, [now_ms()] * 20)
    [done] = kafka_admin.delete_records([Place(raw_topic(world.dataset), 0, 15)]).values()
    done.result()
    refused = world.cli("replay", "run", "--dataset", world.dataset, "--offsets", "0:10-18", "--id", "r")
    assert refused.returncode == 1
    assert b"retention has taken offsets of partition 0 [10, 15)" in refused.stdout
    assert world.parts() == {}
    [row] = replay(world, "--offsets", "0:10-18", "--id", "r", "--accept-gap")
    assert row["plan"]["partitions"][0]["lost"] == [10, 15]
    assert offsets(world, "r") == [(0, 15), (0, 16), (0, 17)]


def test_a_topic_recreated_in_between_is_refused(world: World, kafka_admin: AdminClient) -> None:
    put(world, [now_ms()] * 5)
    replay(world, "--all", "--id", "r")
    topic, old = raw_topic(world.dataset), world.topic_id
    delete_topic(kafka_admin, topic)
    assert world.cli("topics", "provision").returncode == 0
    wait_until("it is back", lambda: world.topic_id != old)
    put(world, [now_ms()] * 5)
    parts = world.parts()
    [row] = json.loads(world.cli("replay", "resume", "r", "--json").stdout)
    assert row["outcome"]["state"] == "complete", "it was complete, and its records are of the old topic"
    assert world.parts() == parts


def test_a_replay_planned_before_a_topic_was_recreated_fails(world: World, kafka_admin: AdminClient) -> None:
    put(world, [now_ms()] * 2000)
    child = world.start("replay", ["replay", "run", "--dataset", world.dataset, "--all", "--id", "r", "--rate", "100"])
    wait_until("its plan is stored", lambda: list(world.store.list("ops/replays/r.json")))
    child.kill()
    topic, old = raw_topic(world.dataset), world.topic_id
    delete_topic(kafka_admin, topic)
    assert world.cli("topics", "provision").returncode == 0
    wait_until("it is back", lambda: world.topic_id != old)
    parts = world.parts()
    done = world.cli("replay", "resume", "r", "--json")
    [row] = json.loads(done.stdout)
    assert (done.returncode, row["outcome"]["state"]) == (3, "failed")
    assert row["outcome"]["reason"].startswith("TopicRecreated")
    assert world.parts() == parts


def test_two_replays_and_live_landing_at_once_through_kill_9(world: World) -> None:
    """A consumer killed and another started, a replay killed and resumed, a second replay beside it: each complete set
    once, the live set once, no part changed."""
    api, consumer = world.api(), world.consumer("first")
    producer = Producer(api, world.dataset, seed=11)
    wait_until("a part has landed", world.parts)
    world.append(poison(world.dataset, now_ms()))
    wait_until("a thousand are there", lambda: sum(world.committed().values()) > 1000)
    seen = world.parts()

    killed = world.start("one", ["replay", "run", "--dataset", world.dataset, "--all", "--id", "one", "--rate", "1000"])
    done: list[Any] = []
    other = threading.Thread(target=lambda: done.append(replay(world, "--all", "--id", "two")))
    other.start()
    wait_until("the first has a part", lambda: world.replayed("one")[0])
    killed.kill()
    consumer.kill()
    consumer = world.consumer("second")
    assert world.cli("replay", "resume", "one").returncode == 0
    other.join(120)
    assert len(done) == 1
    producer.stop()
    wait_until("everything is committed", world.all_committed)
    assert (api.terminate(), consumer.terminate()) == (0, 0)

    verdict = world.observe()
    assert verdict.faults() == {}
    for replay_id in ("one", "two"):
        plan = json.loads(world.cli("replay", "status", replay_id, "--json").stdout)["plan"]
        ends = {each["partition"]: each["until"] for each in plan["partitions"]}
        wanted = {place for place in verdict.log if place[2] < ends[place[1]]}
        rows, letters = world.replayed(replay_id)
        assert rows == Counter(wanted - letters), replay_id
        assert letters == verdict.letters & wanted
        counts = json.loads(world.cli("replay", "status", replay_id, "--json").stdout)["runs"][-1]["counts"]
        assert counts == {"selected": len(wanted), "landed": len(rows), "lettered": len(letters)}
    after = world.parts()
    assert {name: after[name] for name in seen} == seen, "a part has changed"


def test_a_replay_that_is_asked_to_stop_ends_in_order(world: World) -> None:
    put(world, [now_ms()] * 3000)
    child = world.start("r", ["replay", "run", "--dataset", world.dataset, "--all", "--id", "r", "--rate", "50"])
    wait_until("it has a part", lambda: world.replayed("r")[0])
    child.send(signal.SIGTERM)
    assert child.process.wait(30) == 1
    told = json.loads(world.cli("replay", "status", "r", "--json").stdout)
    assert told["state"] == "interrupted"
    assert world.cli("replay", "resume", "r").returncode == 0
    assert offsets(world, "r") == [(0, n) for n in range(3000)]
