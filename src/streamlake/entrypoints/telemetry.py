"""What StreamLake says about itself: log lines (structlog, one JSON object a line) and Prometheus metrics.

Neither ever holds a payload value: an exception that is not ours is logged by its class and where it was raised, never
by its message, since a library's message may quote what it was given.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TextIO

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from structlog.typing import EventDict, Processor, WrappedLogger

from streamlake.domain.errors import StreamLakeError

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own name: where the workers of one API keep their values, so that each can answer for all."""

EXPOSITION_TYPE = CONTENT_TYPE_LATEST

_CONTROL = {c: f"\\x{c:02x}" for c in (*range(0x20), 0x7F, 0x85, 0x2028, 0x2029)}

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


# --------------------------------------------------------------------------------------------------------- logging


def configure_logging(level: str, *, json: bool, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's lines to `stream` (standard error) in one form; may be repeated.

    Times are ISO 8601 in UTC. A line is a line: control characters, CR and LF among them, are escaped.
    """
    out = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _error_without_values,
    ]
    # json.dumps escapes every character outside ASCII and every control character by itself.
    render: list[Processor] = (
        [structlog.processors.JSONRenderer()]
        if json
        else [_one_line, structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=28)]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(threshold)
    # uvicorn's own start and stop lines repeat ours, and say its name.
    logging.getLogger("uvicorn").setLevel(max(threshold, logging.WARNING))


def _error_without_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by `error_class`, `error` (of our own errors only) and `trace`: places, no values."""
    found = event.pop("exc_info", None)
    match found:
        case None | False:
            return event
        case BaseException():
            error: BaseException | None = found
        case (_, BaseException() as error, _):
            pass
        case _:
            error = sys.exc_info()[1]
    if error is not None:
        event["error_class"] = type(error).__name__
        event["trace"] = _places(error.__traceback__)
        if isinstance(error, StreamLakeError):
            event["error"] = str(error)
    return event


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


def _one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: value.translate(_CONTROL) if isinstance(value, str) else value for key, value in event.items()}


# --------------------------------------------------------------------------------------------------------- metrics


@contextmanager
def metrics_of_workers() -> Iterator[Path]:
    """A folder in which the processes started meanwhile keep their metrics together; removed at the end.

    prometheus_client looks for it when it is imported: only processes *spawned* inside the block take part.
    """
    with tempfile.TemporaryDirectory(prefix="streamlake-metrics-") as folder:
        before = os.environ.get(MULTIPROC_DIR)
        os.environ[MULTIPROC_DIR] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[MULTIPROC_DIR]
            if before is not None:
                os.environ[MULTIPROC_DIR] = before


def forget_worker(folder: Path, pid: int) -> None:
    """Take a dead worker's gauges out of the sum. What it counted stays counted."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


class Metrics:
    """A registry and its text form. With several workers the text is of all of them, whichever is asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._shared = MULTIPROC_DIR in os.environ
        if not self._shared:
            ProcessCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format (`EXPOSITION_TYPE`)."""
        if not self._shared:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)


class ApiMetrics(Metrics):
    """What the API counts. Children are looked up once per label set: this is on the path of every request."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self._events = Counter(
            "streamlake_api_events",
            "Events by what became of them: accepted, rejected (dead letter), not_stored, unknown, too_large",
            ["dataset", "outcome"],
            registry=registry,
        )
        self._dead_letters = Counter(
            "streamlake_api_dead_letters", "Dead letters by error class", ["dataset", "error_class"], registry=registry
        )
        self._requests = Counter(
            "streamlake_api_requests", "Answers of the event endpoints", ["endpoint", "status"], registry=registry
        )
        self._seconds = Histogram(
            "streamlake_api_request_seconds",
            "From the request's head to its answer",
            ["endpoint"],
            buckets=_LATENCIES,
            registry=registry,
        )
        self._inflight_requests = self._gauge("streamlake_api_inflight_requests", "Requests not answered yet")
        self._inflight_bytes = self._gauge("streamlake_api_inflight_bytes", "What those requests hold")
        self._ready = self._gauge("streamlake_api_ready", "Workers that are ready")
        self._event_children: dict[tuple[str, str], Counter] = {}
        self._request_children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def _gauge(self, name: str, says: str) -> Gauge:
        return Gauge(name, says, registry=self.registry, multiprocess_mode="livesum")

    def settled(self, dataset: str, outcome: str, count: int = 1) -> None:
        """So many events of a dataset came to this outcome."""
        child = self._event_children.get((dataset, outcome))
        if child is None:
            child = self._event_children[dataset, outcome] = self._events.labels(dataset, outcome)
        child.inc(count)

    def dead_letters(self, dataset: str, error_class: str, count: int) -> None:
        """So many events of a dataset were put into the dead-letter topic."""
        self._dead_letters.labels(dataset, error_class).inc(count)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """A request of an event endpoint (`events`, `events:batch`) was answered."""
        children = self._request_children.get((endpoint, status))
        if children is None:
            children = (self._requests.labels(endpoint, str(status)), self._seconds.labels(endpoint))
            self._request_children[endpoint, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def state(self, *, inflight_requests: int, inflight_bytes: int, ready: bool) -> None:
        """How it is now. Told several times a second rather than at every change: three gauges would cost more."""
        self._inflight_requests.set(inflight_requests)
        self._inflight_bytes.set(inflight_bytes)
        self._ready.set(ready)
