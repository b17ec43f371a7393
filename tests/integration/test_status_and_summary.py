"""`streamlake status` and `streamlake summary` on a real log and store, by what they print and how they exit."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from tests.contracts.part_format import rows_of

from streamlake.domain.model.contracts import consumer_group, raw_topic
from streamlake.domain.model.positions import Lane, Offsets, Position, TopicPartition
from streamlake.domain.model.records import Appended, OutgoingRecord
from streamlake.domain.model.replay_plans import ReplayRequest
from streamlake.domain.model.rows import longs
from streamlake.domain.model.selections import Selection
from streamlake.domain.model.snapshots import commit_metadata
from streamlake.domain.model.times import DAY_MS, epoch_ms, iso_date, rfc3339
from streamlake.domain.ports.event_log import LogAdmin
from streamlake.domain.use_cases.control import HALTED, Decision
from streamlake.domain.use_cases.replay_records import ABORTED, INTERRUPTED, RUNNING
from streamlake.entrypoints.cli import cli
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import load_settings

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
NOW_MS = epoch_ms(NOW)
TODAY, YESTERDAY = iso_date(NOW_MS // DAY_MS), iso_date(NOW_MS // DAY_MS - 1)
SOURCE = TopicPartition(raw_topic("orders"), 0)
ORDER = b'{"order_id":"o","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}'


def schema(name: str) -> Draft202012Validator:
    """A published one."""
    return Draft202012Validator(json.loads((ROOT / "docs/schemas" / name).read_text()))


class Site:
    """The embedded log and store with the orders contract, its topics there; commands run in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        contracts = folder / "contracts"
        contracts.mkdir()
        (contracts / "orders.v1.odcs.yaml").write_bytes((ROOT / "contracts/orders.v1.odcs.yaml").read_bytes())
        monkeypatch.setenv("STREAMLAKE_CONTRACTS", str(contracts))
        monkeypatch.setenv("STREAMLAKE_EVENT_LOG", f"sqlite://{folder}/log.sqlite")
        monkeypatch.setenv("STREAMLAKE_OBJECT_STORE", f"file://{folder}/lake")
        self.container = Container(settings=load_settings())
        self.container.object_store().create_bucket()

    @property
    def topic_id(self) -> str:
        """The raw topic's."""
        admin: LogAdmin = self.container.admin()
        return admin.topics([SOURCE.topic])[SOURCE.topic].topic_id

    def run(self, *arguments: str) -> Result:
        """One command."""
        return CliRunner().invoke(cli, arguments, standalone_mode=False)

    def status(self) -> tuple[int, dict[str, Any]]:
        """Exit code, and what is said of orders; of the published form."""
        ended = self.run("status", "--json")
        report = json.loads(ended.stdout)
        schema("status.v1.json").validate(report)
        [found] = report["datasets"]
        code: int = ended.return_value
        return code, found

    def summary(self, date: str, *options: str) -> dict[str, Any]:
        """What is said of orders; of the published form."""
        report = json.loads(self.run("summary", "--date", date, "--json", *options).stdout)
        schema("summary.v1.json").validate(report)
        [found] = report["datasets"]
        told: dict[str, Any] = found
        return told

    def append(self, *timestamps: int) -> None:
        """Orders of these moments, to the first partition."""
        records = [OutgoingRecord(SOURCE.topic, b"o", ORDER, (), at, 0) for at in timestamps]
        outcomes = self.container.writer().append_and_wait(records)
        assert all(isinstance(outcome, Appended) for outcome in outcomes)

    def land(self, date: str, start: int, end: int, replay_id: str | None = None) -> None:
        """The orders of these offsets, as one part."""
        rows = rows_of([ORDER] * (end - start), source=SOURCE, start=start)
        rows.topic_id = self.topic_id
        rows.timestamps = longs([NOW_MS] * (end - start))
        claims = {Lane(self.topic_id, 0): Offsets([(start, end)])}
        self.container.part_logs("orders").of(date).land([rows], claims, lambda _: None, replay_id)

    def commit(self, offset: int) -> None:
        """As a consumer does."""
        at = {SOURCE: Position(offset, commit_metadata(self.topic_id))}
        self.container.admin().alter_group_offsets(consumer_group("orders"), at)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """With topics, nothing in them."""
    made = Site(tmp_path, monkeypatch)
    made.run("topics", "provision")
    return made


def test_missing_topics_need_somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, found = Site(tmp_path, monkeypatch).status()
    assert (code, found["raw_topic"], found["dlq_topic"], len(found["attention"])) == (1, False, False, 2)


def test_an_idle_dataset_is_well(site: Site) -> None:
    code, found = site.status()
    assert (code, found["attention"], found["lag"], len(found["partitions"])) == (0, [], 0, 6)


