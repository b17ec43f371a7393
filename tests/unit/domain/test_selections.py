"""What a replay selects, and how people say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.worlds import DATE, NEXT_DATE, P0, T0, batch

from streamlake.domain.model.records import NO_TIMESTAMP
from streamlake.domain.model.selections import Selection, parse_dates, parse_moment, parse_offsets
from streamlake.domain.model.times import DAY_MS


def picked(selection: Selection, stamps: list[int]) -> list[int]:
    found = selection.pick(batch(range(len(stamps)), timestamps=dict(enumerate(stamps))))
    return [] if found is None else list(found.offsets)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0:100-200", (0, (100, 200))),
        ("3:100-", (3, (100, None))),
        ("3:-200", (3, (None, 200))),
        ("7", (7, (None, None))),
    ],
)
def test_offsets_are_a_partition_and_a_half_open_range(text: str, said: object) -> None:
    assert parse_offsets(text) == said


@pytest.mark.parametrize("text", ["", "a", "0:", "0:a-b", "-1:0-5", "0:5", "0:1-2-3", "0:1-2\n", "0:1-2x"])
def test_other_offsets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="offsets"):
        parse_offsets(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:01.5+01:00", 1500),
        ("1970-01-01t00:00:00.001999z", 1),
        ("1970-01-02T00:00Z", DAY_MS),
    ],
)
def test_a_moment_is_rfc3339_in_any_zone(text: str, ms: int) -> None:
    assert parse_moment(text) == ms


@pytest.mark.parametrize(
    "text", ["2026-11-21T10:00:00", "2026-11-21", "yesterday", "2026-13-01T00:00:00Z", "2026-11-21T10:00:00Z\n", ""]
)
def test_a_moment_without_a_zone_or_that_never_was_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="times"):
        parse_moment(text)


def test_dates_have_both_ends_in_them() -> None:
    assert parse_dates("2026-11-29..2026-12-01") == ["2026-11-29", "2026-11-30", "2026-12-01"]
    assert parse_dates("2026-11-29") == ["2026-11-29"]


@pytest.mark.parametrize(
    "text", ["2026-12-01..2026-11-29", "2026-11-31", "2026-11-29..", "20261129", "2026-W48-1", ".."]
)
def test_other_dates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="dates"):
        parse_dates(text)


def test_times_out_of_order_are_looked_at_one_by_one() -> None:
    selection = Selection(since_ms=100, until_ms=200)
    assert picked(selection, [99, 100, 500, 199, 200, 150]) == [1, 3, 5]


def test_a_date_is_its_utc_day_and_no_other() -> None:
    start = T0 // DAY_MS * DAY_MS
    selection = Selection(dates=(DATE,))
    assert picked(selection, [start - 1, start, start + DAY_MS - 1, start + DAY_MS]) == [1, 2]
    assert Selection(dates=(DATE, NEXT_DATE)).times == ((start, start + 2 * DAY_MS),)


def test_dates_apart_stay_apart() -> None:
    selection = Selection(dates=("1970-01-01", "1970-01-03"))
    assert picked(selection, [0, DAY_MS, 2 * DAY_MS, 3 * DAY_MS]) == [0, 2]


def test_a_record_without_a_timestamp_is_at_no_time() -> None:
    assert picked(Selection(since_ms=0), [NO_TIMESTAMP, 0]) == [1]
    assert picked(Selection(), [NO_TIMESTAMP, 0]) == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"since_ms": 5, "until_ms": 5},
        {"dates": (DATE,), "since_ms": 1},
        {"dates": (NEXT_DATE, DATE)},
        {"offsets": {0: (5, 5)}},
    ],
)
def test_what_could_never_select_anything_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Selection(**wrong)  # type: ignore[arg-type]


@given(
    st.dictionaries(st.integers(0, 9), st.sampled_from([(None, None), (0, 5), (3, None), (None, 9)])),
    st.sampled_from([{}, {"since_ms": 5}, {"until_ms": 7}, {"since_ms": 5, "until_ms": 7}, {"dates": (DATE,)}]),
)
def test_a_selection_survives_json(offsets: dict[int, tuple[int | None, int | None]], times: dict[str, int]) -> None:
    selection = Selection(offsets, **times)  # type: ignore[arg-type]
    assert Selection.from_json(selection.to_json()) == selection


def test_a_batch_wholly_selected_is_not_copied() -> None:
    whole = batch(range(3), P0)
    assert Selection(since_ms=0).pick(whole) is whole
