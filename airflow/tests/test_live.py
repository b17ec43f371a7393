"""Once through a whole Airflow: api-server, scheduler and dag-processor as processes, everything else over REST."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.integration.system import wait_until
from tests.services.kafka import free_ports

CONTROL_PLANE = Path(__file__).parents[1] / "control_plane.py"
READY_S = 240
STOPPED_S = 90
FINISHED_S = 300
ASKED_FOR_S = 8
"""How long a person takes to answer, at least. Nothing that Airflow shows says when it is safe."""


class Airflow:
    """The control plane as a process, and its REST API."""

    def __init__(self, home: Path) -> None:
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "control-plane.log"
        home.mkdir()
        # What conftest has set for Airflow in this process is not for that one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(CONTROL_PLANE), "--home", str(home), "--port", str(port)],
                env=environment,
                stdout=out,
                stderr=out,
            )

    def is_ready(self) -> bool:
        """Has it said so? Fails where it has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return "ready" in self.log.read_text()

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """One request as whoever is at the keyboard."""
        token = httpx.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
        answer = httpx.request(
            method, f"{self.url}/api/v2/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30, **more
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOPPED_S)


@pytest.fixture
def airflow(lake: Any, tmp_path: Path) -> Iterator[Airflow]:
    """With the settings of `lake`, as Airflow's workers have them: from their environment."""
    made = Airflow(tmp_path / "airflow")
    try:
        wait_until("Airflow is ready", made.is_ready, READY_S)
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


@pytest.mark.timeout(900)
def test_a_replay_is_triggered_approved_and_carried_out_over_rest(lake: Any, airflow: Airflow) -> None:
    lake.produce(40)
    lake.land()
    live = lake.rows()
    chosen = [(partition, offset) for partition, offset in live if partition == live[0][0]]
    dag = "dags/streamlake_replay"
    wait_until("the DAG is known", lambda: _known(airflow, "streamlake_replay"), READY_S)

    conf = {"dataset": lake.dataset, "offsets": [str(live[0][0])], "dry_run": False}
    run = airflow.ask("POST", f"{dag}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"]
    task = f"{dag}/dagRuns/{run}/taskInstances"

    def state(name: str) -> str:
        return str(airflow.ask("GET", f"{task}/{name}")["state"])

    wait_until("somebody is asked", lambda: state("approval") == "awaiting_input", FINISHED_S)
    asked = airflow.ask("GET", f"{task}/approval/-1/hitlDetails")
    assert f"| {len(chosen)} |" in asked["body"]
    assert not [name for name in lake.parts() if lake.rows(_replay_id(lake))], "nothing is done before the answer"

    def ended() -> str:
        return str(airflow.ask("GET", f"{dag}/dagRuns/{run}")["state"])

    def answered_and_ended() -> bool:
        # Airflow 3.3 loses an answer that comes before its executor has seen the task pause, and then asks again.
        time.sleep(ASKED_FOR_S)
        if not airflow.ask("GET", f"{task}/approval/-1/hitlDetails")["response_received"]:
            answer = {"chosen_options": ["Approve"], "params_input": {}}
            airflow.ask("PATCH", f"{task}/approval/-1/hitlDetails", json=answer)
        return ended() in ("success", "failed")

    wait_until("the run has ended", answered_and_ended, FINISHED_S)
    assert ended() == "success"
    assert lake.rows(_replay_id(lake)) == chosen
    assert lake.rows() == live

    family = psutil.Process(airflow.process.pid).children(recursive=True)
    assert len(family) >= 3
    assert airflow.stop() == 0
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def _known(airflow: Airflow, dag_id: str) -> bool:
    return dag_id in {found["dag_id"] for found in airflow.ask("GET", "dags")["dags"]}


def _replay_id(lake: Any) -> str:
    """Of the one replay there is."""
    [plan] = [found.name for found in lake.store.list("ops/replays/") if found.name.count("/") == 2]
    return str(plan.rpartition("/")[2].removesuffix(".json"))
