"""Parquet from the API to the query: landed by real processes, read by DuckDB as its users read it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from tests.integration.system import Producer, World, poison, wait_until


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The embedded log and store, with small parts."""
    environment = {
        "STREAMLAKE_EVENT_LOG": f"sqlite://{tmp_path}/log.sqlite",
        "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
        "STREAMLAKE_EMBEDDED__SESSION_TIMEOUT_S": "3",
        "STREAMLAKE_LANDING__MAX_AGE_S": "1",
        "STREAMLAKE_LANDING__MAX_BYTES": "20000",
    }
    made = World(tmp_path, environment, "orders", "parquet")
    yield made
    made.close()


def test_every_offset_lands_once_in_parquet_and_its_payload_is_exact(world: World, tmp_path: Path) -> None:
    """A consumer is killed on the way. Line breaks, big integers, odd headers: all as sent, and all queried."""
    world.set_up()
    api, consumer = world.api(), world.consumer("first")
    producer = Producer(api, world.dataset, seed=9)
    wait_until("a part has landed", world.parts)
    consumer.kill()
    consumer = world.consumer("second")
    world.append(poison(world.dataset, int(time.time() * 1000)))
    answers = producer.stop()
    wait_until("everything is committed", world.all_committed)
    assert (api.terminate(), consumer.terminate()) == (0, 0)

    parts = world.parts()
    assert len(parts) > 1
    assert all(name.endswith(".parquet") for name in parts)
    seen = world.observe()
    assert seen.faults() == {}
    assert {i: seen.ids[i][1:] for i in answers.accepted} == answers.accepted
    assert len(seen.letters) == 8

    told = world.cli("raw-zone", "cat", world.dataset)
    assert told.returncode == 0, told.stderr.decode()
    assert len(told.stdout.splitlines()) == len(seen.landed)
    assert {json.loads(line)["ingestion_id"] for line in told.stdout.splitlines()} == seen.ids.keys()

    with duckdb.connect() as db:
        db.read_parquet(f"{tmp_path}/lake/raw/dataset=orders/*/part-*.parquet", hive_partitioning=True).create_view(
            "rows"
        )
        counted = 'SELECT count(*), count(DISTINCT ("partition", "offset")), count(ingested_at) FROM rows'
        assert db.execute(counted).fetchall() == [(len(seen.landed),) * 3]
        odd = "SELECT DISTINCT key, payload->>'$.order_id', headers['trace'] FROM rows WHERE cardinality(headers) > 0"
        assert db.execute(odd).fetchall() == [("past", "past", [b"\xff", None])]
        big = "SELECT DISTINCT payload->>'$.n' FROM rows WHERE payload->>'$.n' IS NOT NULL"
        assert db.execute(big).fetchall() == [("123456789012345678901234567890",)]
