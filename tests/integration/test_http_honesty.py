"""What the API says is so, on a real Kafka that fails: `make torture-http` is the long form of the first test."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import AdminClient
from tests.integration.conftest import missing, promised
from tests.integration.system import Child, World, delete_topic, wait_until, wait_until_ready
from tests.services.kafka import KafkaService, kafka
from tests.torture_http.__main__ import UNAVAILABLE
from tests.torture_http.ledger import Attempt, event_body
from tests.torture_http.weather import DEEDS, draw

from streamlake.domain.model.contracts import raw_topic

ROOT = Path(__file__).parents[2]
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
DELIVERY_S = 3
GRACE_S = 6

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def frail() -> Iterator[KafkaService]:
    """A Kafka of this module's own, to be frozen."""
    with promised(kafka(faults=True)) as service:
        yield service


@pytest.fixture
def world(frail: KafkaService, tmp_path: Path) -> Iterator[World]:
    environment = {
        "STREAMLAKE_EVENT_LOG": f"kafka://{frail.bootstrap}",
        "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
        "STREAMLAKE_KAFKA__DELIVERY_TIMEOUT_MS": str(DELIVERY_S * 1000),
        "STREAMLAKE_API__GRACE_S": str(GRACE_S),
    }
    made = World(tmp_path, environment, f"t{uuid.uuid4().hex[:10]}", "json")
    yield made
    frail.resume()
    made.close()


def url(world: World, api: Child) -> str:
    return f"http://127.0.0.1:{api.port}/v1/datasets/{world.dataset}/events"


def stored(world: World) -> set[bytes | None]:
    """What the raw topic holds."""
    marks = world.admin.watermarks(world.lanes)
    read = (batch for lane, mark in marks.items() for batch in world.reader.read(lane, mark.low, mark.high))
    return {value for batch in read for value in batch.values}


