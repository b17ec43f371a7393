"""What happened on one ingestion date. `docs/schemas/summary.v1.json` is the JSON Schema of this module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from streamlake.domain.model.status_report import CheckStatus

SUMMARY_VERSION = 1


@dataclass(frozen=True, slots=True)
class ReplayOfDay:
    """What a replay has landed of the date."""

    replay_id: str
    parts: int
    records: int


@dataclass(frozen=True, slots=True)
class DatasetDay:
    """One dataset on one date: of its records by their timestamps, of its dead letters by when they failed."""

    dataset: str
    accepted: int | None
    """Visible records of the raw topic with a timestamp of that date; None where the topic does not exist."""
    accepted_complete: bool
    """False where retention may have taken some of them: then more were accepted."""
    landed: int
    """Rows of live parts."""
    parts: int
    bytes: int
    dead_letters: dict[str, int] = field(default_factory=dict)
    """`<stage> <error class>` -> letters that failed that day, each once."""
    replays: list[ReplayOfDay] = field(default_factory=list)
    lag_high_water_s: float | None = None
    """The longest that the last record of a live part waited until the part was there, in seconds: the creation time
    that the store gives the part, less the newest record timestamp in it. Other records of a part may have waited
    longer, at most as long as parts are filled. None where there is no part, or the store does not tell."""
    audit: CheckStatus | None = None
    quality: CheckStatus | None = None


@dataclass(frozen=True, slots=True)
class DaySummary:
    """Every dataset asked for. `at` is when it was made (RFC 3339)."""

    v: int
    ingestion_date: str
    at: str
    datasets: list[DatasetDay]

    def to_json(self) -> bytes:
        """As the published schema has it."""
        return _SUMMARY.dump_json(self, indent=1)

    def to_markdown(self) -> str:
        """For a mail or a ticket."""
        return "\n".join(_markdown(self)) + "\n"


def summary_schema() -> dict[str, Any]:
    """The JSON Schema of a summary."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _SUMMARY.json_schema(mode="serialization")


def _markdown(summary: DaySummary) -> Iterator[str]:
    yield f"# StreamLake, {summary.ingestion_date}"
    yield ""
    yield f"Made at {summary.at}."
    yield ""
    yield "| dataset | accepted | landed | parts | dead letters | lag high-water | audit | quality |"
    yield "|---|---:|---:|---:|---:|---:|---|---|"
    for day in summary.datasets:
        accepted = (
            "no topic" if day.accepted is None else f"{day.accepted:,}{'' if day.accepted_complete else ' or more'}"
        )
        lag = "not known" if day.lag_high_water_s is None else f"{day.lag_high_water_s:,.1f} s"
        letters = f"{sum(day.dead_letters.values()):,}"
        checks = " | ".join(_check(check) for check in (day.audit, day.quality))
        yield f"| {day.dataset} | {accepted} | {day.landed:,} | {day.parts:,} | {letters} | {lag} | {checks} |"
    for title, lines in (("Dead letters", list(_letters(summary))), ("Replays", list(_replays(summary)))):
        if lines:
            yield ""
            yield f"## {title}"
            yield ""
            yield from lines


def _check(check: CheckStatus | None) -> str:
    return "none" if check is None else f"{check.verdict} ({check.at[:16]}Z)"


def _letters(summary: DaySummary) -> Iterator[str]:
    for day in summary.datasets:
        for kind, count in sorted(day.dead_letters.items()):
            yield f"- {day.dataset}: {count:,} {kind}"


def _replays(summary: DaySummary) -> Iterator[str]:
    for day in summary.datasets:
        for each in day.replays:
            yield f"- {day.dataset}: {each.replay_id}: {each.records:,} records in {each.parts:,} parts"


_SUMMARY = TypeAdapter(DaySummary)
