"""`streamlake produce`: through a network that fails, and through kill -9, nothing is lost and ids stay the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.integration.system import wait_until
from tests.unit.entrypoints.http_api.door import Door, listening
from tests.unit.entrypoints.produce.flaky import FAULTS, flaky

from streamlake.domain.model.envelope import ingestion_id_of_request
from streamlake.entrypoints.cli import cli

SERVICE = "streamlake-produce"
EVENTS = 300
BATCH = 10


def line(n: int) -> bytes:
    return b'{"id":"o-%d","amount":1,"n":%d}' % (n % 7, n)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    (tmp_path / "contracts").mkdir()
    made = Door(tmp_path / "contracts")
    yield made
    made.close()


@pytest.fixture
def url(door: Door) -> Iterator[str]:
    with listening(door) as (port, _, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join(line(n) for n in range(EVENTS)))
    return path


def produced(*arguments: object) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(cli, ["produce", "orders", "--json", "--batch-size", str(BATCH), *map(str, arguments)])
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout)


def refused(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["produce", "orders", *map(str, arguments)])
    return done.exit_code, done.output


def in_the_log(door: Door) -> list[tuple[bytes, str]]:
    """Value and ingestion id of every raw record, partition by partition, in order."""
    stored = door.stored("streamlake.orders.raw")
    return [(r.value or b"", (r.headers["ingestion_id"] or b"").decode()) for r in stored]


def expected_ids(token: str) -> dict[bytes, str]:
    places = ((n, f"{token}:{n // BATCH}", n % BATCH) for n in range(EVENTS))
    return {line(n): ingestion_id_of_request(SERVICE, "orders", key, index) for n, key, index in places}


def test_through_every_fault_each_event_arrives_and_repeats_have_the_same_id(
    door: Door, url: str, events: Path
) -> None:
    with flaky(url, lambda n: FAULTS[n // 3 % len(FAULTS)] if n % 3 == 1 else None) as (proxy, net):
        code, told = produced(events, "--url", proxy, "--idempotency-key", "k", "--at-once", 4)

    assert (code, told["accepted"], told["failed"], told["rejected"]) == (0, EVENTS, {}, {})
    assert set(net.befallen) == {*FAULTS, "none"}
    stored = in_the_log(door)
    assert dict(stored) == expected_ids("k")
    assert {i for _, i in stored} == set(expected_ids("k").values())
    assert max(Counter(value for value, _ in stored).values()) > 1, "nothing was repeated, so nothing is shown"


def test_one_at_a_time_keeps_the_order_of_each_key(door: Door, url: str, events: Path) -> None:
    code, _ = produced(events, "--url", f"{url}/")

    assert code == 0
    order: dict[str, list[int]] = {}
    for value, _ in in_the_log(door):
        event = json.loads(value)
        order.setdefault(event["id"], []).append(event["n"])
    assert sum(map(len, order.values())) == EVENTS
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_killed_in_the_middle_and_run_again_nothing_is_lost_and_no_event_has_two_ids(
    door: Door, url: str, events: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    command = ["produce", "orders", str(events), "--checkpoint", str(checkpoint), "--batch-size", str(BATCH)]
    with flaky(url, lambda n: "hold" if n > 10 else None) as (proxy, net):
        process = subprocess.Popen([sys.executable, "-m", "streamlake", *command, "--url", proxy])
        wait_until("it is in the middle", lambda: net.befallen["hold"])
        process.send_signal(signal.SIGKILL)
        process.wait()
        net.let_go()
    token = json.loads(checkpoint.read_text())["token"]
    assert 0 < len(in_the_log(door)) < EVENTS

    code, _ = produced(events, "--checkpoint", checkpoint, "--url", url)
    assert code == 0
    assert set(in_the_log(door)) == set(expected_ids(token).items())
    again, told = produced(events, "--checkpoint", checkpoint, "--url", url)
    assert (again, told["accepted"], told["resumed_after_line"]) == (0, 0, EVENTS)


@pytest.fixture
def straight(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded log, with its topics and the door's contracts, for commands of this process."""
    monkeypatch.setenv("STREAMLAKE_EVENT_LOG", f"sqlite://{tmp_path}/log.sqlite")
    monkeypatch.setenv("STREAMLAKE_CONTRACTS", str(tmp_path / "contracts"))
    assert CliRunner().invoke(cli, ["topics", "provision"]).exit_code == 0


@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("over_http", [True, False], ids=["over HTTP", "straight"])
def test_what_is_refused_is_in_the_rejects_file_with_its_line_and_reason(
    url: str, tmp_path: Path, over_http: bool
) -> None:
    file, rejects = tmp_path / "mixed.ndjson", tmp_path / "rejects.ndjson"
    file.write_bytes(b"\n".join([line(0), b"", b"{broken", line(1), b'{"id":"o"}', b"\xff"]))
    code, told = produced(file, "--rejects", rejects, *(["--url", url] if over_http else []))

    assert (code, told["accepted"]) == (1, 2)
    assert told["rejected"] == {"malformed_json": 2, "contract_violation": 1}
    rows = [json.loads(row) for row in rejects.read_text().splitlines()]
    assert [(row["line"], row["reason"]) for row in rows] == [
        (3, "malformed_json"),
        (5, "contract_violation"),
        (6, "malformed_json"),
    ]
    assert [row.get("event", row.get("event_base64")) for row in rows] == ["{broken", '{"id":"o"}', "/w=="]
    assert [error["pointer"] for error in rows[1]["errors"]] == ["/amount"]


@pytest.mark.usefixtures("straight")
def test_straight_to_the_log_a_checkpoint_goes_on_where_the_file_has_grown(events: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    assert produced(events, "--checkpoint", checkpoint)[1]["accepted"] == EVENTS
    with events.open("ab") as out:
        out.write(b"\n" + line(EVENTS))
    code, told = produced(events, "--checkpoint", checkpoint)
    assert (code, told["accepted"], told["resumed_after_line"]) == (0, 1, EVENTS)


def test_what_can_never_succeed_is_not_tried_for_ever(url: str, events: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    code, told = produced(events, "--url", url, "--schema-version", "v9", "--checkpoint", checkpoint)
    assert (code, told["accepted"]) == (3, 0)
    assert next(iter(told["failed"])).startswith("404 ")
    assert json.loads(checkpoint.read_text())["offset"] == 0

    code, told = produced(events, "--url", "http://127.0.0.1:9", "--patience", 0.5)
    assert (code, told["accepted"]) == (3, 0)
    assert "ConnectError" in next(iter(told["failed"]))


def test_a_checkpoint_of_another_job_or_file_is_refused(url: str, events: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    assert produced(events, "--checkpoint", checkpoint, "--url", url)[0] == 0
    same = (events, "--checkpoint", checkpoint, "--url", url)
    for change, says in (
        (["--batch-size", "11"], "batch-size was 10, is 11"),
        (["--batch-size", "10", "--idempotency-key", "another"], "token was"),
        (["--batch-size", "10", "--producer-service", "me"], "producer-service was streamlake-produce, is me"),
    ):
        code, told = refused(*same, *change)
        assert (code, says in told) == (2, True)
    events.write_bytes(b"{}\n" + events.read_bytes())
    code, told = refused(*same, "--batch-size", "10")
    assert (code, "is another file's" in told) == (2, True)
