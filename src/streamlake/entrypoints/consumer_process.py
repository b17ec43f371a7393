"""The consumer as a process: a thread per dataset, signals, health and metrics over HTTP."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from socketserver import ThreadingMixIn
from types import FrameType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from streamlake.domain.errors import OperatorFault, SettingsInvalid, TopicMissing, WorldFault
from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.times import epoch_ms
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import LogAdmin
from streamlake.entrypoints.consumer_daemon import DatasetConsumer
from streamlake.entrypoints.landing_thread import backoff_s
from streamlake.entrypoints.process_memory import collect_seldom

STUCK_S = 60.0
"""A poll loop that has not come round for so long is not alive (its longest waits are far shorter)."""

WATCH_S = 5.0
AGAIN_S = 1.0
"""While the log does not answer it is asked again so soon."""

LEAVE_S = 27.0
"""From the signal to the end, whatever does not answer: 30 s are promised, and an interpreter takes a while to go."""

_log = structlog.get_logger("streamlake.consumer")


class Loop:
    """One dataset's consumer on its thread: what it needs is waited for, then it polls until `stop`."""

    def __init__(
        self,
        consumer: DatasetConsumer,
        check: Callable[[str], None],
        stop: threading.Event,
        on_end: Callable[[], None],
    ) -> None:
        self.consumer = consumer
        self.died = False
        self.refused: OperatorFault | None = None
        """What an operator has to mend before it can start."""
        self._check = check
        self._stop = stop
        self._on_end = on_end
        self._waits_for: str | None = "starting"
        self._thread = threading.Thread(target=self._run, name=f"poll-{consumer.dataset}", daemon=True)

    @property
    def troubles(self) -> list[str]:
        """Why it is not ready, in words; empty if it is."""
        if self._waits_for is not None:
            return [f"{self.consumer.dataset}: {self._waits_for}"]
        return self.consumer.troubles

    @property
    def stuck(self) -> bool:
        """Has it not come round for too long? Waiting for the world to start with is not that."""
        return self._waits_for is None and self.consumer.seconds_since_turn > STUCK_S

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ended(self, deadline: float) -> bool:
        """Wait for its end until a time (`time.monotonic`); has it come?"""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._wait_for_the_world()
            if self.refused is None and not self._stop.is_set():
                self.consumer.run(self._stop)
        except Exception:  # noqa: BLE001 - the last line of an entrypoint: say what killed the loop, and end the process
            self.died = True
            _log.exception("poll loop died", dataset=self.consumer.dataset)
        finally:
            self._on_end()

    def _wait_for_the_world(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            try:
                self._check(self.consumer.dataset)
            except WorldFault as fault:
                pause = backoff_s(attempt)
                self._waits_for = f"{type(fault).__name__}: {fault}"
                told = {"dataset": self.consumer.dataset, "fault": type(fault).__name__, "error": str(fault)}
                _log.warning("waiting to start", **told, again_in_s=round(pause, 1))
                self._stop.wait(pause)
                attempt += 1
            except OperatorFault as fault:
                self.refused = fault
                return
            else:
                self._waits_for = None
                return


def run_consumers(
    consumers: Sequence[DatasetConsumer],
    check: Callable[[str], None],
    admin: LogAdmin,
    clock: Clock,
    registry: CollectorRegistry,
    *,
    http_host: str,
    http_port: int,
) -> int:
    """Run until SIGTERM or SIGINT, then drain; the exit code: 0 after that, 1 where a loop died.

    `check` sees that all that a dataset needs is there; while it raises `WorldFault` its loop waits. Raises the
    `OperatorFault` that one of them raised. A loop that still waits for an answer `LEAVE_S` after the signal is left
    behind: what it has not committed is read again.
    """
    stop = threading.Event()
    # Of all ways to wake this thread only this one may be used in a signal handler: an event's lock, or the log's while
    # nobody reads the pipe it is written to, could be held by the very code that the signal has interrupted.
    wake: queue.SimpleQueue[int] = queue.SimpleQueue()
    loops = [Loop(consumer, check, stop, partial(wake.put, 0)) for consumer in consumers]

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        wake.put(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    server = _serve(loops, registry, http_host, http_port) if http_port else None
    collect_seldom(100_000)
    for loop in loops:
        loop.start()
    threading.Thread(target=_watch, args=(consumers, admin, clock, stop), name="watch", daemon=True).start()
    woken_by = wake.get()
    deadline = time.monotonic() + LEAVE_S
    stop.set()
    if woken_by:
        _log.info("stopping", signal=signal.Signals(woken_by).name)
    left = [loop.consumer.dataset for loop in loops if not loop.ended(deadline)]
    if server is not None:
        server.shutdown()
    for loop in loops:
        if loop.refused is not None:
            raise loop.refused
    died = [loop.consumer.dataset for loop in loops if loop.died]
    _log.info("stopped", clean=not died and not left, still_waiting=left)
    if left:
        # A thread that never got its answer would be torn down within a library, which not every library survives.
        sys.stderr.flush()
        os._exit(1 if died else 0)
    return 1 if died else 0


def _watch(consumers: Sequence[DatasetConsumer], admin: LogAdmin, clock: Clock, stop: threading.Event) -> None:
    """Every few seconds, beside the poll loops, so that a slow answer stops none of them."""
    while not stop.wait(WATCH_S if all(consumer.log_health.trouble is None for consumer in consumers) else AGAIN_S):
        for consumer in consumers:
            _look(consumer, admin, clock)


def _look(consumer: DatasetConsumer, admin: LogAdmin, clock: Clock) -> None:
    """Whether the log answers, the lag, and whether the topics are what they were."""
    positions, landed = consumer.positions, consumer.live_ends()
    wanted = raw_topic(consumer.dataset), dlq_topic(consumer.dataset)
    asked = clock.monotonic()
    try:
        found = admin.topics(wanted)
        marks = admin.watermarks(sorted(consumer.owned)) if wanted[0] in found else {}
    except (WorldFault, OperatorFault) as fault:
        consumer.log_health.look_failed(asked, fault)
        return
    consumer.log_health.answered(asked)
    consumer.telemetry.lag(positions, marks, epoch_ms(clock.now()))
    raw = found.get(wanted[0])
    consumer.watch(raw.topic_id if raw else None, landed, marks, [name for name in wanted if name not in found])


def insist_on_topics(dataset: str, admin: LogAdmin) -> None:
    """Raises `TopicMissing` where a dataset has not all of its topics."""
    wanted = [raw_topic(dataset), dlq_topic(dataset)]
    found = admin.topics(wanted)
    for name in wanted:
        if name not in found:
            raise TopicMissing(f"{name}: does not exist; `streamlake topics provision` makes it")


class _QuietHandler(WSGIRequestHandler):
    timeout = 5
    """Seconds that a client may say nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Probes come every few seconds; they are not news."""


class _HealthServer(ThreadingMixIn, WSGIServer):
    """A thread for each connection: one that says nothing keeps no probe waiting, and no process from its end."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is too slow, or gone, is not news either; what `answer` raises is told before."""


def _serve(loops: Sequence[Loop], registry: CollectorRegistry, host: str, port: int) -> WSGIServer:
    """`/livez`, `/readyz` and `/metrics` on a thread. Raises SettingsInvalid where the port cannot be had."""
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start)  # type: ignore[no-any-return]
        if path == "/livez":
            problems = [f"{loop.consumer.dataset}: the poll loop is stuck" for loop in loops if loop.stuck]
        elif path == "/readyz":
            problems = [trouble for loop in loops for trouble in loop.troubles]
        else:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there are /livez, /readyz and /metrics\n"]
        start("503 Service Unavailable" if problems else "200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"ok": not problems, "problems": problems}).encode()]

    try:
        server = make_server(host, port, answer, _HealthServer, _QuietHandler)
    except OSError as error:
        raise SettingsInvalid(f"http port: cannot listen on {host}:{port}: {error.strerror or error}") from None
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
