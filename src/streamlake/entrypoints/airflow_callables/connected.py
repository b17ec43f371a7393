"""How a task gets its parts: the settings of this moment, a container, and everything closed when the task is done.

Settings are the worker's environment (`STREAMLAKE_*`). An Airflow Connection `streamlake`, if there is one, overrides
it: its extra is a JSON object of the same names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamlake.domain.errors import SettingsInvalid

if TYPE_CHECKING:
    from streamlake.entrypoints.container import Container

CONNECTION = "streamlake"
ALSO = ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS")
"""What a Connection may set besides StreamLake's own: Google's client reads these."""


@contextmanager
def connected() -> Iterator[Container]:
    """A container whose connections are opened when they are needed and closed at the end.

    Raises `SettingsInvalid`. Settings are a matter of the process: two tasks must not be in here at once in one, and
    Airflow gives each its own.
    """
    # Not at the top: the DAG files import this package each time they are parsed, and this is most of StreamLake.
    from streamlake.entrypoints.container import Container
    from streamlake.entrypoints.settings import load_settings

    with _environment(_connection_settings()):
        container = Container(settings=load_settings())
        with container.connections():
            yield container


def known(datasets: Sequence[str] | None) -> list[str]:
    """These datasets, or all that have a contract. Raises `UnknownDataset` for one that has none."""
    with connected() as container:
        catalog = container.catalog()
        for dataset in datasets or ():
            catalog.newest(dataset)
        return list(datasets or catalog.datasets())


def _connection_settings() -> dict[str, str]:
    """What the Connection says; nothing where there is none, or no Airflow."""
    try:
        from airflow.sdk import Connection
        from airflow.sdk.exceptions import AirflowNotFoundException
    except ModuleNotFoundError:
        return {}
    try:
        told = Connection.get(CONNECTION).extra_dejson
    except AirflowNotFoundException:
        return {}
    for name, value in told.items():
        if not (name.startswith("STREAMLAKE_") or name in ALSO):
            raise SettingsInvalid(f"connection {CONNECTION}: extra: there is no setting {name}")
        if not isinstance(value, str):
            raise SettingsInvalid(f"connection {CONNECTION}: extra: {name}: must be text")
    return dict(told)


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