def test_lag_is_from_the_committed_position_to_the_end(site: Site) -> None:
    site.append(*[NOW_MS] * 5)
    site.commit(3)
    code, found = site.status()
    first = found["partitions"][0]
    assert (first["low"], first["high"], first["committed"], first["lag"]) == (0, 5, 3, 2)
    assert (code, found["attention"]) == (1, ["2 offsets wait, and no consumer runs"])
    site.commit(5)
    assert site.status()[0] == 0


def test_a_halt_needs_somebody_until_it_is_resumed(site: Site) -> None:
    decision = Decision(HALTED, site.topic_id, "too many dead letters", "consumer", rfc3339(NOW))
    site.container.control().decide("orders", 2, decision, NOW_MS)
    code, found = site.status()
    assert (code, found["partitions"][2]["halted"]) == (1, "too many dead letters")
    assert found["attention"] == ["partition 2: halted: too many dead letters"]
    site.run("resume", "--dataset", "orders")
    assert site.status()[0] == 0


def test_a_position_ahead_of_what_has_landed_is_a_gap_to_accept(site: Site) -> None:
    site.append(*[NOW_MS] * 5)
    at = {SOURCE: Position(5)}  # an operator's reset
    site.container.admin().alter_group_offsets(consumer_group("orders"), at)
    code, found = site.status()
    assert code == 1
    assert "[0, 5)" in found["partitions"][0]["stopped"]
    site.run("resume", "--dataset", "orders", "--accept-gap")
    assert site.status()[0] == 0


def test_the_last_audit_and_quality_check_are_told(site: Site) -> None:
    site.append(NOW_MS)
    site.land(TODAY, 0, 1)
    site.commit(1)
    site.run("audit", "--dataset", "orders")
    site.run("quality", "--dataset", "orders", "--date", TODAY)
    code, found = site.status()
    assert (found["audit"]["verdict"], found["quality"]["verdict"], found["quality"]["date"]) == (
        "clean", "failed", TODAY,
    )  # fmt: skip
    assert (code, len(found["attention"])) == (1, 1)  # the order is of January: not fresh


NARROWER = (("--partition", "3"), ("--date", "2020-01-01"), ("--replay", "again"))


@pytest.fixture
def lossy(site: Site) -> Site:
    """Of three orders one has landed; another, of an hour ago, was replayed."""
    site.append(*[NOW_MS] * 3)
    site.commit(3)
    site.run("replay", "run", "--dataset", "orders", "--offsets", "0:0-1", "--id", "again")
    site.land(TODAY, 0, 1)
    return site


@pytest.mark.parametrize("narrower", NARROWER)
def test_a_narrower_audit_hides_no_finding(lossy: Site, narrower: tuple[str, ...]) -> None:
    assert lossy.run("audit", "--dataset", "orders").return_value == 1
    before = lossy.status()[1]["attention"]
    assert len(before) == 1
    assert "the audit has findings" in before[0]
    assert lossy.run("audit", "--dataset", "orders", *narrower).return_value in (0, None)
    assert (lossy.status()[0], lossy.status()[1]["attention"]) == (1, before)
    assert lossy.summary(TODAY)["audit"]["verdict"] == "findings"
    lossy.land(TODAY, 1, 3)
    lossy.run("audit", "--dataset", "orders")
    assert (lossy.status()[0], lossy.summary(TODAY)["audit"]["verdict"]) == (0, "clean")


def test_the_finding_of_a_narrower_audit_stays_until_a_whole_one_is_clean(lossy: Site) -> None:
    lossy.run("audit", "--dataset", "orders", "--partition", "0")
    lossy.run("audit", "--dataset", "orders", "--partition", "1")
    assert lossy.status()[0] == 1
    assert lossy.summary(TODAY)["audit"]["verdict"] == "findings"
    assert lossy.summary(YESTERDAY)["audit"]["verdict"] == "findings"
    lossy.land(TODAY, 1, 3)
    lossy.run("audit", "--dataset", "orders", "--date", TODAY)
    assert (lossy.status()[0], lossy.summary(TODAY)["audit"]["verdict"]) == (1, "clean")
    lossy.run("audit", "--dataset", "orders")
    assert lossy.status()[0] == 0


def test_replays_that_were_interrupted_or_fell_silent_need_somebody(site: Site) -> None:
    site.append(NOW_MS)
    site.land(TODAY, 0, 1)
    site.commit(1)
    replays, records = site.container.replay(), site.container.replay_records()
    for replay_id, ago, state in (
        ("alive", timedelta(minutes=1), RUNNING),
        ("killed", timedelta(minutes=6), RUNNING),
        ("stopped", timedelta(minutes=1), INTERRUPTED),
        ("given-up", timedelta(minutes=6), ABORTED),
    ):
        [plan] = replays.plan("orders", [ReplayRequest(replay_id, "orders", Selection())], by="test")
        replays.store(plan)
        heard = rfc3339(datetime.now(UTC) - ago)
        records.begin(replay_id, "test", heard).update(heard, state=state)
    code, found = site.status()
    assert (code, [each.partition(": ")[0] for each in found["attention"]]) == (1, ["replay killed", "replay stopped"])
    assert all("streamlake replay resume" in each for each in found["attention"])
    assert "running, not heard of since" in site.run("replay", "status", "killed").stdout


