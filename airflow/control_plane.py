"""Airflow as StreamLake runs it: api-server, scheduler and dag-processor as one program, stopped as one.

    python airflow/control_plane.py --home /tmp/airflow --port 8090

On one machine, with SQLite and LocalExecutor: for trying things out, for the tests, and for the compose file. Whoever
reaches the port may do everything, so it listens on 127.0.0.1 unless told otherwise. A deployment of your own needs
none of this: point its DAGs folder at airflow/dags, and install StreamLake beside it (docs/airflow.md).

SIGTERM and SIGINT stop all of it, running tasks first; where one of the three ends by itself, so do the others.
Exit codes: 0 stopped on request, 1 one of the three ended, 3 not ready in time.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

DAGS = Path(__file__).parent / "dags"
COMPONENTS = ("api-server", "scheduler", "dag-processor")
READY_S = 180
STOP_S = 25
"""Longer than Airflow gives a task that it terminates; then SIGKILL."""

EXIT_ENDED, EXIT_NOT_READY = 1, 3

_IMPORT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({"errors": bag.import_errors, "dags": sorted(bag.dags)}))
"""


def settings(home: Path, host: str, port: int) -> dict[str, str]:
    """The environment of every Airflow process. What is there already (`AIRFLOW__...`) wins."""
    # An address to listen on is none to talk to.
    here = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{here}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__BASE_URL": here,
        "AIRFLOW__API__HOST": host,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),  # the three must agree on it, and nobody else
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {**ours, **os.environ}


class ControlPlane:
    """The three processes, each with a session of its own, so that its children are stopped with it."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Make or migrate the database, then start all three, each with its output in a file of its own."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "migrate.out").open("wb") as out:
            subprocess.run(_airflow("db", "migrate"), env=self._environment, stdout=out, stderr=out, check=True)
        for name in COMPONENTS:
            with (self._folder / f"{name}.out").open("wb") as out:
                self._running[name] = subprocess.Popen(
                    _airflow(name), env=self._environment, stdout=out, stderr=out, start_new_session=True
                )

    def ended(self) -> str | None:
        """One that has ended by itself, if there is one."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def stop(self) -> None:
        """SIGTERM to every group, scheduler first; SIGKILL to what is still there after STOP_S."""
        for name in ("scheduler", "dag-processor", "api-server"):
            if name in self._running:
                _end(self._running.pop(name))


def is_healthy(url: str) -> bool:
    """Do the api-server, and through the database scheduler and dag-processor, say that they are well?"""
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310 - http, ours
            told = json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
        return False
    return all(told[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))


def main(arguments: Sequence[str]) -> int:
    """Run until a signal."""
    parser = argparse.ArgumentParser(description="Airflow with StreamLake's DAGs, on this machine.")
    parser.add_argument("--home", type=Path, default=Path(".streamlake/airflow"), help="Airflow's folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8090, help="port of the UI and the REST API")
    parser.add_argument("--dags", action="store_true", help="only say whether the DAGs can be imported; exit 0 or 1")
    parser.add_argument("--check", action="store_true", help="only ask whether it is healthy; exit 0 or 3")
    chosen = parser.parse_args(arguments)
    url = f"http://127.0.0.1:{chosen.port}"
    if chosen.check:
        return 0 if is_healthy(url) else EXIT_NOT_READY
    home = chosen.home.resolve()
    if chosen.dags:
        return _check_dags(settings(home, chosen.host, chosen.port))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    plane = ControlPlane(settings(home, chosen.host, chosen.port), home / "output")
    try:
        plane.start()
        return _watch(plane, url, stop, home)
    finally:
        plane.stop()


def _watch(plane: ControlPlane, url: str, stop: threading.Event, home: Path) -> int:
    waited, ready = 0, False
    while not stop.wait(1):
        name = plane.ended()
        if name is not None:
            print(f"airflow: {name} has ended; see {home}/output/{name}.out", file=sys.stderr, flush=True)
            return EXIT_ENDED
        if not ready:
            waited += 1
            ready = is_healthy(url)
            if ready:
                print(f"airflow: ready, {url} (Ctrl-C stops it)", flush=True)
            elif waited >= READY_S:
                print(f"airflow: not healthy after {READY_S} s; see {home}/output", file=sys.stderr, flush=True)
                return EXIT_NOT_READY
    return 0


def _check_dags(environment: dict[str, str]) -> int:
    """Import every DAG file as the dag-processor does."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, str(DAGS)], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    told = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"errors": {}, "dags": []}
    for path, error in told["errors"].items():
        print(f"{path}: {error}", file=sys.stderr)
    if done.returncode or told["errors"]:
        print("airflow: there are DAG files that it cannot import")
        return EXIT_ENDED
    print(f"airflow: ready, {len(told['dags'])} DAGs: {', '.join(told['dags'])}")
    return 0


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
