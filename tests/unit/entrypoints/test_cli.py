"""The command line as a shell sees it: exit codes, and one clear line where something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamlake.entrypoints.cli.parameters import caller

ROOT = Path(__file__).parents[3]
ORDER = b'{"order_id":"o-1","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}\n'


class Shell:
    """Commands on the embedded default, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.lake = folder / "lake"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STREAMLAKE_")},
            "STREAMLAKE_EVENT_LOG": f"sqlite://{folder}/log.sqlite",
            "STREAMLAKE_OBJECT_STORE": f"file://{folder}/lake",
            "STREAMLAKE_CONTRACTS": str(ROOT / "contracts"),
        }

    def run(self, *arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "streamlake", *arguments],
            env=self._environment | settings,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_doctor_finds_what_is_missing_and_then_nothing(shell: Shell) -> None:
    assert shell.run("doctor").returncode == 1
    assert shell.run("topics", "provision", "--dry-run").returncode == 1
    assert shell.run("topics", "provision").returncode == 0
    assert shell.run("topics", "provision", "--dry-run").returncode == 0
    assert shell.run("doctor").returncode == 1, "the bucket is still missing"
    assert shell.run("doctor", "--create-bucket").returncode == 0


def test_produce_says_what_became_of_each_line(shell: Shell) -> None:
    shell.run("topics", "provision")
    good = shell.run("produce", "orders", "--json", stdin=ORDER * 3)
    assert good.returncode == 0
    assert json.loads(good.stdout)["accepted"] == 3
    mixed = shell.run("produce", "orders", "--json", stdin=ORDER + b"{broken\n\n" + b'{"order_id":1}\n')
    told = json.loads(mixed.stdout)
    assert mixed.returncode == 1
    assert (told["accepted"], told["rejected"]) == (1, {"malformed_json": 1, "contract_violation": 1})


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (["consumer", "--dataset", "nope"], {}, b"nope"),
        (["consumer", "--dataset", "orders"], {}, b"doctor --create-bucket"),
        (["produce", "orders"], {}, b"streamlake.orders"),
        (["topics", "list"], {"STREAMLAKE_EVENT_LOG": "carrier-pigeon:"}, b"STREAMLAKE_EVENT_LOG"),
        (["topics", "list"], {"STREAMLAKE_LANDING__MAX_AGE_S": "soon"}, b"STREAMLAKE_LANDING__MAX_AGE_S"),
        (["topics", "list"], {"STREAMLAKE_LANDNIG__MAX_AGE_S": "1"}, b"STREAMLAKE_LANDNIG__MAX_AGE_S"),
        (["topics", "list"], {"STREAMLAKE_LANDING__FOO": "1"}, b"there are STREAMLAKE_LANDING__BREAKER_DISPOSITIONS, "),
        (
            ["topics", "list"],
            {"STREAMLAKE_EVENT_LOG__FOO": "1"},
            b"STREAMLAKE_EVENT_LOG__FOO: there is no such setting",
        ),
        (["topics", "provision"], {"STREAMLAKE_CONTRACTS": "/nowhere"}, b"/nowhere"),
        (["raw-zone", "ls", "orders"], {}, b"doctor --create-bucket"),
        (["raw-zone", "ls", "orders"], {"STREAMLAKE_OBJECT_STORE": "file:/etc/passwd"}, b"must be a folder"),
        (["raw-zone", "ls", "nope"], {}, b"nope: no such dataset"),
        (["raw-zone", "cat", "nope"], {}, b"nope: no such dataset"),
        (["raw-zone", "find", "nope", "x"], {}, b"nope: no such dataset"),
        (["raw-zone", "rebuild-metadata", "nope"], {}, b"nope: no such dataset"),
    ],
)
def test_what_cannot_work_exits_3_with_one_line_that_names_it(
    shell: Shell, arguments: list[str], settings: dict[str, str], says: bytes
) -> None:
    done = shell.run(*arguments, stdin=ORDER, **settings)
    assert done.returncode == 3, done.stderr
    assert says in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


def test_a_missing_topic_stops_a_consumer_at_start(shell: Shell) -> None:
    shell.run("doctor", "--create-bucket")
    done = shell.run("consumer", "--dataset", "orders")
    assert done.returncode == 3
    assert b"streamlake topics provision" in done.stderr


def test_wrong_usage_exits_2(shell: Shell) -> None:
    assert shell.run("consumer").returncode == 2
    assert shell.run("no-such-command").returncode == 2
    assert shell.run("demo", "--events", "0").returncode == 2, "nothing sent proves nothing"


@pytest.mark.parametrize("command", [["ls"], ["cat"], ["rebuild-metadata"]])
def test_a_date_that_is_none_is_wrong_usage(shell: Shell, command: list[str]) -> None:
    done = shell.run("raw-zone", *command, "orders", "--date", "2026-13-45")
    assert (done.returncode, b"2026-13-45" in done.stderr) == (2, True)


def test_what_is_asked_for_and_not_there_is_named(shell: Shell) -> None:
    shell.run("doctor", "--create-bucket")
    shell.run("topics", "provision")
    today = "2026-11-21"
    for arguments, says in (
        (["raw-zone", "cat", "orders", "--replay", "nope"], b"nope: there is no such replay"),
        (["quality", "--dataset", "orders", "--date", today, "--source", "replay:nope"], b"there is no such replay"),
        (["audit", "--dataset", "orders", "--partition", "99"], b"has 6 partitions, there is no partition 99"),
        (["dlq", "list", "orders", "--offsets", "99:0-2"], b"has 6 partitions, there is no partition 99"),
        (["resume", "--dataset", "orders", "--partition", "99"], b"has 6 partitions, there is no partition 99"),
    ):
        done = shell.run(*arguments)
        assert (done.returncode, says in done.stderr) == (3, True), done.stderr
    assert not list(shell.lake.glob("ops/**/*.json"))


def test_who_has_only_a_number_is_called_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_001)
    assert caller() == "uid 2000000001"


def test_find_exits_1_and_says_so_where_there_is_nothing(shell: Shell) -> None:
    shell.run("doctor", "--create-bucket")
    done = shell.run("raw-zone", "find", "orders", "00000000-0000-0000-0000-000000000000")
    assert (done.returncode, b"orders has no such envelope" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["topics", "list"],
        ["topics", "provision", "--dry-run"],
        ["doctor"],
        ["audit", "--dataset", "orders"],
        ["dlq", "list", "orders"],
        ["replay", "list"],
    ],
)
def test_a_command_that_only_looks_creates_no_log_where_there_is_none(
    shell: Shell, tmp_path: Path, arguments: list[str]
) -> None:
    shell.run("doctor", "--create-bucket")
    done = shell.run(*arguments, STREAMLAKE_EVENT_LOG=f"sqlite://{tmp_path}/mistyped/log.sqlite")
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("command", [("api", "--port"), ("consumer", "--dataset", "orders", "--http-port")])
@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_what_is_no_port_is_a_usage_error(shell: Shell, command: tuple[str, ...], port: str) -> None:
    refused = shell.run(*command, port)
    assert refused.returncode == 2
    assert command[-1].encode() in refused.stderr
    assert b"Traceback" not in refused.stderr