def test_looking_creates_nothing(site: Site) -> None:
    site.append(NOW_MS)
    site.status()
    site.summary(TODAY, "--no-report")
    assert list(site.container.object_store().list("")) == []


def test_a_day_is_what_its_timestamps_say_whenever_it_came(site: Site) -> None:
    """Three of today and two of yesterday, in no order; of yesterday's one was replayed."""
    site.append(NOW_MS, NOW_MS - DAY_MS, NOW_MS, NOW_MS - DAY_MS, NOW_MS)
    site.land(YESTERDAY, 1, 2)
    site.land(YESTERDAY, 3, 4)
    site.land(YESTERDAY, 1, 2, replay_id="again")
    found = site.summary(YESTERDAY)
    assert (found["accepted"], found["accepted_complete"], found["landed"], found["parts"]) == (2, True, 2, 2)
    assert found["replays"] == [{"replay_id": "again", "parts": 1, "records": 1}]
    assert site.summary(TODAY)["accepted"] == 3
    assert site.summary("2013-01-01")["accepted"] == 0


def test_the_lag_of_a_part_is_from_its_newest_record_to_its_creation(site: Site) -> None:
    site.append(NOW_MS)
    site.land(TODAY, 0, 1)
    lag = site.summary(TODAY)["lag_high_water_s"]
    assert 0 <= lag <= (datetime.now(UTC) - NOW).total_seconds()
    assert site.summary(YESTERDAY)["lag_high_water_s"] is None


def test_dead_letters_are_counted_by_stage_and_class_on_the_day_they_failed(site: Site, tmp_path: Path) -> None:
    events = tmp_path / "events.ndjson"
    events.write_bytes(b"{}\n{\n" + ORDER + b"\n")
    before = datetime.now(UTC).date()
    site.run("produce", "orders", str(events))
    days = {before, datetime.now(UTC).date()}
    counted = sum((Counter(site.summary(day.isoformat())["dead_letters"]) for day in days), Counter())
    assert counted == {"api contract_violation": 1, "api malformed_json": 1}
    assert site.summary(YESTERDAY)["dead_letters"] == {}


def test_a_summary_is_kept_and_is_markdown_for_people(site: Site) -> None:
    site.append(NOW_MS)
    site.land(TODAY, 0, 1)
    ended = site.run("summary", "--date", TODAY)
    assert ended.return_value in (0, None)
    assert "| orders | 1 | 1 | 1 | 0 |" in ended.stdout
    [kept] = [info.name for info in site.container.object_store().list("ops/summary/")]
    assert kept.startswith(f"ops/summary/date={TODAY}/")


def test_completeness_is_the_last_audits(site: Site) -> None:
    file = Path(site.container.settings().contracts) / "orders.v1.odcs.yaml"
    file.write_text(
        file.read_text().replace("slaProperties:", "slaProperties:\n  - property: completeness\n    value: 60")
    )
    site.append(*[NOW_MS] * 4)
    site.land(TODAY, 0, 3)
    site.commit(4)

    def completeness() -> tuple[str, Any]:
        report = json.loads(site.run("quality", "--dataset", "orders", "--date", TODAY, "--json").stdout)
        [found] = [result for result in report["results"] if result["rule"] == "completeness"]
        return found["outcome"], found["found"]

    assert completeness() == ("unchecked", None)
    site.run("audit", "--dataset", "orders", "--partition", "0")
    assert completeness() == ("unchecked", None)
    site.run("audit", "--dataset", "orders", "--date", TODAY)
    assert completeness() == ("passed", 75)
    site.run("replay", "run", "--dataset", "orders", "--all", "--id", "again")
    site.run("audit", "--dataset", "orders", "--replay", "again")
    assert completeness() == ("passed", 75)


def test_completeness_of_no_record_at_all_is_unchecked(site: Site) -> None:
    file = Path(site.container.settings().contracts) / "orders.v1.odcs.yaml"
    file.write_text(
        file.read_text().replace("slaProperties:", "slaProperties:\n  - property: completeness\n    value: 60")
    )
    site.run("audit", "--dataset", "orders")
    report = json.loads(site.run("quality", "--dataset", "orders", "--date", TODAY, "--json").stdout)
    [found] = [result for result in report["results"] if result["rule"] == "completeness"]
    assert (found["outcome"], found["found"]) == ("unchecked", None)
