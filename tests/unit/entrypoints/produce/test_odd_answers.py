"""`streamlake produce`: whatever goes wrong, no event is left without an outcome, and the exit code says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from tests.integration.system import wait_until
from tests.unit.entrypoints.http_api.door import Door, listening
from tests.unit.entrypoints.produce.flaky import flaky
from tests.unit.entrypoints.produce.odd import answering
from tests.unit.entrypoints.produce.test_over_http import in_the_log, line, produced, refused

from streamlake.domain.model.envelope import ingestion_id_of_request
from streamlake.entrypoints.cli import cli
from streamlake.entrypoints.cli.produce import MAX_TOKEN
from streamlake.entrypoints.produce.over_http import HttpSender

EVENTS = 12
LIMIT = 1024 * 1024


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


@pytest.fixture
def straight(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLAKE_EVENT_LOG", f"sqlite://{tmp_path}/log.sqlite")
    monkeypatch.setenv("STREAMLAKE_CONTRACTS", str(tmp_path / "contracts"))
    assert CliRunner().invoke(cli, ["topics", "provision"]).exit_code == 0


def both(count: int = 10) -> list[dict[str, object]]:
    return [{"status": 202, "ingestion_id": ingestion_id_of_request("s", "orders", "t", n)} for n in range(count)]


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (502, b"null", {}),
        (503, b'["busy"]', {}),
        (429, b'"slow down"', {}),
        (500, b"[" * 100_000, {}),
        (502, b"no gzip", {"content-encoding": "gzip"}),
        (200, b"\xff\xfe", {}),
        (202, b'{"results":null}', {}),
        (202, b"[]", {}),
        (202, json.dumps({"results": [None] * 10}).encode(), {}),
        (202, json.dumps({"results": [{"status": 202}] * 10}).encode(), {}),
        (202, json.dumps({"results": both()}).encode(), {}),
        (
            207,
            json.dumps({"results": [{"status": 422, "type": "urn:streamlake:problem:malformed-json"}] * 10}).encode(),
            {},
        ),
    ],
)
def test_what_is_no_answer_about_these_events_is_a_failed_attempt(
    events: Path, status: int, body: bytes, headers: dict[str, str]
) -> None:
    with answering(status, body, headers) as odd:
        code, told = produced(events, "--url", odd, "--patience", 0.5)
    assert (code, told["accepted"], told["rejected"], told["failed"].popitem()[1]) == (3, 0, {}, 10)


def test_one_at_a_time_nothing_is_sent_after_what_has_failed(door: Door, url: str, events: Path) -> None:
    with flaky(url, lambda n: "applied-nonsense" if n == 0 else None) as (proxy, net):
        code, told = produced(events, "--url", proxy, "--patience", 0)
    assert (code, told["accepted"], net.requests) == (3, 0, 1)
    assert len(in_the_log(door)) == 10


@pytest.mark.parametrize(("status", "body"), [(503, b'["busy"]'), (429, b"null")])
def test_a_proxy_that_is_busy_is_asked_again_whatever_it_says(
    door: Door, url: str, events: Path, status: int, body: bytes
) -> None:
    with flaky(url, lambda n: f"{status}" if n == 0 else None, busy=body) as (proxy, net):
        code, told = produced(events, "--url", proxy)
    assert (code, told["accepted"], net.befallen[str(status)]) == (0, EVENTS, 1)
    assert len(in_the_log(door)) == EVENTS


def test_a_fault_that_nobody_thought_of_fails_the_run(events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> httpx.Response:
        raise ZeroDivisionError

    monkeypatch.setattr(httpx.Client, "post", breaks)
    code, told = produced(events, "--url", "http://127.0.0.1:9")
    assert (code, told["accepted"], told["failed"]) == (3, 0, {"ZeroDivisionError": 10})


def test_a_batch_that_nobody_has_heard_of_again_has_failed(events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpSender, "_settle", lambda sender, _: sender._room.leave())
    code, told = produced(events, "--url", "http://127.0.0.1:9")
    assert (code, told["failed"]) == (3, {"no answer yet": EVENTS})


@pytest.mark.parametrize("over_http", [True, False], ids=["over HTTP", "straight"])
@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--idempotency-key", "clé", "printable ASCII"),
        ("--idempotency-key", "", "printable ASCII"),
        ("--idempotency-key", " k", "no space"),
        ("--idempotency-key", "k" * (MAX_TOKEN + 1), f"1 to {MAX_TOKEN}"),
        ("--producer-service", "équipe", "A-Z a-z 0-9"),
        ("--producer-service", "a b", "A-Z a-z 0-9"),
        ("--schema-version", "one", "such as v1"),
        ("--patience", "-3", "x>=0"),
    ],
)
def test_a_value_that_the_api_would_refuse_is_wrong_usage_either_way(
    events: Path, over_http: bool, option: str, value: str, says: str
) -> None:
    code, told = refused(events, option, value, *(["--url", "http://127.0.0.1:9"] if over_http else []))
    assert (code, option in told, says in told) == (2, True, True), told


@pytest.mark.parametrize("url", ["notaurl", "http://[::1", "http://", "ftp://h", "http://h:x", "http://h?a=b", "h:80"])
def test_a_url_that_is_none_is_wrong_usage(events: Path, url: str) -> None:
    code, told = refused(events, "--url", url)
    assert (code, "--url" in told) == (2, True), told


@pytest.mark.usefixtures("straight")
def test_a_version_that_is_not_there_is_wrong_usage(events: Path) -> None:
    code, told = refused(events, "--schema-version", "v9")
    assert (code, "must be one of v1" in told) == (2, True), told


def test_a_password_in_the_url_is_not_told(events: Path) -> None:
    code, told = refused(events, "--url", "http://me:secret@127.0.0.1:9", "--patience", "0")
    assert (code, "secret" in told, "127.0.0.1:9" in told) == (3, False, True), told


def test_a_request_that_is_refused_for_good_is_not_advised_to_be_sent_again(url: str, events: Path) -> None:
    for arguments, says in (
        (["orders", str(events), "--url", f"{url}/elsewhere"], "404"),
        (["nothing", str(events), "--url", url], "There is no dataset nothing"),
        (["orders", str(events), "--url", url, "--schema-version", "v9"], "must be one of v1"),
    ):
        done = CliRunner().invoke(cli, ["produce", *arguments])
        assert done.exit_code == 3
        assert says in done.output
        assert "run it again" not in done.output
        assert "does not help" in done.output


def test_a_redirect_is_told_and_not_tried_for_ever(events: Path) -> None:
    with answering(301, b"", {"location": "https://elsewhere.test/"}) as moved:
        code, told = refused(events, "--url", moved)
    assert (code, "redirects to https://elsewhere.test/" in told) == (3, True), told


def test_ctrl_c_ends_it_at_once_with_its_checkpoint(door: Door, url: str, events: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    command = ["produce", "orders", str(events), "--batch-size", "2", "--checkpoint", str(checkpoint), "--json"]
    with flaky(url, lambda n: "503" if n >= 3 else None) as (proxy, net):
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlake", *command, "--url", proxy],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until("it is trying again", lambda: net.befallen["503"] > 1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
        assert time.monotonic() - began < 20, "it waited for its patience to run out"
    assert process.returncode == 130, said
    assert json.loads(out)["accepted"] == 6
    assert json.loads(checkpoint.read_text())["line"] == 6
    assert f"--checkpoint {checkpoint}".encode() in said

    assert CliRunner().invoke(cli, [*command, "--url", url]).exit_code == 0
    assert len(in_the_log(door)) == EVENTS


def test_ctrl_c_does_not_wait_for_a_server_that_does_not_answer(url: str, events: Path) -> None:
    with flaky(url, lambda _: "hold") as (proxy, net):
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlake", "produce", "orders", str(events), "--url", proxy],
            stderr=subprocess.PIPE,
        )
        wait_until("it waits for an answer", lambda: net.befallen["hold"])
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        net.let_go()
    assert process.returncode == 130, said
    assert b"Traceback" not in said


@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("over_http", [True, False], ids=["over HTTP", "straight"])
@pytest.mark.parametrize("size", [LIMIT + 1, 17 * LIMIT])
def test_an_event_that_is_too_large_is_a_reject_and_the_run_goes_on(
    door: Door, url: str, tmp_path: Path, over_http: bool, size: int
) -> None:
    file, rejects, checkpoint = tmp_path / "events", tmp_path / "rejects", tmp_path / "checkpoint"
    file.write_bytes(b"\n".join([line(0), b'{"id":"%s","amount":1}' % (b"x" * size), line(1), b""]))
    same = (file, "--checkpoint", checkpoint, "--rejects", rejects, *(["--url", url] if over_http else []))
    code, told = produced(*same)
    assert (code, told["accepted"], told["rejected"], told["failed"]) == (1, 2, {"too_large": 1}, {})
    (row,) = map(json.loads, rejects.read_text().splitlines())
    assert (row["line"], row["reason"], len(row["event"])) == (2, "too_large", size + 20)
    code, told = produced(*same)
    assert (code, told["accepted"], told["resumed_after_line"]) == (0, 0, 3)


@pytest.mark.usefixtures("straight")
def test_a_checkpoint_is_refused_for_a_file_that_was_cut(events: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    events.write_bytes(b"".join(line(n) + b"\n" for n in range(3000)))
    assert produced(events, "--checkpoint", checkpoint)[0] == 0
    os.truncate(events, 70_000)
    code, told = refused(events, "--checkpoint", checkpoint, "--batch-size", "10")
    assert (code, "70,000 bytes" in told, "was cut or replaced" in told) == (2, True, True), told


@pytest.mark.usefixtures("straight")
def test_a_last_line_without_a_line_feed_is_sent_and_may_not_go_on_later(events: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    rejects = tmp_path / "rejects"
    assert produced(events, "--checkpoint", checkpoint)[1]["accepted"] == EVENTS
    assert produced(events, "--checkpoint", checkpoint)[0] == 0
    whole = events.read_bytes()
    events.write_bytes(whole + b"}")
    code, told = refused(events, "--checkpoint", checkpoint, "--batch-size", "10")
    assert (code, f"line {EVENTS} was its last" in told) == (2, True), told
    events.write_bytes(whole + b"\r\n{broken\n")
    assert produced(events, "--checkpoint", checkpoint, "--rejects", rejects)[1]["rejected"] == {"malformed_json": 1}
    assert json.loads(rejects.read_text())["line"] == EVENTS + 1


@pytest.mark.usefixtures("straight")
def test_rejects_after_a_torn_line_have_lines_of_their_own(tmp_path: Path) -> None:
    file, rejects = tmp_path / "broken", tmp_path / "rejects"
    file.write_bytes(b"{broken\n")
    rejects.write_bytes(b'{"line":1,"rea')
    for _ in range(2):
        assert produced(file, "--rejects", rejects)[0] == 1
    torn, *rows = rejects.read_text().splitlines()
    assert torn == '{"line":1,"rea'
    assert [json.loads(row)["event"] for row in rows] == ["{broken", "{broken"]


def test_a_batch_that_is_too_large_as_a_whole_is_refused_with_the_way_out(events: Path) -> None:
    with answering(413, b"<html>\x1b[2J</html>") as small:
        code, told = refused(events, "--url", small)
    assert (code, "a smaller --batch-size may pass" in told) == (3, True), told


def test_what_a_server_says_reaches_no_terminal_raw(events: Path) -> None:
    with answering(400, b'{"detail":"\\u001b[2J"}') as rude:
        code, told = refused(events, "--url", rude)
    assert (code, "\x1b" in told, "\\x1b[2J" in told) == (3, False, True), told


@pytest.mark.usefixtures("straight")
def test_a_file_that_cannot_be_written_is_one_clear_line_and_exit_3(tmp_path: Path) -> None:
    file = tmp_path / "broken.ndjson"
    file.write_bytes(b"{broken\n")

    def run(*options: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "streamlake", "produce", "orders", str(file), *options]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)

    for options, says in (
        (["--rejects", "/dev/full"], b"--rejects /dev/full: cannot be written: No space left on device"),
        (["--rejects", f"{tmp_path}/no/rejects"], b"cannot be written: No such file or directory"),
        (["--checkpoint", f"{tmp_path}/no/checkpoint"], b"cannot be written: No such file or directory"),
    ):
        done = run(*options)
        assert (done.returncode, b"Traceback" in done.stderr) == (3, False), done.stderr
        assert says in done.stdout + done.stderr


@pytest.mark.usefixtures("straight")
def test_a_pipe_gets_no_spinner(events: Path) -> None:
    command: list[str] = [sys.executable, "-m", "streamlake", "produce", "orders", str(events)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
