"""The two ways StreamLake writes a moment: milliseconds since the epoch (Kafka's), and RFC 3339 text in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
LAST_MS = (date.max.toordinal() - EPOCH.date().toordinal() + 1) * DAY_MS
"""The first millisecond after the year 9999: past it there is no ISO date to name a prefix with."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH_ORDINAL = EPOCH.toordinal()


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since the epoch, rounded down, exact (no float in between)."""
    return (moment - EPOCH) // _MICROSECOND // 1000


def rfc3339(moment: datetime) -> str:
    """`2026-11-21T10:33:00.123456Z`: UTC, always six decimals."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def rfc3339_of_ms(ms: int) -> str:
    """The same form, for a Kafka timestamp."""
    return rfc3339(EPOCH + timedelta(milliseconds=ms))


def day_of_ms(ms: int) -> int:
    """Days since the epoch, in UTC: what a record's ingestion date is counted in until it is named."""
    return ms // DAY_MS


def iso_date(day: int) -> str:
    """`2026-11-21` of a day counted from the epoch."""
    return date.fromordinal(_EPOCH_ORDINAL + day).isoformat()


def ms_of_date(text: str) -> int:
    """The first millisecond of an ISO date, in UTC. Raises ValueError where it is none."""
    return (date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL) * DAY_MS
