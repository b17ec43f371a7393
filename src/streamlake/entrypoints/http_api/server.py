"""Running the API: uvicorn with uvloop and httptools, one process or several, from the first byte to the last answer.

SIGTERM -> stop accepting -> answer what was accepted -> (in time, or the writer is made to decide) -> flush -> exit 0
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import structlog
import uvicorn

from streamlake.domain.errors import OperatorFault
from streamlake.entrypoints.http_api.app import FrontDoor
from streamlake.entrypoints.http_api.protocol import BoundedHttp
from streamlake.entrypoints.http_api.readiness import Readiness
from streamlake.entrypoints.http_api.workers import EXIT_FAILED, EXIT_OPERATOR, Workers
from streamlake.entrypoints.process_memory import collect_seldom
from streamlake.entrypoints.signals import handled_by
from streamlake.entrypoints.telemetry import ApiMetrics

log = structlog.get_logger()

BACKLOG = 4096
KEEP_ALIVE_S = 75
"""Longer than clients and load balancers keep an idle connection, or theirs would run into our closing it."""


@dataclass(frozen=True, slots=True)
class Served:
    """An application and what it stands on, made in the process that serves it."""

    app: FrontDoor
    readiness: Readiness
    metrics: ApiMetrics
    close: Callable[[float], None]
    """Flush the writer within so many seconds, deciding every outcome, and release everything. May be called twice."""


def serve(app_factory: Callable[[], Served], host: str, port: int, workers: int, grace_s: float) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. 0: stopped in order; 1: the producer failed; 3: cannot start.

    With several workers each is a process of its own (spawned, never forked) that calls `app_factory`, which must
    therefore be picklable; they share the listening socket and their metrics, and one that dies is replaced.
    """
    try:
        listener = _listen(host, port)
    except OSError as error:
        print(f"streamlake api: cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)
        return EXIT_OPERATOR
    with listener:
        if workers == 1:
            return work(app_factory, listener, grace_s)
        return Workers(work, app_factory, listener, workers, grace_s).run()


def work(app_factory: Callable[[], Served], listener: socket.socket, grace_s: float) -> int:
    """One worker: make the application, serve, flush. The exit code."""
    told: list[int] = []
    if threading.current_thread() is threading.main_thread():
        # Told to stop before there is anything to stop: an orderly end too. Not by an exception out of the handler: it
        # is lost where the signal falls into a finalizer or a weak reference's callback, as any import has them.
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, lambda number, _: told.append(number))
    try:
        served = app_factory()
    except OperatorFault as fault:
        print(f"streamlake api: {fault}", file=sys.stderr)
        return EXIT_OPERATOR
    host, port = listener.getsockname()[:2]
    served.readiness.start()
    server = server_of(served, grace_s, told)
    collect_seldom(10_000)
    log.info("api.listening", host=host, port=port, pid=os.getpid())
    server.run(sockets=[listener])
    if served.readiness.failure is not None:
        log.error("api.failed", reason=served.readiness.failure)
        return EXIT_FAILED
    log.info("api.stopped", pid=os.getpid())
    return 0


def server_of(served: Served, grace_s: float, told: Sequence[int] = ()) -> Server:
    """The server, configured and not started. It stops as soon as it runs where signals were `told` before."""
    config = uvicorn.Config(
        served.app,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return Server(config, served, grace_s, told)


class Server(uvicorn.Server):
    """uvicorn's server, stopping as promised."""

    def __init__(self, config: uvicorn.Config, served: Served, grace_s: float, told: Sequence[int]) -> None:
        super().__init__(config)
        self._served = served
        self._grace_s = grace_s
        self._told = told
        self._closing = threading.Lock()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGTERM and SIGINT stop in order; unlike uvicorn's they are not raised again: the exit code is ours."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with handled_by(self.handle_exit):
            self.should_exit = bool(self._told)
            yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: has the producer failed for good?"""
        inflight = self._served.app.events.inflight
        self._served.metrics.state(
            inflight_requests=inflight.requests,
            inflight_bytes=inflight.bytes,
            ready=self._served.readiness.report().ready,
        )
        if self._served.readiness.failure is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer everything accepted, then flush, within the grace period."""
        log.info("api.stopping", pid=os.getpid(), inflight=self._served.app.events.inflight.requests)
        self._served.readiness.stop()
        deadline = asyncio.get_running_loop().time() + self._grace_s
        reserve = min(4.0, self._grace_s / 3)
        # uvicorn cuts off what is left at this time; by then the writer has decided, and the answers are out.
        self.config.timeout_graceful_shutdown = self._grace_s - reserve / 4  # type: ignore[assignment]  # any number does
        decide = asyncio.create_task(self._decide(self._grace_s - reserve, reserve / 2))
        await super().shutdown(sockets)
        decide.cancel()
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.to_thread(self._close, max(left, reserve / 8))

    async def _decide(self, after_s: float, within_s: float) -> None:
        """Requests still waiting for the log get their 503 or 504 while they can still be answered."""
        await asyncio.sleep(after_s)
        await asyncio.to_thread(self._close, within_s)

    def _close(self, within_s: float) -> None:
        with self._closing:
            self._served.close(within_s)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Listening at once, so that two servers on one port find out now and not in a worker.
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
