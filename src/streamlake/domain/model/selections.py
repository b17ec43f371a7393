"""Which records of a raw topic a replay takes: by partition and offset, by time, by date, or all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from streamlake.domain.model.records import RecordBatch
from streamlake.domain.model.times import DAY_MS, EPOCH, LAST_MS, epoch_ms, rfc3339_of_ms

_OFFSETS = re.compile(r"(\d+)(?::(\d*)-(\d*))?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")

OffsetRange = tuple[int | None, int | None]
"""`[start, end)`; None where it is open: from what the log still has, up to what it has now."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Records must be in all that is named here; what is not named does not limit. Half-open, milliseconds, UTC.

    A record without a timestamp is in no time and on no date. Raises ValueError where nothing could ever be selected.
    """

    offsets: Mapping[int, OffsetRange] = field(default_factory=dict)
    """By partition; empty: all partitions, whole."""
    since_ms: int | None = None
    until_ms: int | None = None
    dates: tuple[str, ...] = ()
    """ISO dates, ascending."""

    def __post_init__(self) -> None:
        if self.dates and (self.since_ms is not None or self.until_ms is not None):
            raise ValueError("select by dates or by times, not by both")
        if self.since_ms is not None and self.until_ms is not None and self.since_ms >= self.until_ms:
            raise ValueError("times: the first must be before the last")
        if list(self.dates) != sorted(set(self.dates)):
            raise ValueError("dates: each once, ascending")
        for partition, (start, end) in self.offsets.items():
            if partition < 0:
                raise ValueError(f"partition: must be at least 0, is {partition}")
            if start is not None and end is not None and start >= end:
                raise ValueError(f"offsets of partition {partition}: must be start < end, are {start}-{end}")

    @property
    def times(self) -> tuple[tuple[int, int], ...] | None:
        """The times as disjoint half-open intervals, ascending; None where any record will do."""
        if self.dates:
            return _merged([_day_of(text) for text in self.dates])
        if self.since_ms is None and self.until_ms is None:
            return None
        return ((self.since_ms or 0, LAST_MS if self.until_ms is None else self.until_ms),)

    def may_hold(self, first_ms: int, last_ms: int) -> bool:
        """Could a record with a timestamp in `[first_ms, last_ms]` be selected?"""
        times = self.times
        return times is None or any(start <= last_ms and first_ms < end for start, end in times)

    def pick(self, batch: RecordBatch) -> RecordBatch | None:
        """The records of a batch at the times selected, whatever their offsets; None where there is none."""
        times = self.times
        if times is None:
            return batch
        if len(times) == 1:
            [(start, end)] = times
            wanted = [at for at, stamp in enumerate(batch.timestamps) if start <= stamp < end]
        else:
            wanted = [at for at, stamp in enumerate(batch.timestamps) if any(a <= stamp < b for a, b in times)]
        return batch.pick(wanted)

    def to_json(self) -> dict[str, Any]:
        """As plans and Airflow have it."""
        return {
            "offsets": {str(partition): list(ends) for partition, ends in sorted(self.offsets.items())},
            "from": None if self.since_ms is None else rfc3339_of_ms(self.since_ms),
            "to": None if self.until_ms is None else rfc3339_of_ms(self.until_ms),
            "dates": list(self.dates),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Selection:
        """`to_json` undone. Raises ValueError, KeyError or TypeError for anything else."""
        offsets = {int(partition): (start, end) for partition, (start, end) in told["offsets"].items()}
        since, until = told["from"], told["to"]
        return cls(
            offsets,
            None if since is None else parse_moment(since),
            None if until is None else parse_moment(until),
            tuple(told["dates"]),
        )

    def __str__(self) -> str:
        told = [f"partition {p}{_range(ends)}" for p, ends in sorted(self.offsets.items())] or ["all partitions"]
        if self.dates:
            told.append(f"dates {self.dates[0]}..{self.dates[-1]}" if len(self.dates) > 1 else f"date {self.dates[0]}")
        if self.since_ms is not None:
            told.append(f"from {rfc3339_of_ms(self.since_ms)}")
        if self.until_ms is not None:
            told.append(f"to {rfc3339_of_ms(self.until_ms)}")
        return ", ".join(told)


def parse_offsets(text: str) -> tuple[int, OffsetRange]:
    """`0:100-200` (200 is not in it), `0:100-`, `0:-200` or `0`. Raises ValueError."""
    found = _OFFSETS.fullmatch(text)
    if found is None:
        raise ValueError(f"offsets: must be PARTITION, or PARTITION:START-END (END not in it), is {text!r}")
    partition, start, end = found.groups()
    return int(partition), (int(start) if start else None, int(end) if end else None)


def parse_moment(text: str) -> int:
    """RFC 3339, with its zone, as milliseconds since the epoch, rounded down. Raises ValueError."""
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"times: must be RFC 3339 with a zone such as 2026-11-21T10:00:00Z, is {text!r}")
    try:
        return epoch_ms(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError):
        raise ValueError(f"times: there is no such moment: {text!r}") from None


def parse_date(text: str) -> date:
    """`2026-11-20`. Raises ValueError."""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"dates: must be a day of the calendar as YYYY-MM-DD, is {text!r}")


def parse_dates(text: str) -> list[str]:
    """`2026-11-20` or `2026-11-18..2026-11-20`, both ends in it. Raises ValueError."""
    first, dots, last = text.partition("..")
    start = parse_date(first)
    end = parse_date(last) if dots else start
    if end < start:
        raise ValueError(f"dates: the first must not be after the last, are {text!r}")
    return [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]


def _day_of(text: str) -> tuple[int, int]:
    day = (parse_date(text) - EPOCH.date()).days
    return day * DAY_MS, (day + 1) * DAY_MS


def _merged(days: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in days:
        if merged and merged[-1][1] == start:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((start, end))
    return tuple(merged)


def _range(ends: OffsetRange) -> str:
    start, end = ends
    return "" if ends == (None, None) else f" offsets [{start if start is not None else ''}, {end if end else ''})"
