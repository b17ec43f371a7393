"""`streamlake_audit`, run to its end on real Kafka and a real GCS API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


def test_a_lost_part_turns_the_run_red_and_is_named(lake: Any, run: Callable[..., Any]) -> None:
    lake.produce(30)
    lake.land()
    [part, *_] = lake.parts()
    lake.delete(part)

    ended = run("streamlake_audit", {"datasets": [lake.dataset]})
    assert ended.state == "failed"
    assert ended.tasks["audit", 0] == "success", "an audit that finds something has worked"
    assert ended.tasks["report", -1] == "failed"
    assert ended.tries["report", -1] == 1, "a finding stays one"
    audited = ended.returned("audit", 0)
    assert audited["verdict"] == "findings"
    assert audited["missing"] == 30 - len(lake.rows())
    assert audited["report"] in {found.name for found in lake.store.list("ops/audit/")}


def test_an_unknown_key_or_dataset_is_refused_by_the_first_task(lake: Any, run: Callable[..., Any]) -> None:
    for conf in (
        {"dateset": "orders"},
        {"datasets": ["No Such Name"]},
        {"datasets": ["nosuch"]},
    ):
        ended = run("streamlake_audit", conf)
        assert (ended.state, ended.tasks["datasets", -1]) == ("failed", "failed")
        assert ended.tries["datasets", -1] == 1


def test_a_connection_overrides_the_environment(
    lake: Any, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.produce(5)
    lake.land()
    wanted = {name: lake.environment[name] for name in ("STREAMLAKE_EVENT_LOG", "STREAMLAKE_OBJECT_STORE")}
    for name in wanted:
        monkeypatch.setenv(name, "nonsense")
    assert run("streamlake_audit", {}).state == "failed"
    monkeypatch.setenv("AIRFLOW_CONN_STREAMLAKE", json.dumps({"conn_type": "generic", "extra": wanted}))
    assert run("streamlake_audit", {}).state == "success"
    refused = json.dumps({"conn_type": "generic", "extra": {"PATH": "somewhere"}})
    monkeypatch.setenv("AIRFLOW_CONN_STREAMLAKE", refused)
    assert run("streamlake_audit", {}).state == "failed"
