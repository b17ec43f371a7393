"""Several workers on one socket: spawned, watched, replaced, stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from streamlake.entrypoints.signals import handled_by
from streamlake.entrypoints.telemetry import forget_worker, metrics_of_workers

log = structlog.get_logger()

EXIT_FAILED = 1
EXIT_OPERATOR = 3

RESTART_PAUSE_S = 1.0
KILL_AFTER_S = 2.0
"""Beyond the grace period: a worker that is still there then is killed."""

Work = Callable[[Any, socket.socket, float], int]


class Workers:
    """Runs `work` in so many processes until told to stop.

    A worker that ends by itself is replaced, but for one that says the operator has to act (exit 3): then all stop.
    Workers end in order when the process that started them is gone, however it went.
    """

    def __init__(self, work: Work, app_factory: Any, listener: socket.socket, count: int, grace_s: float) -> None:
        self._work = work
        self._app_factory = app_factory
        self._listener = listener
        self._count = count
        self._grace_s = grace_s
        self._spawn = multiprocessing.get_context("spawn")
        self._alive: list[SpawnProcess] = []
        self._stopping = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit code: the worst of the workers'."""
        wake, waker = socket.socketpair()
        waker.setblocking(False)

        def stop(_: int, __: FrameType | None) -> None:
            self._stopping = True

        with handled_by(stop):
            woken = signal.set_wakeup_fd(waker.fileno())
            try:
                with metrics_of_workers() as metrics, wake, waker:
                    return self._watch(metrics, wake)
            finally:
                signal.set_wakeup_fd(woken)

    def _watch(self, metrics: Path, wake: socket.socket) -> int:
        self._alive = [self._start() for _ in range(self._count)]
        worst = 0
        while not self._stopping:
            wait([*(worker.sentinel for worker in self._alive), wake])
            for worker in [each for each in self._alive if each.exitcode is not None]:
                self._alive.remove(worker)
                self._forget(metrics, worker)
                if self._stopping:
                    worst = max(worst, abs(worker.exitcode or 0))
                elif worker.exitcode == EXIT_OPERATOR:
                    self._stopping, worst = True, EXIT_OPERATOR
                else:
                    log.error("api.worker_died", pid=worker.pid, exit_code=worker.exitcode)
                    wait([wake], RESTART_PAUSE_S)
                    if not self._stopping:
                        self._alive.append(self._start())
        return max(worst, self._stop())

    def _start(self) -> SpawnProcess:
        worker = self._spawn.Process(
            target=_worker, args=(self._work, self._app_factory, self._listener, self._grace_s), name="api-worker"
        )
        worker.start()
        return worker

    def _stop(self) -> int:
        for worker in self._alive:
            worker.terminate()
        deadline = time.monotonic() + self._grace_s + KILL_AFTER_S
        for worker in self._alive:
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.exitcode is None:
                log.error("api.worker_killed", pid=worker.pid)
                worker.kill()
                worker.join()
        return max((EXIT_FAILED if each.exitcode else 0 for each in self._alive), default=0)

    @staticmethod
    def _forget(metrics: Path, worker: SpawnProcess) -> None:
        if worker.pid is not None:
            forget_worker(metrics, worker.pid)


def _worker(work: Work, app_factory: Any, listener: socket.socket, grace_s: float) -> None:
    """The first line of a worker process."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="parent-watch", daemon=True).start()
    sys.exit(work(app_factory, listener, grace_s))
