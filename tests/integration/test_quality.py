"""`streamlake quality` over real parts of every format, on a folder and a GCS API, and beside `datacontract test`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from datacontract.data_contract import DataContract
from datacontract.model.run import Check
from jsonschema import Draft202012Validator
from tests.contracts.part_format import rows_of
from tests.services.gcs import GcsService

from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.model.replay_plans import ReplayPlan, ReplayRequest
from streamlake.domain.model.rows import longs
from streamlake.domain.model.selections import Selection
from streamlake.domain.model.times import DAY_MS, epoch_ms, iso_date, rfc3339
from streamlake.entrypoints.cli import cli
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import load_settings

pytestmark = pytest.mark.filterwarnings("ignore::Warning:ibis")  # deprecations of what ibis itself is built on

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "contracts/orders.v1.odcs.yaml"
SCHEMA = Draft202012Validator(
    json.loads((ROOT / "docs/schemas/quality-report.v1.json").read_text()),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
NOW = datetime.now(UTC)
TODAY = iso_date(epoch_ms(NOW) // DAY_MS)
NAMES = ["ann", "", "n/a", None, "Bob", "it's", "ann"]


def order(number: int, **changes: Any) -> bytes:
    """A valid order, some of its fields changed."""
    told = {
        "order_id": f"o-{number}",
        "customer_id": "c",
        "amount": number / 10,
        "event_time": (NOW - timedelta(hours=2)).isoformat().replace("+00:00", "Z"),
        "currency": "EUR",
        "items": [{"sku": f"sku-{number % 3}", "quantity": number + 1}, {"sku": "sku-1", "quantity": 1}],
    } | changes
    return json.dumps(told).encode()


ORDERS = [order(n, note=note) for n, note in enumerate(NAMES)] + [order(3, items=[], currency=None)]

PROPERTY_RULES: dict[str, list[dict[str, Any]]] = {
    "order_id": [
        {"metric": "nullValues", "mustBe": 0},
        {"metric": "duplicateValues", "mustBe": 0},
        {"metric": "invalidValues", "arguments": {"pattern": "-[0-3]$"}, "mustBeLessThan": 3},
        {"type": "sql", "query": "SELECT count(DISTINCT {property}) FROM {object}", "mustBe": 7},
    ],
    "amount": [
        {"metric": "invalidValues", "arguments": {"validValues": [0, 0.1, 0.2]}, "mustNotBe": 5},
        {"type": "sql", "query": "SELECT max(${column}) FROM ${table}", "mustBeBetween": [0.6, 0.7]},
    ],
    "currency": [{"metric": "nullValues", "unit": "percent", "mustBeLessOrEqualTo": 12.5}],
    "note": [
        {"metric": "nullValues", "unit": "percent", "mustBeLessThan": 25},
        {"metric": "missingValues", "arguments": {"missingValues": ["", "n/a", None]}, "mustBeBetween": [1, 3]},
        {
            "metric": "invalidValues",
            "arguments": {"validValues": ["ann", "it's"]},
            "unit": "percent",
            "mustBeLessThan": 10,
            "severity": "warning",
        },
        {"metric": "duplicateValues", "mustBe": 1},
    ],
}
ITEM_RULES: list[dict[str, Any]] = [
    {"metric": "invalidValues", "arguments": {"validValues": ["sku-0", "sku-1"]}, "mustBe": 0},
    {"metric": "duplicateValues", "mustBeGreaterThan": 1},
    {"metric": "nullValues", "mustBe": 0},
]
SCHEMA_RULES: list[dict[str, Any]] = [
    {"metric": "rowCount", "mustBeGreaterOrEqualTo": 8},
    {"metric": "duplicateValues", "arguments": {"properties": ["order_id", "amount"]}, "mustBe": 0},
    {"type": "sql", "query": "SELECT count(*) FROM orders WHERE event_time > '2001-01-01'", "mustNotBeBetween": [1, 7]},
    {"type": "sql", "query": "SELECT avg(amount) FROM {object} WHERE false", "mustBe": 0},
]


def contract_with(part_format: str) -> dict[str, Any]:
    """The shipped orders contract with the rules of this test instead of its own."""
    document: dict[str, Any] = yaml.safe_load(CONTRACT.read_text())
    [schema] = document["schema"]
    schema["quality"] = SCHEMA_RULES
    for source in schema["properties"]:
        source.pop("quality", None)
        if source["name"] in PROPERTY_RULES:
            source["quality"] = PROPERTY_RULES[source["name"]]
        if source["name"] == "items":
            source["items"]["properties"][0]["quality"] = ITEM_RULES
    document["slaProperties"] = [
        {"property": "freshness", "value": 3, "unit": "h", "element": "orders.event_time"},
        {"property": "freshness", "id": "within-the-hour", "value": "PT1H", "element": "orders.event_time"},
        {"property": "freshness", "id": "of-the-records", "value": 1, "unit": "d"},
        {"property": "retention", "value": 3, "unit": "y"},
    ]
    document["customProperties"].append({"property": "partFormat", "value": part_format})
    return document


class Lake:
    """Parts of one dataset in a store of its own, landed by the real part log; commands run in this process."""

    def __init__(self, folder: Path, part_format: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
        self.contracts = folder / "contracts"
        self.contracts.mkdir()
        self.write(contract_with(part_format))
        for name, value in (environment | {"STREAMLAKE_CONTRACTS": str(self.contracts)}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("STREAMLAKE_EVENT_LOG", "memory:")
        self.container = Container(settings=load_settings())
        self.store = self.container.object_store()
        self.store.create_bucket()

    def write(self, contract: dict[str, Any]) -> None:
        """The contract from now on."""
        (self.contracts / "orders.v1.odcs.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))

    def land(self, payloads: Sequence[bytes], start: int = 0, replay_id: str | None = None) -> None:
        """One part of today."""
        rows = rows_of(payloads, start=start)
        rows.timestamps = longs([epoch_ms(NOW)] * len(payloads))
        claims = {Lane("topic-id", 3): Offsets([(start, start + len(payloads))])}
        self.container.part_logs("orders").of(TODAY).land([rows], claims, lambda _: None, replay_id)

    def plan(self, replay_id: str) -> None:
        """A stored plan, whatever it is of."""
        plan = ReplayPlan(
            ReplayRequest(replay_id, "orders", Selection()), "topic-id", (), 0, False, "test", rfc3339(NOW)
        )
        self.container.replay().store(plan)

    def run(self, *arguments: str) -> Result:
        """One command."""
        return CliRunner().invoke(cli, arguments, standalone_mode=False)

    def quality(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report, which is of the published form."""
        ended = self.run("quality", "--dataset", "orders", "--date", TODAY, "--json", *options)
        report: dict[str, Any] = json.loads(ended.stdout)
        SCHEMA.validate(report)
        code: int = ended.return_value
        return code, report


