"""What Airflow's tasks call works without Airflow: here on the embedded log and store."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from streamlake.domain.errors import SettingsInvalid, UnknownDataset
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.records import OutgoingRecord
from streamlake.entrypoints import airflow_callables
from streamlake.entrypoints.airflow_callables import RunFailed
from streamlake.entrypoints.airflow_callables.connected import connected

CONTRACTS = Path(__file__).parents[4] / "contracts"
CLIENTS = {
    "airflow",
    "confluent_kafka",
    "google.cloud.storage",
    "pyarrow",
    "duckdb",
    "streamlake.entrypoints.container",
}
ORDER = b'{"order_id":"o1","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}'
NOW_MS = 1_770_000_000_000


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLAKE_EVENT_LOG", f"sqlite:{tmp_path}/log.sqlite")
    monkeypatch.setenv("STREAMLAKE_OBJECT_STORE", f"file:{tmp_path}/lake")
    monkeypatch.setenv("STREAMLAKE_CONTRACTS", str(CONTRACTS))
    with connected() as container:
        container.object_store().create_bucket()
        container.provision().apply(container.provision().plan())
        records = [OutgoingRecord(raw_topic("orders"), b"o1", ORDER, (), NOW_MS + n) for n in range(5)]
        container.writer().append_and_wait(records)


def test_importing_them_imports_no_client_and_no_airflow() -> None:
    script = "import json, sys, streamlake.entrypoints.airflow_callables; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert (CLIENTS | {"streamlake.entrypoints.container"}).isdisjoint(json.loads(done.stdout))


def test_connections_are_closed_when_the_task_is_done(tmp_path: Path) -> None:
    def held() -> set[str]:
        return {found.path for found in psutil.Process().open_files() if found.path.startswith(str(tmp_path))}

    before = threading.active_count()
    with connected() as container:
        container.object_store().bucket_exists()
        container.admin().topics()
        container.writer()
        assert held()
    assert (held(), threading.active_count()) == (set(), before)


def test_a_wrong_setting_is_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLAKE_EVENT_LOGG", "x")
    with pytest.raises(SettingsInvalid, match="STREAMLAKE_EVENT_LOGG"):
        airflow_callables.audits_of({})


def test_only_what_is_stored_can_run_and_a_retry_reads_the_same_plan() -> None:
    params = {"dataset": "orders", "from": "2026-01-01T00:00:00Z", "dry_run": False}
    first = airflow_callables.plan_replay(params, "dag", "run")
    assert airflow_callables.plan_replay(params, "dag", "run") == first
    json.dumps(first)
    [work] = airflow_callables.approved(first["work"], {"chosen_options": ["Approve"], "responded_by_user": None})
    done = airflow_callables.run_replay(work)
    assert (done["state"], done["selected"], done["landed"]) == ("complete", 5, 5)
    assert airflow_callables.run_replay(work) == done
    assert airflow_callables.report_replays(first, [done])["replays"] == [done]
    with pytest.raises(RunFailed, match="0 of 1 finished"):
        airflow_callables.report_replays(first, [])


def test_a_dry_run_stores_nothing(tmp_path: Path) -> None:
    params = {"dataset": "orders", "from": "2026-01-01T00:00:00Z"}
    planned = airflow_callables.plan_replay(params, "dag", "run")
    assert planned["dry_run"]
    with connected() as container:
        assert list(container.object_store().list("")) == []
    assert airflow_callables.report_replays(planned, [])["replays"] == []


def test_a_dataset_without_a_contract_is_refused() -> None:
    for ask in (airflow_callables.audits_of, airflow_callables.letters_of):
        with pytest.raises(UnknownDataset):
            ask({"datasets": ["nosuch"]})
    assert {item["dataset"] for item in airflow_callables.audits_of({})} == {"flights", "orders"}
