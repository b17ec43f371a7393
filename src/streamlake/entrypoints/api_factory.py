"""One API worker's parts. A module-level function, so that spawned workers can be handed it."""

from __future__ import annotations

from streamlake.domain.errors import SettingsInvalid
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.http_api import ApiOptions, Readiness, Served, create_app
from streamlake.entrypoints.settings import load_settings
from streamlake.entrypoints.telemetry import ApiMetrics, configure_logging


def make_api() -> Served:
    """Wire an application from this process' environment. Raises `OperatorFault`."""
    settings = load_settings()
    configure_logging(settings.log_level, json=settings.log_format == "json")
    container = Container(settings=settings)
    given = settings.api
    try:
        options = ApiOptions(
            producer_service=given.producer_service,
            max_event_bytes=given.max_event_bytes,
            max_batch_bytes=given.max_batch_bytes,
            max_batch_events=given.max_batch_events,
            max_inflight_requests=given.max_inflight_requests,
            max_inflight_bytes=given.max_inflight_bytes,
        )
    except ValueError as contradiction:
        raise SettingsInvalid(f"STREAMLAKE_API__: {contradiction}") from None
    catalog = container.catalog()
    metrics = ApiMetrics()
    readiness = Readiness(container.admin(), catalog.datasets())
    app = create_app(container.ingest(), catalog, container.clock(), readiness, options, metrics)

    def close(within_s: float) -> None:
        container.writer().close(within_s)
        container.admin().close()

    return Served(app, readiness, metrics, close)
