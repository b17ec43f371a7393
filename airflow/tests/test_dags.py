"""The DAG files: what Airflow makes of them, and what they promise to whoever starts a run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamlake.entrypoints.airflow_callables import params

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "airflow/dags"
FILES = sorted(DAGS.glob("*.py"))
MANUAL = ("streamlake_replay", "streamlake_backfill", "streamlake_dlq")
DAILY = ("streamlake_quality", "streamlake_audit")
CHECKED = {
    "streamlake_replay": params.ReplayParams,
    "streamlake_backfill": params.BackfillParams,
    "streamlake_dlq": params.LettersParams,
    "streamlake_quality": params.QualityParams,
    "streamlake_audit": params.AuditParams,
}
CLIENTS = ("confluent_kafka", "google.cloud.storage", "pyarrow", "duckdb", "streamlake.entrypoints.container")
PARSE_S = 1.0

PARSE = """
import json, runpy, sys, time
import airflow.sdk, airflow.providers.standard.operators.hitl  # as in the process that parses
begin = time.perf_counter()
runpy.run_path(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - begin, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def dags() -> Mapping[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    return dict(bag.dags)


def declared(dag: Any) -> dict[str, Any]:
    """Its params."""
    return {key: dag.params.get_param(key) for key in dag.params}


def test_every_file_is_one_dag_of_its_name(dags: Mapping[str, Any]) -> None:
    assert sorted(dags) == [path.stem for path in FILES] == sorted([*MANUAL, *DAILY])


def test_no_package_shadows_airflow() -> None:
    assert list((ROOT / "airflow").rglob("__init__.py")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_parsed_within_a_second_and_connects_to_nothing(path: Path) -> None:
    best, modules = PARSE_S, set()
    for _ in range(3):  # the best of three: the machine may be busy
        done = subprocess.run([sys.executable, "-c", PARSE, str(path)], capture_output=True, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
        best, modules = min(best, told["seconds"]), modules | set(told["modules"])
        if best < PARSE_S:
            break
    assert best < PARSE_S
    assert modules.isdisjoint(CLIENTS)


@pytest.mark.parametrize("name", [*MANUAL, *DAILY])
def test_a_dag_survives_serialisation(dags: Mapping[str, Any], name: str) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    told = json.loads(json.dumps(DagSerialization.to_dict(dags[name])))
    back = DagSerialization.from_dict(told)
    assert back.task_ids == dags[name].task_ids
    shown = {key: (param.description, dict(param.schema)) for key, param in back.params.items()}
    assert shown == {key: (param.description, param.schema) for key, param in declared(dags[name]).items()}


@pytest.mark.parametrize("name", [*MANUAL, *DAILY])
def test_every_param_has_a_type_and_a_description_and_is_checked_by_us(dags: Mapping[str, Any], name: str) -> None:
    from airflow.sdk.definitions._internal.types import is_arg_set

    found = declared(dags[name])
    fields = {field.alias or key: field for key, field in CHECKED[name].model_fields.items()}
    assert found.keys() == fields.keys()
    assert [key for key, param in found.items() if not (param.description and param.schema.get("type"))] == []
    required = {key for key, field in fields.items() if field.is_required()}
    assert {key for key, param in found.items() if not is_arg_set(param.value)} == required
    assert {key: param.value for key, param in found.items() if key not in required} == {
        key: field.default for key, field in fields.items() if key not in required
    }


@pytest.mark.parametrize("name", MANUAL)
def test_what_writes_is_started_by_hand_is_dry_by_default_and_asks(dags: Mapping[str, Any], name: str) -> None:
    dag = dags[name]
    assert (dag.schedule, dag.max_active_runs, dag.params["dry_run"]) == (None, 1, True)
    approval = dag.get_task("approval")
    assert approval.defaults == ["Reject"], "no answer is a no"
    assert approval.response_timeout is not None
    assert dag.get_task("approved").upstream_task_ids == {"plan", "approval"}
    [work] = [task for task in dag.tasks if task.is_mapped and "approved" in task.upstream_task_ids]
    assert work.upstream_task_ids == {"approved"}, "there is no way to the work past the approval"


@pytest.mark.parametrize("name", DAILY)
def test_what_runs_daily_does_not_catch_up(dags: Mapping[str, Any], name: str) -> None:
    dag = dags[name]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.schedule.endswith("4 * * *")


@pytest.mark.parametrize("name", [*MANUAL, *DAILY])
def test_only_the_world_s_faults_are_tried_again(dags: Mapping[str, Any], name: str) -> None:
    from airflow.sdk import RetryAction

    from streamlake.domain.errors import StoreUnavailable, TopicMissing
    from streamlake.entrypoints.airflow_callables import RunFailed

    for task in dags[name].tasks:
        if task.task_id == "approval":
            continue
        policy = task.partial_kwargs["retry_policy"] if task.is_mapped else task.retry_policy
        decisions = {
            fault: policy.evaluate(fault("x"), try_number=1, max_tries=3).action
            for fault in (StoreUnavailable, TopicMissing, RunFailed, ValueError)
        }
        assert decisions == {
            StoreUnavailable: RetryAction.RETRY,
            TopicMissing: RetryAction.FAIL,
            RunFailed: RetryAction.FAIL,
            ValueError: RetryAction.FAIL,
        }, task.task_id