@pytest.fixture(params=[("json", "file"), ("json.gz", "gs"), ("parquet", "gs"), ("parquet", "file")], ids="-".join)
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Every format; a folder and a GCS API."""
    part_format, kind = request.param
    if kind == "file":
        return Lake(tmp_path, part_format, monkeypatch, STREAMLAKE_OBJECT_STORE=f"file://{tmp_path}/lake")
    service: GcsService = request.getfixturevalue("gcs_service")
    return Lake(
        tmp_path,
        part_format,
        monkeypatch,
        STREAMLAKE_OBJECT_STORE=f"gs://q{uuid.uuid4().hex[:10]}/some/prefix",
        STORAGE_EMULATOR_HOST=service.endpoint,
    )


@pytest.fixture
def folder_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A folder alone, where format and store do not matter."""
    return Lake(tmp_path, "json", monkeypatch, STREAMLAKE_OBJECT_STORE=f"file://{tmp_path}/lake")


def by_rule(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The results by the names of their rules."""
    return {result["rule"]: result for result in report["results"]}


def places(result: dict[str, Any]) -> list[tuple[str, int]]:
    """(part without its extension, offset) of the offenders, all of partition 3."""
    assert {offender["partition"] for offender in result["offenders"]} <= {3}
    return [(offender["part"].partition(".")[0], offender["offset"]) for offender in result["offenders"]]


def test_each_rule_tells_what_it_expected_what_it_found_and_where(lake: Lake) -> None:
    """Over two parts, with a replay beside them that changes nothing."""
    lake.land(ORDERS[:5])
    lake.land(ORDERS[5:], start=5)
    lake.land([order(0), order(0)], replay_id="again")
    code, report = lake.quality()
    assert (code, report["verdict"], report["parts"], report["rows"]) == (1, "failed", 2, {"v1": 8})
    rules = by_rule(report)
    twice = rules["order_id: duplicateValues"]
    assert (twice["expected"], twice["found"], twice["outcome"]) == ("= 0", 1, "failed")
    assert places(twice) == [("part-0001", 3), ("part-0002", 7)]
    unclear = rules["note: invalidValues"]
    assert (unclear["unit"], unclear["found"], unclear["outcome"], unclear["severity"]) == (
        "percent", 37.5, "warned", "warning",
    )  # fmt: skip
    assert places(unclear) == [("part-0001", 1), ("part-0001", 2), ("part-0001", 4)]
    assert places(rules["items[].sku: invalidValues"]) == [("part-0001", 2), ("part-0002", 5)]
    assert [rules[name]["outcome"] for name in ("freshness", "within-the-hour", "of-the-records", "retention")] == [
        "passed", "failed", "passed", "unchecked",
    ]  # fmt: skip


def test_a_replay_is_checked_by_itself(lake: Lake) -> None:
    lake.land(ORDERS)
    lake.land([order(1), order(1), order(2)], replay_id="again")
    lake.plan("again")
    _, report = lake.quality("--source", "replay:again")
    assert (report["source"], report["rows"]) == ("replay:again", {"v1": 3})
    assert places(by_rule(report)["order_id: duplicateValues"]) == [("part-0002", 0), ("part-0002", 1)]


def test_rules_come_to_what_datacontract_makes_of_the_exported_payloads(lake: Lake, tmp_path: Path) -> None:
    """Every metric, comparator and unit, nested properties and SQL: the same numbers and the same outcomes."""
    lake.land(ORDERS)
    exported = tmp_path / "payloads.json"
    exported.write_bytes(lake.run("raw-zone", "cat", "orders", "--payloads").stdout_bytes)
    theirs = datacontract_results(lake, exported)
    _, report = lake.quality()
    ours = [
        (result["outcome"], result["found"]) for result in report["results"] if result["kind"] in ("library", "sql")
    ]
    assert len(ours) == sum(map(len, PROPERTY_RULES.values())) + len(ITEM_RULES) + len(SCHEMA_RULES)
    assert ours == theirs
    assert {outcome for outcome, _ in ours} == {"passed", "warned", "failed"}


def datacontract_results(lake: Lake, exported: Path) -> list[tuple[str, Any]]:
    """(outcome, number) of every quality check, in the contract's order, as datacontract-cli has them."""
    document = yaml.safe_load((lake.contracts / "orders.v1.odcs.yaml").read_text())
    server = {"server": "payloads", "type": "local", "path": str(exported), "format": "json", "delimiter": "new_line"}
    document["servers"] = [server]
    run = DataContract(data_contract_str=yaml.safe_dump(document), server="payloads").test()
    told = {"passed": "passed", "failed": "failed", "warning": "warned"}
    found = []
    for check in run.checks or ():
        if check.category == "quality":
            diagnostics = check.diagnostics or {}
            number = diagnostics.get("percent", diagnostics.get("value"))
            found.append((told[outcome_of(check)], None if number != number else number))  # NULL is pandas' NaN there
    return found


def outcome_of(check: Check) -> str:
    """`passed`, `failed` or `warning`."""
    assert check.result is not None
    return str(check.result.value)


def test_freshness_is_as_datacontract_has_it(folder_lake: Lake, tmp_path: Path) -> None:
    """In hours and as a duration, of the same property."""
    folder_lake.land(ORDERS)
    exported = tmp_path / "payloads.json"
    exported.write_bytes(folder_lake.run("raw-zone", "cat", "orders", "--payloads").stdout_bytes)
    outcomes = {}
    for value, unit in ((3, "h"), (1, "h"), ("PT3H", None), ("PT1H", None), (1, "d"), (100, "m")):
        document = contract_with("json")
        level = {"property": "freshness", "value": value, "element": "orders.event_time"}
        document["slaProperties"] = [level | ({"unit": unit} if unit else {})]
        folder_lake.write(document)
        _, report = folder_lake.quality()
        document["servers"] = [
            {"server": "payloads", "type": "local", "path": str(exported), "format": "json", "delimiter": "new_line"}
        ]
        run = DataContract(data_contract_str=yaml.safe_dump(document), server="payloads").test()
        [theirs] = [outcome_of(check) for check in run.checks or () if check.type == "servicelevel_freshness"]
        outcomes[value, unit] = by_rule(report)["freshness"]["outcome"], theirs
    assert {ours == theirs for ours, theirs in outcomes.values()} == {True}, outcomes
    assert {ours for ours, _ in outcomes.values()} == {"passed", "failed"}


def test_the_report_is_kept_and_names_no_value(folder_lake: Lake) -> None:
    folder_lake.land([order(1, note="s3cret"), order(1, note="s3cret")])
    code, report = folder_lake.quality()
    [kept] = list(folder_lake.store.list("ops/quality/"))
    assert kept.name.startswith(f"ops/quality/dataset=orders/ingestion_date={TODAY}/")
    assert kept.metadata["verdict"] == report["verdict"] == "failed"
    body = folder_lake.store.read(kept.name)[1]
    assert json.loads(body) == report
    assert b"s3cret" not in body
    assert code == 1


def test_without_a_report_nothing_is_written(folder_lake: Lake) -> None:
    folder_lake.land(ORDERS)
    before = [info.name for info in folder_lake.store.list("")]
    folder_lake.quality("--no-report")
    assert [info.name for info in folder_lake.store.list("")] == before


@pytest.mark.parametrize(
    ("rules", "code", "verdict"),
    [
        ([{"metric": "rowCount", "mustBe": 1}], 0, "passed"),
        ([{"metric": "rowCount", "mustBe": 2, "severity": "info"}], 0, "warned"),
        ([{"metric": "rowCount", "mustBe": 2, "severity": "critical"}], 1, "failed"),
        ([{"type": "text", "description": "all is well"}], 1, "unchecked"),
        ([{"type": "text", "description": "all is well", "severity": "info"}], 0, "passed"),
        ([{"type": "custom", "engine": "soda", "implementation": "x"}], 1, "unchecked"),
        ([{"metric": "rowCount", "mustBe": 2}, {"type": "text", "description": "all is well"}], 1, "failed"),
    ],
)
def test_the_exit_code_is_the_verdicts(folder_lake: Lake, rules: list[dict[str, Any]], code: int, verdict: str) -> None:
    document = contract_with("json")
    [schema] = document["schema"]
    schema["quality"] = rules
    for source in schema["properties"]:
        source.pop("quality", None)
        if source["name"] == "items":
            del source["items"]["properties"][0]["quality"]
    del document["slaProperties"]
    folder_lake.write(document)
    folder_lake.land([order(1)])
    found, report = folder_lake.quality()
    assert (found, report["verdict"]) == (code, verdict)
    assert folder_lake.quality("--allow-unchecked")[0] == (0 if verdict == "unchecked" else code)


def test_a_date_without_parts_has_no_rows_and_is_told_so(folder_lake: Lake) -> None:
    code, report = folder_lake.quality()
    assert (code, report["parts"], by_rule(report)["orders: rowCount"]["found"]) == (1, 0, 0)


def test_rows_of_a_version_without_a_contract_are_told_and_not_passed(folder_lake: Lake) -> None:
    folder_lake.land([order(1)])
    rows = rows_of([order(2)], start=1)
    rows.schema_versions = ["v7"]
    claims = {Lane("topic-id", 3): Offsets([(1, 2)])}
    folder_lake.container.part_logs("orders").of(TODAY).land([rows], claims, lambda _: None, None)
    code, report = folder_lake.quality()
    assert (code, report["rows"]) == (1, {"v1": 1, "v7": 1})
    assert by_rule(report)["v7: contract"]["outcome"] == "unchecked"


def test_the_table_tells_the_same(folder_lake: Lake) -> None:
    folder_lake.land(ORDERS)
    ended = folder_lake.run("quality", "--dataset", "orders", "--date", TODAY)
    assert ended.return_value == 1
    assert f"orders {TODAY} live: failed (8 rows in 1 part;" in ended.stdout
    assert "order_id: duplicateValues: such as 3:3 (part-0001.json), 3:7 (part-0001.json)" in ended.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--date", "yesterday"),
        ("--date", "2026-02-30"),
        ("--date", TODAY, "--source", "dead"),
        ("--date", TODAY, "--source", "replay:../../x"),
    ],
)
def test_wrong_usage_is_refused(folder_lake: Lake, options: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(cli, ["quality", "--dataset", "orders", *options])
    assert ended.exit_code == 2