def test_every_answer_of_some_thousand_events_is_true_while_brokers_die_and_freeze() -> None:
    command = [sys.executable, "-m", "tests.torture_http", "--seed", "5", "--events", "4000", "--seconds", "25"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == UNAVAILABLE:
        missing(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_memory_stays_small_while_the_broker_is_away_under_full_load() -> None:
    """A slice of `python -m tests.torture_http.outage`, which takes two minutes of it."""
    command = [sys.executable, "-m", "tests.torture_http.outage", "--seconds", "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == UNAVAILABLE:
        missing(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_every_seeds_weather_has_every_deed_and_no_two_at_once() -> None:
    for seed in range(100):
        deeds = draw(seed, 25, 3)
        assert {deed.deed for deed in deeds} == set(DEEDS)
        assert all(before.at + before.length < after.at for before, after in pairwise(deeds))


def test_without_its_topics_a_dataset_takes_nothing_and_with_them_it_does(world: World) -> None:
    api = world.start_api()
    wait_until("the API listens", lambda: api.get("/livez"))
    first = event_body(Attempt(1, 1), "o-1", broken=None)
    refused = httpx.post(url(world, api), content=first, headers=JSON, timeout=30)
    ready = api.get("/readyz")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert ready is not None
    assert raw_topic(world.dataset) in ready.text

    assert world.cli("topics", "provision").returncode == 0
    wait_until_ready(api)
    second = event_body(Attempt(1, 2), "o-1", broken=None)
    assert httpx.post(url(world, api), content=second, headers=JSON, timeout=30).status_code == 202
    assert stored(world) == {second}


def test_a_topic_for_small_records_refuses_the_large_one_and_none_that_was_sent_beside_it(world: World) -> None:
    """A broker refuses what the client sends as one batch as a whole; also where only their sum is too much for it."""
    assert world.cli("topics", "provision").returncode == 0
    world.admin.configure_topic(raw_topic(world.dataset), {"max.message.bytes": "10000"})
    api, dice = world.api(), random.Random(3)
    sizes = [30_000 if number == 60 else 300 for number in range(120)]
    events = [
        event_body(Attempt(number, 1), "one-key", broken=None)[:-1]
        + b',"unlisted":"%s"}' % dice.randbytes(size).hex().encode()
        for number, size in enumerate(sizes)
    ]
    answer = httpx.post(f"{url(world, api)}:batch", content=b"\n".join(events), headers=NDJSON, timeout=30)
    told = [(result["status"], result.get("type")) for result in answer.json()["results"]]
    large = (413, "urn:streamlake:problem:too-large")
    assert (answer.status_code, told) == (207, [(202, None) if size == 300 else large for size in sizes])
    assert stored(world) == {event for event, size in zip(events, sizes, strict=True) if size == 300}


def test_a_topic_deleted_under_a_running_api_takes_nothing_until_it_is_there_again(
    world: World, frail: KafkaService
) -> None:
    assert world.cli("topics", "provision").returncode == 0
    api = world.api()
    answers: list[tuple[int, bytes]] = []

    def post() -> int:
        body = event_body(Attempt(len(answers), 1), f"o-{len(answers)}", broken=None)
        answers.append((httpx.post(url(world, api), content=body, headers=JSON, timeout=30).status_code, body))
        return answers[-1][0]

    assert post() == 202
    delete_topic(AdminClient({"bootstrap.servers": frail.bootstrap}), raw_topic(world.dataset))
    wait_until("the API refuses", lambda: post() == 503)
    assert world.cli("topics", "provision").returncode == 0
    wait_until("the API takes events again", lambda: post() == 202)
    assert [post() for _ in range(5)] == [202] * 5

    phases = [(taken, {status for status, _ in phase}) for taken, phase in groupby(answers, lambda a: a[0] == 202)]
    assert [taken for taken, _ in phases] == [True, False, True]
    assert phases[1][1] <= {503, 504}
    assert {body for _, body in answers[-6:]} <= stored(world)


def test_a_broker_that_freezes_makes_answers_late_then_unknown_and_a_retry_has_the_same_id(
    world: World, frail: KafkaService
) -> None:
    assert world.cli("topics", "provision").returncode == 0
    api = world.api()
    headers = JSON | {"idempotency-key": "the-same"}
    body = event_body(Attempt(1, 1), "o-1", broken=None)
    assert httpx.post(url(world, api), content=body, headers=JSON, timeout=30).status_code == 202
    frail.pause()
    began = time.monotonic()
    unknown = httpx.post(url(world, api), content=body, headers=headers, timeout=30)
    took = time.monotonic() - began
    frail.resume()
    wait_until_ready(api)
    again: list[httpx.Response] = []

    def taken() -> bool:
        again.append(httpx.post(url(world, api), content=body, headers=headers, timeout=30))
        return again[-1].status_code == 202

    wait_until("the broker takes events again", taken)

    assert unknown.status_code == 504
    assert unknown.json()["idempotency_key"] == "the-same"
    undecided = [answer for answer in again if answer.status_code != 503]  # a refusal at the door gives none
    assert {answer.json()["ingestion_id"] for answer in undecided} == {unknown.json()["ingestion_id"]}
    assert took < DELIVERY_S + 4


@pytest.mark.parametrize("wakes", [True, False], ids=["the broker wakes up in time", "the broker never answers"])
def test_on_sigterm_every_request_in_flight_is_answered_and_the_exit_code_is_0(
    world: World, frail: KafkaService, wakes: bool
) -> None:
    assert world.cli("topics", "provision").returncode == 0
    delivery_s, grace_s = (20, 30) if wakes else (DELIVERY_S, GRACE_S)  # there is time for it to wake up
    world.environment |= {
        "STREAMLAKE_KAFKA__DELIVERY_TIMEOUT_MS": str(delivery_s * 1000),
        "STREAMLAKE_API__GRACE_S": str(grace_s),
    }
    api = world.api("--workers", "2")
    wait_until("both workers are ready", lambda: api.log.read_bytes().count(b'"ready": true') >= 2)
    bodies = [event_body(Attempt(n, 1), f"o-{n}", broken=None) for n in range(40)]

    async def scenario() -> list[int]:
        limits = httpx.Limits(max_connections=len(bodies))
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:
            warm = [client.get(f"http://127.0.0.1:{api.port}/livez") for _ in bodies]
            await asyncio.gather(*warm)
            frail.pause()
            posts = [asyncio.create_task(client.post(url(world, api), content=b, headers=JSON)) for b in bodies]
            await asyncio.to_thread(wait_until, "all are in flight", lambda: _inflight(api) == len(bodies))
            api.send(signal.SIGTERM)
            if wakes:
                await asyncio.to_thread(wait_until, "it stops", lambda: b"api.stopping" in api.log.read_bytes())
                frail.resume()
            return [answer.status_code for answer in await asyncio.gather(*posts)]

    began = time.monotonic()
    statuses = asyncio.run(scenario())
    code = api.process.wait(60)
    took = time.monotonic() - began
    frail.resume()

    assert statuses == [202 if wakes else 504] * len(bodies)
    assert code == 0
    assert took < grace_s + delivery_s + 4
    if wakes:
        assert stored(world) == set(bodies)


def _inflight(api: Child) -> int:
    page = api.get("/metrics")
    if page is None:
        return -1
    (line,) = [line for line in page.text.splitlines() if line.startswith("streamlake_api_inflight_requests ")]
    return int(float(line.split()[1]))


def test_a_killed_api_loses_nothing_it_answered(world: World) -> None:
    assert world.cli("topics", "provision").returncode == 0
    api = world.api()
    bodies = [event_body(Attempt(n, 1), f"o-{n}", broken=None) for n in range(30)]
    with httpx.Client(timeout=30) as client:
        statuses = [client.post(url(world, api), content=body, headers=JSON).status_code for body in bodies]
    os.kill(api.process.pid, signal.SIGKILL)

    assert statuses == [202] * len(bodies)
    assert stored(world) == set(bodies)
