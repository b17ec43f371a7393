"""The demo's processes: started, killed, started again, stopped; none outlives the demo."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from streamlake.domain.errors import LogUnavailable
from streamlake.entrypoints.demo.interrupts import Hear

LISTENING = range(15_000, 32_000)
START_S = 30.0
STOP_S = 30.0


class Stage:
    """Child processes by name, each with a log file and, for asking how it is, a health port."""

    def __init__(self, folder: Path, environment: Mapping[str, str], hear: Hear) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self.hear = hear
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}

    def start(self, name: str, *arguments: str, port_option: str) -> None:
        """Run `streamlake ARGUMENTS` in the background, with a free port after `port_option`."""
        port = _free_port()
        command = [sys.executable, "-m", "streamlake", *arguments, port_option, str(port)]
        with (self._folder / f"{name}.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops these in order.
            self._running[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        self.ports[name] = port

    def wait_ready(self, name: str) -> None:
        """Until `/readyz` says so. Raises `LogUnavailable` where the process ended or took too long."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.hear()
            if self._running[name].poll() is not None:
                break
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self.ports[name]}/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise LogUnavailable(f"{name} did not become ready; see {self._folder / name}.log")

    def kill(self, name: str) -> None:
        """kill -9."""
        self._running[name].kill()
        self._running.pop(name).wait()

    def stop(self) -> dict[str, int]:
        """SIGTERM to all, and wait: the exit codes by name. What does not end in time is killed (code -9)."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        codes = {}
        for name, process in self._running.items():
            try:
                codes[name] = process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        self._running.clear()
        return codes

    def kill_all(self) -> None:
        """kill -9 to whatever still runs."""
        for name in list(self._running):
            self.kill(name)


@contextlib.contextmanager
def stage(folder: Path, environment: Mapping[str, str], hear: Hear) -> Iterator[Stage]:
    """A stage that is empty again at the end, however the end comes."""
    made = Stage(folder, environment, hear)
    try:
        yield made
    finally:
        try:
            made.stop()
        finally:
            made.kill_all()  # there is something left only where a second Ctrl-C cut the stop short


def _free_port() -> int:
    """Below those a kernel gives to outgoing connections: one of them could have it before the child listens on it."""
    while True:
        port = secrets.choice(LISTENING)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as taken:
                if taken.errno != errno.EADDRINUSE:
                    raise
                continue
        return port
