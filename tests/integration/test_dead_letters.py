"""Dead letters as a closed loop, on real services: what was wrong is found, mended, sent again, and accounted for."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.foreign_producer import write_with_header
from tests.integration.system import Child, World, poison, wait_until
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService

from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.envelope import ingestion_id_of_record
from streamlake.domain.model.positions import TopicPartition, Watermarks
from streamlake.domain.model.records import Header, OutgoingRecord

pytestmark = pytest.mark.timeout(600)
"""Each test runs up to ten commands, a process each, which take their time on a busy machine."""

EVENTS = 400
NEW_CURRENCY = 10
"""Of ten events three have it: a shop went live in Sweden."""

Original = tuple[bytes | None, bytes | None, list[Header]]


@pytest.fixture(params=["embedded", "kafka"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The embedded default, and the real thing; each with its own dataset."""
    dataset = f"t{uuid.uuid4().hex[:10]}"
    environment = {"STREAMLAKE_LANDING__MAX_AGE_S": "1"}
    if request.param == "embedded":
        environment |= {
            "STREAMLAKE_EVENT_LOG": f"sqlite://{tmp_path}/log.sqlite",
            "STREAMLAKE_OBJECT_STORE": f"file://{tmp_path}/lake",
            "STREAMLAKE_EMBEDDED__SESSION_TIMEOUT_S": "3",
        }
    else:
        kafka: KafkaService = request.getfixturevalue("kafka_service")
        gcs: GcsService = request.getfixturevalue("gcs_service")
        environment |= {
            "STREAMLAKE_EVENT_LOG": f"kafka://{kafka.bootstrap}",
            "STREAMLAKE_OBJECT_STORE": f"gs://{dataset}",
            "STORAGE_EMULATOR_HOST": gcs.endpoint,
            "STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS": "6000",
        }
    made = World(tmp_path, environment, dataset, "json")
    yield made
    made.close()


def test_a_bad_deploy_is_dead_lettered_mended_redriven_and_the_audit_closes(world: World) -> None:
    """The story of docs/operations.md, through the API and through a producer of another team beside it."""
    world.set_up()
    api, consumer = world.api(), world.consumer("consumer")
    sent = _post(api, world.dataset, [_order("api", n) for n in range(EVENTS)])
    by_others = [_order("direct", n) for n in range(EVENTS)]
    world.append([OutgoingRecord(raw_topic(world.dataset), b"k", value, (), _now_ms()) for value in by_others])
    wait_until("everything is committed", world.all_committed)

    share = EVENTS * 3 // NEW_CURRENCY
    listed = _json_lines(world, "list")
    assert Counter(letter["stage"] for letter in listed) == {"api": share, "consumer": share}
    [first] = [letter for letter in listed if letter["stage"] == "consumer"][:1]
    assert first["errors"] == [{"pointer": "/currency", "rule": "enum", "expected": first["errors"][0]["expected"]}]
    assert world.cli("audit", "--dataset", world.dataset).returncode == 0
    assert world.cli("dlq", "redrive", world.dataset, "--dry-run").returncode == 1, "the contract is not mended yet"

    _allow_new_currency(world)
    would = json.loads(world.cli("dlq", "redrive", world.dataset, "--dry-run", "--json").stdout.splitlines()[-1])
    assert (would["would_be_redriven"], would["stays_open"]) == (2 * share, [])
    assert (api.terminate(), consumer.terminate()) == (0, 0)
    world.consumer("mended")
    redriven = world.cli("dlq", "redrive", world.dataset, "--json")
    assert (redriven.returncode, json.loads(redriven.stdout)["redriven"]) == (0, 2 * share)
    again = world.cli("dlq", "redrive", world.dataset, "--json")
    assert (again.returncode, json.loads(again.stdout)["redriven"]) == (0, 0)
    wait_until("everything is committed", world.all_committed)

    seen = world.observe()
    assert seen.faults() == {}
    assert len(seen.log) == seen.landed.total() + len(seen.letters)
    assert len(seen.letters) == share
    assert len(seen.log) == 2 * EVENTS + share, "accepted by the API or written past it, and redriven"
    landed = {envelope["ingestion_id"]: payload for envelope, payload in world.envelopes()}
    assert len(landed) == seen.landed.total(), "no event is there twice"
    assert {one: landed[one] for one in sent} == sent
    assert sorted(landed[one] for one in landed.keys() - sent.keys()) == sorted(by_others)
    for topic_id, partition, offset in seen.letters:
        assert str(ingestion_id_of_record(topic_id, partition, offset)) in landed
    assert _json_lines(world, "list") == []
    audit = world.cli("audit", "--dataset", world.dataset)
    assert audit.returncode == 0, audit.stdout.decode()


