"""`streamlake contracts`: drafts that take their sample, changes that break, and what a contract shows."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.adapters.contract_catalog.odcs_files import field, text_of

from streamlake.adapters.contract_catalog.odcs import OdcsContractCatalog
from streamlake.adapters.contract_catalog.odcs_draft import OdcsContractFiles
from streamlake.domain.errors import ContractInvalid, ContractViolation, DataFault, SettingsInvalid
from streamlake.domain.model.contract_drafts import SampledField, draft, sample
from streamlake.entrypoints.cli import cli

SHIPPED = Path(__file__).parents[3] / "contracts"
CLICKS = [
    {"click_id": "c-1", "at": "2026-01-31T09:30:00Z", "page": "/", "ms": 12, "who": {"id": 7, "tags": ["a"]}, "odd": 1},
    {"click_id": "c-2", "at": "2026-01-31T09:30:00.5+01:00", "page": "/x", "ms": 1.5, "who": {"id": 8}, "odd": "one"},
    {"click_id": "c-3", "at": "2026-02-01T00:00:00Z", "page": "/", "ms": 3, "day": "2026-02-01", "items": [{"n": 1}]},
]
Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "contracts"))


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("STREAMLAKE_CONTRACTS", str(folder))

    def call(*arguments: str | Path) -> Result:
        return CliRunner().invoke(cli, ["contracts", *map(str, arguments)])

    return call


def lines(events: Sequence[Mapping[str, object]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_a_draft_takes_its_sample_and_passes_the_check(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sample.ndjson").write_bytes(lines(CLICKS))
    done = run("new", "clicks", tmp_path / "sample.ndjson")

    assert done.exit_code == 0, done.output
    written = folder / "clicks.v1.odcs.yaml"
    contract = OdcsContractFiles().read(written.name, written.read_bytes())
    assert contract.key == "click_id"
    assert [contract.record_key(contract.parse(json.dumps(click).encode())) for click in CLICKS] == [
        b"c-1",
        b"c-2",
        b"c-3",
    ]
    told = contract.json_schema
    assert told["required"] == ["click_id", "at", "page", "ms"]
    assert set(told["properties"]) == {"click_id", "at", "page", "ms", "who", "day", "items"}  # type: ignore[call-overload]
    assert "Left out, for no one type fits: '/odd'" in written.read_text()
    assert run("check").exit_code == 0
    again = run("new", "clicks", tmp_path / "sample.ndjson")
    assert (again.exit_code, "not overwritten" in again.output) == (2, True)


def test_a_draft_can_be_printed_instead(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sample.ndjson").write_bytes(lines(CLICKS))
    printed = run("new", "clicks", tmp_path / "sample.ndjson", "--out", "-")
    assert OdcsContractFiles().read("clicks.v1.odcs.yaml", printed.stdout_bytes).dataset == "clicks"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.dictionaries(st.sampled_from("abcdé/"), VALUES, max_size=4), min_size=1, max_size=4))
def test_whatever_the_sample_the_draft_is_a_contract_that_takes_it(events: list[dict[str, object]]) -> None:
    sampled = SampledField()
    payloads = [json.dumps({**event, "id": n}).encode() for n, event in enumerate(events)]
    try:
        for number, payload in enumerate(payloads):
            sample(sampled, payload, number)
    except DataFault:
        return  # not JSON to a contract: a double's infinity
    files = OdcsContractFiles()
    contract = files.read("made-up.v1.odcs.yaml", files.write(draft("made-up", 1, sampled, "id")))
    for payload in payloads:
        try:
            contract.parse(payload)
        except ContractViolation as violation:
            pytest.fail(f"{violation}: {payload!r}")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no event"),
        (b'{"id":1}\n{broken\n', "line 2: must be well-formed JSON"),
        (b'{"id":NaN}\n', "line 1: must be well-formed JSON"),
        (b"[1]\n", "line 1: must be a JSON object"),
        (b'{"x":1.5}\n', "there is no key"),
        (b'{"id":"\\ud800"}\n', "line 1: no contract takes it"),
    ],
)
def test_a_sample_that_no_contract_fits_is_refused_naming_the_line(
    run: Run, folder: Path, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "sample.ndjson").write_bytes(content)
    done = run("new", "clicks", tmp_path / "sample.ndjson")

    assert isinstance(done.exception, DataFault)
    assert says in str(done.exception)
    assert not (folder / "clicks.v1.odcs.yaml").exists()


def test_a_key_that_is_none_is_refused_with_those_that_are(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sample.ndjson").write_bytes(lines(CLICKS))
    done = run("new", "clicks", tmp_path / "sample.ndjson", "--key", "ms")
    assert "there are click_id, page" in str(done.exception)


def edited(folder: Path, before: str, after: str) -> None:
    path = folder / "orders.v1.odcs.yaml"
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def test_a_narrower_rule_is_a_finding_against_a_file_a_folder_and_a_commit(run: Run, folder: Path) -> None:
    def git(*command: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", folder, *who, *command], check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "before")
    assert run("check", "--against", "HEAD").exit_code == 0
    edited(folder, "maximum: 100000000 }", "maximum: 1000 }")
    for against in ("HEAD", SHIPPED, SHIPPED / "orders.v1.odcs.yaml"):
        done = run("check", "--against", against, "--json")
        assert done.exit_code == 1
        (change,) = json.loads(done.stdout)["changes"]
        assert (change["file"], change["pointer"], change["breaking"]) == ("orders.v1.odcs.yaml", "/amount", True)
    (folder / "flights.v1.odcs.yaml").unlink()
    assert "flights.v1.odcs.yaml: the contract: the contract is gone" in run("check", "--against", "HEAD").stdout


def test_a_looser_rule_is_told_and_is_no_finding(run: Run, folder: Path) -> None:
    edited(folder, "maxLength: 2000 }", "maxLength: 4000 }")
    done = run("check", "--against", SHIPPED)
    assert (done.exit_code, "/note: maxLength was 2000, is 4000" in done.stdout) == (0, True)


def test_a_contract_that_cannot_be_used_is_a_finding_that_names_file_and_rule(run: Run, folder: Path) -> None:
    edited(folder, "maximum: 100000000 }", "maximun: 100000000 }")
    done = run("check")
    assert done.exit_code == 1
    assert "invalid   orders.v1.odcs.yaml" in done.stdout
    assert "1 valid, 1 invalid" in done.stdout


@pytest.mark.parametrize("name", ["clicks.v1.yaml", "orders.v2.odcs.yml", "notes.yaml"])
def test_what_a_start_would_refuse_is_a_finding_whatever_it_is_called(run: Run, folder: Path, name: str) -> None:
    shutil.copy(folder / "orders.v1.odcs.yaml", folder / name)
    done = run("check")
    assert done.exit_code == 1
    assert f"invalid   {name}: a contract file is named <dataset>.v<major>.odcs.yaml" in done.stdout
    assert "2 valid, 1 invalid" in done.stdout
    assert run("check", "--against", SHIPPED).exit_code == 1
    (folder / name).rename(folder / f".{name}")
    assert run("check").exit_code == 0
    (folder / name).write_text("not a contract")
    assert run("check", "--against", folder / "orders.v1.odcs.yaml").exit_code == 1


@pytest.mark.parametrize(
    ("folder_of", "says"),
    [("empty", "there is no contract"), ("not-there", "cannot be read: No such file or directory")],
)
def test_no_contract_at_all_is_no_pass(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder_of: str, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("STREAMLAKE_CONTRACTS", str(tmp_path / folder_of))
    done = run("check")
    assert isinstance(done.exception, ContractInvalid)
    assert says in str(done.exception)
    with pytest.raises(ContractInvalid, match=says):
        OdcsContractCatalog(tmp_path / folder_of)


def test_a_draft_that_cannot_be_written_is_said_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sample.ndjson").write_bytes(lines(CLICKS))
    done = run("new", "clicks", tmp_path / "sample.ndjson", "--out", "/proc/nowhere/clicks.v1.odcs.yaml")
    assert isinstance(done.exception, SettingsInvalid)
    assert "/proc/nowhere/clicks.v1.odcs.yaml: cannot be written" in str(done.exception)


@pytest.mark.parametrize("pattern", ["[a-z]+", "[/]x", ":key:"])
def test_show_prints_a_pattern_as_it_is(run: Run, folder: Path, pattern: str) -> None:
    (folder / "things.v1.odcs.yaml").write_bytes(text_of(field("string", pattern=pattern)))
    done = run("show", "things")
    assert (done.exit_code, f"^(?:{pattern})$" in done.stdout) == (0, True), done.output


@pytest.mark.parametrize("against", ["no-such-thing", "--output=/tmp/x"])
def test_what_is_neither_a_file_nor_a_commit_is_wrong_usage(run: Run, against: str) -> None:
    assert run("check", f"--against={against}").exit_code == 2


def test_show_has_every_field_and_the_same_document_as_the_api(run: Run) -> None:
    shown = run("show", "orders")
    assert shown.exit_code == 0
    for pointer in ("/order_id", "/items/*/sku", "/note"):
        assert pointer in shown.stdout
    page = json.loads(run("show", "orders", "--schema-version", "v1", "--json").stdout)
    assert (page["name"], page["version"], page["key"]) == ("orders", "v1", "order_id")
    assert run("show", "orders", "--schema-version", "v9").exit_code == 2
