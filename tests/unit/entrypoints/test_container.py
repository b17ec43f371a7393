"""Every provider can be built under every setting: type checkers do not check what providers are given."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from dependency_injector import providers

from streamlake.domain.model.replay_plans import ReplayPlan, ReplayRequest
from streamlake.domain.model.selections import Selection
from streamlake.entrypoints.bounded_replay import BoundedRun
from streamlake.entrypoints.container import EVENT_LOGS, OBJECT_STORES, Container
from streamlake.entrypoints.replay_flow import Pace
from streamlake.entrypoints.settings import LandingSettings, Settings

CONTRACTS = Path(__file__).parents[3] / "contracts"
NOBODY = "127.0.0.1:9"
"""Nothing listens there: building a part must not need its server."""

LOGS = {"kafka": f"kafka://{NOBODY}", "sqlite": "sqlite:{}/log.sqlite", "memory": "memory:"}
STORES = {"gs": "gs://bucket/some/prefix", "file": "file:{}/lake", "memory": "memory:"}
FORMATS = ("json", "json.gz", "parquet")
GIVEN: dict[str, Any] = {
    "dataset": "orders",
    "plan": ReplayPlan(ReplayRequest("again", "orders", Selection()), "topic-id", (), 0, False, "somebody", "now"),
    "pace": Pace(),
    "stop": threading.Event(),
    "by": "somebody",
    "say": print,
    "fill": cast(BoundedRun, None),
}
"""What callers give: the provider has the rest."""


@pytest.fixture(autouse=True)
def _an_emulator_that_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{NOBODY}")


def built(container: Container) -> Iterator[tuple[str, object]]:
    """Every part by its provider's name; what is made per dataset is made for orders, and per replay for one."""
    for name, provider in container.providers.items():
        given: dict[str, Any] = {}
        if isinstance(provider, providers.Factory) and provider.provides is not None:
            wanted = inspect.signature(provider.provides).parameters
            given = {each: GIVEN[each] for each in wanted if each in GIVEN and each not in provider.kwargs}
        yield name, provider(**given)


def test_there_is_a_url_for_every_adapter() -> None:
    assert (tuple(LOGS), tuple(STORES)) == (EVENT_LOGS, OBJECT_STORES)


@pytest.mark.parametrize(("log", "store", "form"), list(product(LOGS, STORES, FORMATS)))
def test_every_provider_is_built(log: str, store: str, form: str, tmp_path: Path) -> None:
    container = Container(
        settings=Settings(
            event_log=LOGS[log].format(tmp_path),
            object_store=STORES[store].format(tmp_path),
            contracts=CONTRACTS,
            landing=LandingSettings.model_validate({"default_format": form}),
        )
    )
    found = dict(built(container))
    try:
        assert {name for name, part in found.items() if part is None} == set()
        assert found["event_log"].__class__.__name__.lower().startswith(log)
        assert found["consumer"].__class__.__name__ == "DatasetConsumer"
    finally:
        container.writer().close(0)
        container.admin().close()
        container.object_store().close()