def test_letters_of_every_class_give_back_the_original_byte_for_byte(world: World) -> None:
    """Also with hostile headers; a letter too large for its topic gives the beginning, and sha256 and place of all."""
    world.set_up()
    admin, topic = world.admin, raw_topic(world.dataset)
    admin.configure_topic(dlq_topic(world.dataset), {"max.message.bytes": "600000"})
    hostile: list[Header] = [
        ("dlq_resolution", b"redriven"),
        ("orig_dlq_stage", b"api"),
        ("orig_orig_dlq_stage", None),
        ("dlq_source_offset", b"0"),
        ("ingestion_id", b"\xff"),
        ("line\nbreak", b"a\r\n\0\x1b[31m"),
        ("", b""),
    ]
    large = os.urandom(450_000).hex().encode()
    records = [*poison(world.dataset, _now_ms()), OutgoingRecord(topic, None, b"{", hostile, _now_ms())]
    records.append(OutgoingRecord(topic, b"large", large, hostile[1:3], _now_ms(), 0))
    world.append(records)
    api = world.api()
    world.consumer("consumer")
    sent = _post(api, world.dataset, [b"[]", b"\xef\xbb\xbf{}", b'{"order_id": "\\ud800"}'])
    wait_until("everything is committed", world.all_committed)

    originals = _originals(world)
    exported = _json_lines(world, "export")
    assert {letter["error_class"] for letter in exported} >= {
        "malformed_json",
        "contract_violation",
        "null_value",
        "unknown_schema_version",
        "key_not_utf8",
        "header_not_utf8",
    }
    of_consumer = [letter for letter in exported if letter["stage"] == "consumer"]
    assert len(of_consumer) == 8 + 2
    for letter in of_consumer:
        key, value, headers = originals[letter["source"]["partition"], letter["source"]["offset"]]
        assert (_bytes(letter["key"]), [(n, _bytes(v)) for n, v in letter["headers"]]) == (key, headers)
        if letter["truncated"] is None:
            assert _bytes(letter["value"]) == value
        else:
            assert value == large
            assert letter["truncated"] == {"bytes": len(large), "sha256": hashlib.sha256(large).hexdigest()}
            assert large.startswith(_bytes(letter["value"]) or b"?")
    assert [letter["source"]["partition"] for letter in of_consumer if letter["truncated"]] == [0]
    of_api = {letter["ingestion_id"]: _bytes(letter["value"]) for letter in exported if letter["stage"] == "api"}
    assert of_api == sent
    stays = json.loads(world.cli("dlq", "redrive", world.dataset, "--json").stdout)
    assert (stays["redriven"], sum(each["count"] for each in stays["stays_open"])) == (0, len(exported))


@pytest.mark.parametrize("world", ["kafka"], indirect=True)
def test_a_header_name_that_is_not_utf8_stops_nobody(world: World, kafka_service: KafkaService) -> None:
    """Python's client cannot tell such headers: the letter has the record's value and says what is wrong with it."""
    world.set_up()
    topic = raw_topic(world.dataset)
    values = [_order(shop, 5) for shop in ("before", "between", "after")]
    world.append([OutgoingRecord(topic, b"k", values[0], (), _now_ms())])
    write_with_header(kafka_service.bootstrap, topic, values[1], b"caf\xe9")
    world.append([OutgoingRecord(topic, b"k", values[2], (("trace", b"t"),), _now_ms())])
    world.consumer("consumer")
    wait_until("everything is committed", world.all_committed)
    [letter] = _json_lines(world, "export")
    assert letter["error_class"] == "header_not_utf8"
    assert _bytes(letter["value"]) == values[1]
    seen = world.observe()
    assert seen.faults() == {}
    assert sorted(seen.payloads.values()) == sorted([values[0], values[2]])
    assert world.cli("audit", "--dataset", world.dataset).returncode == 0


def test_looking_moves_no_group_and_writes_nothing(world: World) -> None:
    world.set_up()
    world.append(poison(world.dataset, _now_ms()))
    consumer = world.consumer("consumer")
    wait_until("everything is committed", world.all_committed)
    assert consumer.terminate() == 0
    before = _state(world)
    [letter, *_] = _json_lines(world, "list")
    for arguments in (["list"], ["export"], ["redrive", "--dry-run"]):
        assert world.cli("dlq", arguments[0], world.dataset, *arguments[1:]).returncode in (0, 1)
    assert world.cli("dlq", "show", world.dataset, letter["letter"]).returncode == 0
    assert _state(world) == before


