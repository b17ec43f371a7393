"""How a command gets its parts: settings read, logging configured, a container made and closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import load_settings
from streamlake.entrypoints.telemetry import configure_logging


@contextmanager
def wired(*, quiet: bool = False) -> Iterator[Container]:
    """A container for one command. `quiet` keeps the log below warnings out of a terminal's way."""
    settings = load_settings()
    configure_logging("warning" if quiet else settings.log_level, json=settings.log_format == "json")
    yield Container(settings=settings)
