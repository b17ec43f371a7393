"""`streamlake replay` and `streamlake backfill` as a shell sees them."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.entrypoints.test_cli import ORDER, Shell

from streamlake.entrypoints.cli.replay_progress import ReplayBar
from streamlake.entrypoints.replay_flow import ReplayProgress


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Thirty orders in the log, nothing landed."""
    made = Shell(tmp_path)
    made.run("topics", "provision")
    made.run("doctor", "--create-bucket")
    assert made.run("produce", "orders", stdin=ORDER * 30).returncode == 0
    return made


def test_a_dry_run_prints_the_plan_and_stops(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("replay", "run", "--dataset", "orders", "--all", "--id", "a", "--dry-run", "--json")
    [plan] = json.loads(done.stdout)
    assert (done.returncode, plan["replay_id"], plan["records"]) == (0, "a", 30)
    assert json.loads(shell.run("replay", "list", "--json").stdout) == []
    assert shell.run("replay", "status", "a").returncode == 3


def test_a_run_prints_what_became_of_it_and_is_listed(shell: Shell) -> None:
    done = shell.run("replay", "run", "--dataset", "orders", "--all", "--id", "a", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["outcome"]["counts"] == {"selected": 30, "landed": 30, "lettered": 0}
    assert [each["state"] for each in json.loads(shell.run("replay", "list", "--json").stdout)] == ["complete"]
    assert json.loads(shell.run("replay", "status", "a", "--json").stdout)["plan"] == row["plan"]
    assert b"30 selected = 30 landed + 0 dead-lettered" in shell.run("replay", "resume", "a").stdout
    assert len(shell.run("raw-zone", "cat", "orders", "--replay", "a").stdout.splitlines()) == 30
    other = shell.run("replay", "run", "--dataset", "orders", "--offsets", "0:0-1", "--id", "a")
    assert (other.returncode, b"already another one" in other.stderr) == (3, True)


def test_a_backfill_of_a_date_is_the_same_replay_every_time(shell: Shell) -> None:
    today = datetime.now(UTC).date().isoformat()
    command = ("backfill", "--dataset", "orders", "--dates", "2026-01-01..2026-01-02", "--json")
    assert [row["outcome"]["counts"]["landed"] for row in json.loads(shell.run(*command).stdout)] == [0, 0]
    for _ in range(2):
        [row] = json.loads(shell.run("backfill", "--dataset", "orders", "--dates", today, "--json").stdout)
        assert row["plan"]["replay_id"] == f"backfill-{today}-orders"
    ids = [each["plan"]["replay_id"] for each in json.loads(shell.run("replay", "list", "--json").stdout)]
    assert ids == ["backfill-2026-01-01-orders", "backfill-2026-01-02-orders", f"backfill-{today}-orders"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "say what to replay"),
        (("--offsets", "0:5-5"), "start < end"),
        (("--offsets", "0:1-2", "--offsets", "0:5-6"), "named twice"),
        (("--from", "2026-11-21T10:00:00"), "with a zone"),
        (("--date", "2026-11-21", "--to", "2026-11-21T10:00:00Z"), "not by both"),
        (("--all", "--id", "Not-An-Id"), "replay id"),
        (("--partition", "-1"), "-1"),
        (("--partition", "0", "--offsets", "0:1-5"), "named twice"),
        (("--all", "--offsets", "0:1-2"), "--all"),
        (("--all", "--date", "2026-11-21"), "--all"),
        (("--date", "2026-13-45"), "2026-13-45"),
        (("--all", "--rewind", "--rate", "5"), "not for a rewind"),
        (("--all", "--rewind", "--max-live-lag", "5"), "not for a rewind"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(tmp_path: Path, options: tuple[str, ...], why: str) -> None:
    done = Shell(tmp_path).run("replay", "run", "--dataset", "orders", *options)
    assert (done.returncode, why in done.stderr.decode()) == (2, True), done.stderr


@pytest.mark.parametrize("command", [("plan", "--all"), ("list",)])
def test_a_dataset_that_is_not_there_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = Shell(tmp_path).run("replay", *command, "--dataset", "nothing")
    assert (done.returncode, b"nothing: no such dataset" in done.stderr) == (3, True)


def test_a_stored_rewind_is_not_resumed_at_a_pace(shell: Shell) -> None:
    done = shell.run("replay", "run", "--dataset", "orders", "--all", "--id", "r", "--rewind", "--json")
    assert done.returncode == 0, done.stderr
    assert shell.run("replay", "resume", "r", "--rate", "5").returncode == 2


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_of_a_replay_that_reads_nothing_ends_at_100_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", seen := _Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with ReplayBar("r", show=True) as bar:
        bar.say("waiting for the consumers to leave the group")
        bar.update(ReplayProgress(0, 0, 30, 0, None, None))
        bar.end(complete=True)
    assert "100%" in seen.getvalue()