def test_a_redrive_killed_half_way_is_completed_by_the_next_one(world: World) -> None:
    """kill -9, wherever it is; the next one waits until the dead one's turn is over, and sends nothing twice."""
    world.set_up()
    consumer = world.consumer("consumer")
    by_others = [_order("direct", n, currency="SEK") for n in range(300)]
    world.append([OutgoingRecord(raw_topic(world.dataset), b"k", value, (), _now_ms()) for value in by_others])
    wait_until("everything is committed", world.all_committed)
    assert consumer.terminate() == 0
    _allow_new_currency(world)

    logged = _high(world)
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlake", "dlq", "redrive", world.dataset, "--rate", "40"],
        env={**os.environ, **world.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until("some are sent", lambda: _high(world) > logged + 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    sent = _high(world) - logged
    assert sent < 300, "it was killed too late"
    again = world.cli("dlq", "redrive", world.dataset, "--json")
    assert again.returncode == 0, again.stderr.decode()
    told = json.loads(again.stdout)
    assert told["redriven"] + sent == 300
    assert _high(world) == logged + 300

    world.consumer("mended")
    wait_until("everything is committed", world.all_committed)
    assert world.observe().faults() == {}
    landed = Counter(envelope["ingestion_id"] for envelope, _ in world.envelopes())
    assert set(landed.values()) == {1}
    assert len(landed) == 300
    assert world.cli("audit", "--dataset", world.dataset).returncode == 0


def _order(shop: str, number: int, *, currency: str | None = None) -> bytes:
    money = currency or ("SEK" if number % NEW_CURRENCY < 3 else "EUR")
    head = f'{{ "order_id":"{shop}-{number}", "customer_id": "c","amount":1e2,"currency":"{money}",'
    return (head + '"event_time":"2026-01-01T00:00:00Z"}').encode()


def _allow_new_currency(world: World) -> None:
    path = Path(world.environment["STREAMLAKE_CONTRACTS"]) / f"{world.dataset}.v1.odcs.yaml"
    path.write_text(
        path.read_text().replace("          - value: CHF\n", "          - value: CHF\n          - value: SEK\n")
    )


def _post(api: Child, dataset: str, events: list[bytes]) -> dict[str, bytes]:
    """ingestion id -> event, of those accepted and those rejected."""
    url = f"http://127.0.0.1:{api.port}/v1/datasets/{dataset}/events:batch"
    answer = httpx.post(url, content=b"\n".join(events), headers={"Content-Type": "application/x-ndjson"}, timeout=60)
    results = answer.json()["results"]
    assert {result["status"] for result in results} <= {202, 422}
    return {result["ingestion_id"]: event for result, event in zip(results, events, strict=True)}


def _json_lines(world: World, command: str) -> list[dict[str, Any]]:
    flags = [] if command == "export" else ["--json"]
    ran = world.cli("dlq", command, world.dataset, *flags)
    assert ran.returncode == 0, ran.stderr.decode()
    return [json.loads(line) for line in ran.stdout.splitlines()]


def _originals(world: World) -> dict[tuple[int, int], Original]:
    found: dict[tuple[int, int], Original] = {}
    for lane, mark in world.admin.watermarks(world.lanes).items():
        for batch in world.reader.read(lane, mark.low, mark.high):
            for at, offset in enumerate(batch.offsets):
                found[lane.partition, offset] = batch.keys[at], batch.values[at], list(batch.headers[at])
    return found


def _bytes(told: dict[str, str] | None) -> bytes | None:
    if told is None:
        return None
    return told["text"].encode() if "text" in told else base64.b64decode(told["base64"])


def _state(world: World) -> tuple[object, ...]:
    letters = [TopicPartition(dlq_topic(world.dataset), lane.partition) for lane in world.lanes]
    objects = [(info.name, info.generation) for info in world.store.list("")]
    return world.committed(), dict(world.admin.watermarks([*world.lanes, *letters])), objects


def _high(world: World) -> int:
    marks: list[Watermarks] = list(world.admin.watermarks(world.lanes).values())
    return sum(mark.high for mark in marks)


def _now_ms() -> int:
    return int(time.time() * 1000)
