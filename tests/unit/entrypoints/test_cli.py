"""The command line as a shell sees it: exit codes, and one clear line where something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ORDER = b'{"order_id":"o-1","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}\n'


class Shell:
    """Commands on the embedded default, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
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
        (["topics", "provision"], {"STREAMLAKE_CONTRACTS": "/nowhere"}, b"/nowhere"),
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


def test_find_exits_1_where_there_is_nothing(shell: Shell) -> None:
    shell.run("doctor", "--create-bucket")
    assert shell.run("raw-zone", "find", "orders", "00000000-0000-0000-0000-000000000000").returncode == 1


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
