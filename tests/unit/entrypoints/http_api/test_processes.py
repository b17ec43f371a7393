"""The API as processes: workers that are replaced, metrics that are summed, exit codes that mean something."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.services.kafka import free_ports

PROGRAM = """
    import os, signal, sys, tempfile, weakref
    from pathlib import Path

    from streamlake.domain.errors import SettingsInvalid
    from streamlake.entrypoints.http_api import serve
    from streamlake.entrypoints.telemetry import configure_logging

    def make():
        from tests.unit.entrypoints.http_api.door import Door
        configure_logging("info", json=True)
        with tempfile.TemporaryDirectory() as folder:
            return Door(Path(folder)).served()

    def make_told_to_stop():
        class Referred: ...
        referred = Referred()
        reference = weakref.ref(referred, lambda _: signal.raise_signal(signal.SIGTERM))
        del referred  # an exception in its callback is lost
        return make()

    def refuse():
        raise SettingsInvalid("STREAMLAKE_EVENT_LOG: must name a log")

    if __name__ == "__main__":
        configure_logging("info", json=True)
        factory, port, workers = sys.argv[1:]
        sys.exit(serve(globals()[factory], "127.0.0.1", int(port), int(workers), 30.0))
"""


@pytest.fixture
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("program") / "api.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return str(path)


@contextmanager
def running(program: str, factory: str, port: int, workers: int) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path[1:]])}
    command = [sys.executable, program, factory, str(port), str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pids_listening(process: subprocess.Popen[str], count: int) -> list[int]:
    """The next workers' process ids, as their log lines tell them."""
    assert process.stderr is not None
    # Not by `readline`: what it has read ahead is nothing for `select` to see.
    told, pipe = b"", process.stderr.fileno()
    deadline = time.monotonic() + 60
    while len(found := [line for line in _whole_lines(told) if b'"api.listening"' in line]) < count:
        assert select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0], "no worker in 60 s"
        piece = os.read(pipe, 65536)
        assert piece, "the process ended"
        told += piece
    return [json.loads(line)["pid"] for line in found]


def _whole_lines(told: bytes) -> list[bytes]:
    return told[: told.rfind(b"\n") + 1].splitlines()


def eventually(get: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not get():
        assert time.monotonic() < deadline, "it did not come to pass in 60 s"
        select.select([], [], [], 0.05)


def test_workers_share_a_port_and_their_metrics_and_a_dead_one_is_replaced(program: str) -> None:
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"

    def ready_workers() -> float:
        return float(re.findall(r"^streamlake_api_ready (\S+)", httpx.get(f"{url}/metrics", timeout=30).text, re.M)[0])

    with running(program, "make", port, 2) as process:
        first, second = pids_listening(process, 2)
        eventually(lambda: ready_workers() == 2)
        posted = [
            httpx.post(f"{url}/v1/datasets/orders/events", json={"id": str(n), "amount": n}, timeout=30).status_code
            for n in range(20)
        ]
        counted = re.findall(
            r'^streamlake_api_events_total\{dataset="orders",outcome="accepted"\} (\S+)',
            httpx.get(f"{url}/metrics", timeout=30).text,
            re.M,
        )
        os.kill(first, signal.SIGKILL)
        (third,) = pids_listening(process, 1)
        eventually(lambda: ready_workers() == 2)
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0
    assert (posted, [float(c) for c in counted]) == ([202] * 20, [20.0])
    assert third not in (first, second)
    assert not any(_exists(pid) for pid in (second, third))


def test_one_worker_stops_in_order_and_exits_0(program: str) -> None:
    port = free_ports(1)[0]
    with running(program, "make", port, 1) as process:
        pids_listening(process, 1)
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0


def test_told_to_stop_before_it_serves_it_stops_in_order_and_exits_0(program: str) -> None:
    with running(program, "make_told_to_stop", free_ports(1)[0], 1) as process:
        told = process.communicate(timeout=60)[1]

    assert (process.returncode, '"api.stopped"' in told) == (0, True)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_operator_has_to_mend_is_one_clear_line_and_exit_3(program: str, workers: int) -> None:
    with running(program, "refuse", free_ports(1)[0], workers) as process:
        told = process.communicate(timeout=60)[1]

    assert process.returncode == 3
    assert "streamlake api: STREAMLAKE_EVENT_LOG: must name a log" in told
    assert "Traceback" not in told


def test_a_port_that_is_taken_is_one_clear_line_and_exit_3(program: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(program, "make", port, 1) as process:
            told = process.communicate(timeout=60)[1]

    assert (process.returncode, told) == (
        3,
        f"streamlake api: cannot listen on 127.0.0.1:{port}: Address already in use\n",
    )


def test_workers_end_when_the_process_that_started_them_is_killed(program: str) -> None:
    port = free_ports(1)[0]
    with running(program, "make", port, 2) as process:
        workers = pids_listening(process, 2)
        process.kill()

        eventually(lambda: not any(_exists(pid) for pid in workers))


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
