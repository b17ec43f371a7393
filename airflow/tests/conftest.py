"""Airflow with a home of its own, the DAGs as it parses them, and a lake on real Kafka and a real GCS API."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.system import World, wait_until
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.times import rfc3339_of_ms
from streamlake.entrypoints.airflow_callables.connected import connected

pytest_plugins = ["tests.integration.conftest"]

DAGS = Path(__file__).parents[1] / "dags"
HOME = Path(tempfile.mkdtemp(prefix="streamlake-airflow-"))

# Airflow reads these when it is first imported, so no later than here.
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}


def pytest_sessionfinish() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def database() -> None:
    """Airflow's own, in SQLite."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, timeout=120)


def parsed() -> Mapping[str, Any]:
    """The DAGs, parsed anew: `dag.test()` leaves its conf in the one it ran."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    return dict(bag.dags)


class Ended:
    """A DAG run after its end: its state, and what each task did and returned."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.state = str(run.state)
        self.run_id = str(run.run_id)
        self.tasks = {(ti.task_id, ti.map_index): str(ti.state) for ti in run.get_task_instances()}
        self.asked: list[str] = []
        """What somebody was shown to approve."""
        self.tries = {(ti.task_id, ti.map_index): ti.try_number for ti in run.get_task_instances()}

    def returned(self, task: str, map_index: int = -1) -> Any:
        """A task's return value."""
        return self._run.get_task_instances()[0].xcom_pull(task_ids=task, map_indexes=map_index)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run a DAG to its end in this process; whoever is asked for approval gives `answer`."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    def run_dag(dag_id: str, conf: Mapping[str, Any], answer: Any = None, prepare: Any = None) -> Ended:
        dag = parsed()[dag_id]
        for task in dag.tasks:
            task.retry_delay = task.retry_delay * 0
        if prepare is not None:
            prepare(dag)
        asked: list[str] = []

        def execute(operator: Any, context: Any) -> Any:
            asked.append(operator.body)
            assert answer is not None, "nobody should have been asked"
            return answer

        monkeypatch.setattr(HITLOperator, "execute", execute)
        ended = Ended(dag.test(run_conf=dict(conf)))
        ended.asked.extend(asked)
        return ended

    return run_dag


NOBODYS = b'{"order_id":"b","amount":1,"event_time":"2026-01-01T00:00:00Z"}'
"""An order without a customer: refused, until the contract takes it."""


class Lake(World):
    """A dataset on real services, with a consumer to land it."""

    def prepare(self) -> None:
        """Topics and bucket, without a process of their own for each."""
        with connected() as container:
            container.object_store().create_bucket()
            provision = container.provision()
            provision.apply(provision.plan())

    def produce(self, number: int, now_ms: int | None = None, bad: int = 0) -> None:
        """Append good orders, then bad ones that a consumer will letter."""
        at = int(time.time() * 1000) if now_ms is None else now_ms
        good = '{"order_id":"o%d","customer_id":"c","amount":1,"event_time":"' + rfc3339_of_ms(at) + '"}'
        values = [(good % n).encode() for n in range(number)]
        records = [OutgoingRecord(raw_topic(self.dataset), b"o%d" % n, value, (), at) for n, value in enumerate(values)]
        records += [OutgoingRecord(raw_topic(self.dataset), b"b", NOBODYS, (), at) for _ in range(bad)]
        assert not [o for o in self.writer.append_and_wait(records) if isinstance(o, Exception)]

    def land(self) -> None:
        """Run a consumer until all is landed or lettered and committed."""
        consumer = self.consumer(f"consumer-{uuid.uuid4().hex[:6]}")
        wait_until("everything is committed", self.all_committed)
        assert consumer.terminate() == 0

    def mend_contract(self) -> None:
        """Let the contract take orders without a customer."""
        needed = "required: true\n        classification: restricted"
        self._change_contract(needed, needed.replace("true", "false"))

    def demand_rows(self, number: int) -> None:
        """Let the contract's quality rule ask for so many rows a day."""
        self._change_contract("mustBeGreaterThan: 0", f"mustBeGreaterOrEqualTo: {number}")

    def _change_contract(self, old: str, new: str) -> None:
        [contract] = Path(self.environment["STREAMLAKE_CONTRACTS"]).glob("*.yaml")
        text = contract.read_text()
        assert old in text
        contract.write_text(text.replace(old, new))

    def rows(self, replay_id: str | None = None) -> list[tuple[int, int]]:
        """(partition, offset) of every row, live or of one replay, sorted; as the bodies say."""
        return sorted(
            (envelope["partition"], envelope["offset"])
            for envelope, _ in self.envelopes()
            if envelope.get("replay_id") == replay_id
        )


@pytest.fixture
def lake(
    kafka_service: KafkaService, gcs_service: GcsService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lake]:
    """A dataset of its own, whose settings are this process' environment."""
    dataset = f"t{uuid.uuid4().hex[:10]}"
    environment = {
        "STREAMLAKE_EVENT_LOG": f"kafka://{kafka_service.bootstrap}",
        "STREAMLAKE_OBJECT_STORE": f"gs://{dataset}/some/prefix",
        "STORAGE_EMULATOR_HOST": gcs_service.endpoint,
        "STREAMLAKE_LANDING__MAX_AGE_S": "0.5",
    }
    made = Lake(tmp_path, environment, dataset, "json.gz")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    made.prepare()
    yield made
    made.close()
