"""Moments are converted exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from streamlake.domain.model.times import DAY_MS, EPOCH, LAST_MS, day_of_ms, epoch_ms, iso_date, rfc3339, rfc3339_of_ms

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
MS = st.integers(0, LAST_MS - 1)
HALF_PAST = timezone(timedelta(hours=5, minutes=30))


@given(MOMENTS)
def test_milliseconds_are_rounded_down_exactly(moment: datetime) -> None:
    ms = epoch_ms(moment)
    assert timedelta() <= moment - (EPOCH + timedelta(milliseconds=ms)) < timedelta(milliseconds=1)


@given(MOMENTS)
def test_text_is_read_back_as_the_same_moment(moment: datetime) -> None:
    assert datetime.fromisoformat(rfc3339(moment)) == moment


@given(MOMENTS)
def test_text_always_has_six_decimals_and_a_z(moment: datetime) -> None:
    text = rfc3339(moment.astimezone(HALF_PAST))
    assert len(text) == len("2026-11-21T10:33:00.123456Z")
    assert text.endswith("Z")
    assert text == rfc3339(moment)


@given(MS)
def test_a_kafka_timestamp_survives_as_text(ms: int) -> None:
    assert epoch_ms(datetime.fromisoformat(rfc3339_of_ms(ms))) == ms


@given(MS)
def test_the_date_of_a_timestamp_is_the_date_of_its_text(ms: int) -> None:
    assert iso_date(day_of_ms(ms)) == rfc3339_of_ms(ms)[:10]


def test_the_last_timestamp_with_a_date_is_the_last_of_the_year_9999() -> None:
    assert rfc3339_of_ms(LAST_MS - 1) == "9999-12-31T23:59:59.999000Z"
    assert iso_date(day_of_ms(LAST_MS - 1)) == date.max.isoformat()
    assert LAST_MS % DAY_MS == 0
