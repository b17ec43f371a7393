"""A door for each test, closed after it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.unit.entrypoints.http_api.door import Door

from streamlake.entrypoints.telemetry import configure_logging

MakeDoor = Callable[..., Door]


@pytest.fixture
def make_door(tmp_path: Path) -> Iterator[MakeDoor]:
    made: list[Door] = []

    def make(**given: Any) -> Door:
        made.append(Door(tmp_path, **given))
        return made[-1]

    yield make
    for door in made:
        door.close()


@pytest.fixture
def door(make_door: MakeDoor) -> Door:
    return make_door()


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What is logged, as the product writes it: one JSON object a line."""
    root = logging.root
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("info", json=True, stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)
