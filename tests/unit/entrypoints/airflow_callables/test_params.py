"""Params are refused with all that is wrong with them, since Airflow lets much of it pass."""

from __future__ import annotations

from typing import Any

import pytest

from streamlake.entrypoints.airflow_callables.params import (
    AuditParams,
    BackfillParams,
    LettersParams,
    ReplayParams,
    checked,
)
from streamlake.entrypoints.airflow_callables.runs import RunFailed


def test_nothing_is_written_unless_somebody_says_so() -> None:
    assert checked(ReplayParams, {"dataset": "orders"}).dry_run
    assert checked(BackfillParams, {"dataset": "orders", "first": "2026-01-01", "last": "2026-01-02"}).dry_run
    assert checked(LettersParams, {}).dry_run


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"dateset": "orders", "dataset": "orders"}, "dateset: there is no such param; there are dataset, replay_id"),
        ({"dataset": "orders", "since": "2026-01-01T00:00:00Z"}, "since: there is no such param"),
        ({}, "dataset: Field required"),
        ({"dataset": "Orders"}, "dataset: .*must fullmatch"),
        ({"dataset": "orders\n"}, "dataset: .*must fullmatch"),
        ({"dataset": "orders", "mode": "sideways"}, "mode: .*'bounded' or 'rewind'"),
        ({"dataset": "orders", "dry_run": "no"}, "dry_run: .*boolean"),
        ({"dataset": "orders", "from": "2026-01-01T00:00:00"}, "from: .*with a zone"),
        ({"dataset": "orders", "from": "yesterday"}, "from: .*yesterday"),
        ({"dataset": "orders", "offsets": "0:1-2"}, "offsets: .*list"),
        ({"dataset": "orders", "mode": "rewind", "rate": 5}, "rate: .*not for a rewind"),
    ],
)
def test_a_wrong_param_is_named(params: dict[str, Any], told: str) -> None:
    with pytest.raises(RunFailed, match=told):
        checked(ReplayParams, params)


def test_an_error_class_that_does_not_exist_is_refused_and_does_not_just_select_nothing() -> None:
    assert checked(LettersParams, {"error_classes": ["malformed_json"]}).error_classes == ["malformed_json"]
    with pytest.raises(RunFailed, match=r"error_classes.1: .*must be one of .*malformed_json"):
        checked(LettersParams, {"error_classes": ["malformed_json", "malformed"]})


def test_a_backfill_names_each_of_its_days() -> None:
    given = {"dataset": "orders", "first": "2026-02-27", "last": "2026-03-01"}
    assert checked(BackfillParams, given).days == ["2026-02-27", "2026-02-28", "2026-03-01"]
    for first, last in (("2026-03-02", "2026-03-01"), ("2024-01-01", "2026-01-01")):
        wrong = checked(BackfillParams, given | {"first": first, "last": last})
        with pytest.raises(RunFailed, match="must be 1 to 366 days"):
            _ = wrong.days


def test_a_daily_run_is_for_the_day_before_it_was_due() -> None:
    assert checked(AuditParams, {}).day("2026-03-01T04:30:00+00:00") == "2026-02-28"
    assert checked(AuditParams, {}).day("2026-03-01T00:30:00+02:00") == "2026-02-27"
    assert checked(AuditParams, {"date": "2026-01-01"}).day("2026-03-01T04:30:00+00:00") == "2026-01-01"
