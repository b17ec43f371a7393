"""`streamlake dlq` as a shell sees it, on the embedded default."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.unit.entrypoints.test_cli import ORDER, ROOT, Shell

from streamlake.domain.model.dead_letters import ERROR_CLASSES
from streamlake.entrypoints.cli import cli

NASTY = b'{"order_id":"\x1b[31m\xc2\x9b0m'
BINARY = b"\xff\xfe{"


class Letters:
    """A shell whose dataset has three dead letters of the API."""

    def __init__(self, folder: Path) -> None:
        self._shell = Shell(folder)
        self._contracts = folder / "contracts"
        self._contracts.mkdir()
        self.contract((ROOT / "contracts/orders.v1.odcs.yaml").read_text())
        self.run("topics", "provision")
        self.run("doctor", "--create-bucket")
        self.foreign = ORDER.replace(b'"amount"', b'"currency":"SEK","amount"')
        self.run("produce", "orders", stdin=b"\n".join([NASTY, BINARY, self.foreign]))

    def contract(self, text: str) -> None:
        """The contract is this from now on."""
        (self._contracts / "orders.v1.odcs.yaml").write_text(text)

    def allow_sek(self) -> None:
        """The contract knows Swedish crowns."""
        text = (self._contracts / "orders.v1.odcs.yaml").read_text()
        self.contract(text.replace("          - value: CHF\n", "          - value: CHF\n          - value: SEK\n"))

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return self._shell.run(*arguments, stdin=stdin, STREAMLAKE_CONTRACTS=str(self._contracts))

    def listed(self, *options: str) -> list[dict[str, Any]]:
        """What `list` says, by class."""
        ran = self.run("dlq", "list", "orders", "--json", *options)
        assert ran.returncode == 0, ran.stderr.decode()
        return sorted(map(json.loads, ran.stdout.splitlines()), key=lambda letter: str(letter["error_class"]))


@pytest.fixture
def letters(tmp_path: Path) -> Letters:
    return Letters(tmp_path)


def test_letters_are_found_mended_and_redriven(letters: Letters) -> None:
    """What stays open is exit 1, and what is redriven is not open any more."""
    violation, *malformed = letters.listed()
    assert violation["errors"][0]["pointer"] == "/currency"
    assert letters.run("dlq", "redrive", "orders", "--dry-run").returncode == 1
    letters.allow_sek()
    dry = letters.run("dlq", "redrive", "orders", "--dry-run", "--json")
    *each, summary = map(json.loads, dry.stdout.splitlines())
    passes = {told["letter"]: told["passes"] for told in each}
    assert passes == {violation["letter"]: True, **{letter["letter"]: False for letter in malformed}}
    assert (dry.returncode, summary["would_be_redriven"]) == (1, 1)

    ran = letters.run("dlq", "redrive", "orders", "--json")
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["redriven"], told["stays_open"][0]["count"]) == (1, 1, 2)
    assert [letter["letter"] for letter in letters.listed("--standing", "redriven")] == [violation["letter"]]
    assert len(letters.listed()) == 2
    shown = json.loads(letters.run("dlq", "show", "orders", violation["letter"], "--json").stdout)
    assert shown["value"] == {"text": letters.foreign.decode().rstrip("\n")}
    assert [made["outcome"] for made in shown["resolutions"]] == ["redriven"]


def test_show_prints_no_control_character_and_no_bytes_that_are_not_text(letters: Letters) -> None:
    pages = [letters.run("dlq", "show", "orders", letter["letter"]).stdout for letter in letters.listed()]
    text = b"".join(pages).decode()
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert '{"order_id":"\\x1b[31m\\x9b0m' in text
    assert "00000000  ff fe 7b" in text


def test_counts_are_by_class_with_first_and_last(letters: Letters) -> None:
    counted = json.loads(letters.run("dlq", "list", "orders", "--summary", "--json").stdout)
    assert [(kind["standing"], kind["stage"], kind["error_class"], kind["count"]) for kind in counted] == [
        ("open", "api", "contract_violation", 1),
        ("open", "api", "malformed_json", 2),
    ]
    assert all(kind["first"] <= kind["last"] for kind in counted)
    page = letters.run("dlq", "list", "orders", "--limit", "1").stdout.decode()
    assert page.count("  open  ") == 1
    assert "malformed_json" in page


def test_what_is_discarded_says_who_and_why(letters: Letters) -> None:
    ran = letters.run("dlq", "discard", "orders", "--error-class", "malformed_json", "--reason", "load test", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["discarded"]) == (0, 2)
    [one, _] = letters.listed("--standing", "discarded")
    page = letters.run("dlq", "show", "orders", one["letter"]).stdout.decode()
    assert "load test" in page
    none = letters.run("dlq", "show", "orders", one["letter"] + "999")
    assert (none.returncode, b"has no such letter" in none.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "orders", "--from", "yesterday"], "--from: must be RFC 3339 with a zone"),
        (["list", "orders", "--to", "2026-11-21T10:00:00"], "--to: must be RFC 3339 with a zone"),
        (["list", "orders", "--offsets", "0:9-9"], "PARTITION:START-END"),
        (["redrive", "orders", "--rate", "0"], "--rate"),
        (["show", "orders", "what"], "a letter is <topic id>/<partition>/<offset>"),
        (["discard", "orders", "--reason", "x"], "select letters, or say --all"),
        (["discard", "orders", "--reason", " ", "--all"], "--reason: must say something"),
        (["discard", "orders", "--all"], "--reason"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(arguments: list[str], told: str) -> None:
    ran = CliRunner().invoke(cli, ["dlq", *arguments])
    assert ran.exit_code == 2
    assert told in ran.output


@pytest.mark.parametrize(
    "options",
    [
        ("--error-class", "nonsense"),
        ("--from", "2026-11-22T00:00:00Z", "--to", "2026-11-21T00:00:00Z"),
    ],
)
def test_what_no_letter_can_be_is_wrong_usage(options: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli, ["dlq", "list", "orders", *options]).exit_code == 2


def test_every_rule_that_makes_a_letter_can_be_asked_for() -> None:
    """Rules are named where they are raised: by the consumer's judgement, and by the envelope."""
    folder = ROOT / "src/streamlake/domain"
    source = "".join((folder / name).read_text() for name in ("use_cases/judge_records.py", "model/envelope.py"))
    rules = set(re.findall(r'RecordRefused\(\s*"(\w+)"', source)) - {"unusual"}  # is caught where it is raised
    assert rules == set(ERROR_CLASSES) - {"malformed_json", "contract_violation", "too_large"}
