"""The consumer as a process: a thread per dataset, signals, health and metrics over HTTP."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from streamlake.domain.errors import OperatorFault, WorldFault
from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.times import epoch_ms
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.event_log import LogAdmin
from streamlake.entrypoints.consumer_daemon import DatasetConsumer
from streamlake.entrypoints.garbage import collect_seldom

STUCK_S = 60.0
"""A poll loop that has not come round for so long is not alive (its longest waits are far shorter)."""

WATCH_S = 5.0
JOIN_S = 28.0

_log = structlog.get_logger("streamlake.consumer")


def run_consumers(
    consumers: Sequence[DatasetConsumer],
    admin: LogAdmin,
    clock: Clock,
    registry: CollectorRegistry,
    *,
    http_host: str,
    http_port: int,
) -> int:
    """Run until SIGTERM or SIGINT, then drain; the exit code: 0 after a clean drain, 1 where a loop died."""
    stop = threading.Event()
    failed: list[str] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        _log.info("stopping", signal=signal.Signals(number).name)
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once

    def run(consumer: DatasetConsumer) -> None:
        try:
            consumer.run(stop)
        except Exception:  # noqa: BLE001 - the last line of an entrypoint: say what killed the loop, and end the process
            failed.append(consumer.dataset)
            _log.exception("poll loop died", dataset=consumer.dataset)
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    threads = [threading.Thread(target=run, args=(c,), name=f"poll-{c.dataset}", daemon=True) for c in consumers]
    server = _serve(consumers, registry, http_host, http_port) if http_port else None
    collect_seldom(100_000)
    for thread in threads:
        thread.start()
    while not stop.wait(WATCH_S):
        _watch(consumers, admin, clock)
    for thread in threads:
        thread.join(JOIN_S)
        if thread.is_alive():
            failed.append(thread.name)
    if server is not None:
        server.shutdown()
    _log.info("stopped", clean=not failed)
    return 1 if failed else 0


def _watch(consumers: Sequence[DatasetConsumer], admin: LogAdmin, clock: Clock) -> None:
    """Lag, measured beside the poll loops so that a slow answer stops none of them."""
    for consumer in consumers:
        positions = consumer.positions
        wanted = raw_topic(consumer.dataset), dlq_topic(consumer.dataset)
        try:
            found = admin.topics(wanted)
            marks = admin.watermarks(sorted(consumer.owned)) if wanted[0] in found else {}
        except (WorldFault, OperatorFault):
            continue  # the loop itself says what is the matter
        consumer.telemetry.lag(positions, marks, epoch_ms(clock.now()))
        raw = found.get(wanted[0])
        consumer.watch(raw.topic_id if raw else None, marks, [name for name in wanted if name not in found])


def missing_topics(dataset: str, admin: LogAdmin) -> list[str]:
    """Those of a dataset's topics that do not exist."""
    wanted = [raw_topic(dataset), dlq_topic(dataset)]
    found = admin.topics(wanted)
    return [name for name in wanted if name not in found]


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Probes come every few seconds; they are not news."""


def _serve(consumers: Sequence[DatasetConsumer], registry: CollectorRegistry, host: str, port: int) -> WSGIServer:
    """`/livez`, `/readyz` and `/metrics` on a thread."""
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start)  # type: ignore[no-any-return]
        if path == "/livez":
            stuck = [c.dataset for c in consumers if c.seconds_since_turn > STUCK_S]
            problems = [f"{dataset}: the poll loop is stuck" for dataset in stuck]
        elif path == "/readyz":
            problems = [trouble for consumer in consumers for trouble in consumer.troubles]
        else:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there are /livez, /readyz and /metrics\n"]
        start("503 Service Unavailable" if problems else "200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"ok": not problems, "problems": problems}).encode()]

    server = make_server(host, port, answer, handler_class=_QuietHandler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
