"""What `streamlake quality` found: `docs/schemas/quality-report.v1.json` has it as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from streamlake.domain.model.quality_rules import Found, Place, QualityRule

REPORT_VERSION = 1


class Outcome(StrEnum):
    """Of one rule, and of a whole report, where the worst one counts."""

    PASSED = "passed"
    WARNED = "warned"
    """Broken, at a severity that only warns."""
    UNCHECKED = "unchecked"
    """Nobody could check it: neither good nor bad."""
    FAILED = "failed"


_ORDER = list(Outcome)


@dataclass(frozen=True, slots=True)
class QualityResult:
    """One rule over the rows of one contract version. `expected` and `unit` are for people; `found` is in `unit`."""

    version: str
    rule: QualityRule
    outcome: Outcome
    expected: str | None = None
    unit: str | None = None
    found: Found = None
    reason: str | None = None
    """Why it was not checked."""
    offenders: tuple[Place, ...] = ()

    @property
    def weight(self) -> Outcome:
        """What it does to the verdict: a rule that only warns does not leave it open either."""
        return Outcome.PASSED if self.outcome is Outcome.UNCHECKED and self.rule.lenient else self.outcome

    def to_json(self) -> dict[str, Any]:
        """As the published schema has it."""
        rule = self.rule
        return {
            "rule": rule.name,
            "kind": rule.kind,
            "version": self.version,
            "where": rule.where,
            "description": rule.description,
            "severity": rule.severity,
            "dimension": rule.dimension,
            "outcome": self.outcome,
            "expected": self.expected,
            "unit": self.unit,
            "found": _number(self.found),
            "reason": self.reason,
            "offenders": [{"part": o.part, "partition": o.partition, "offset": o.offset} for o in self.offenders],
        }


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Every rule over what has landed of one date, live or by one replay. Times are RFC 3339 in UTC."""

    dataset: str
    date: str
    replay_id: str | None
    checked_at: str
    as_of: str
    """What freshness was measured against: the time of the check, or the end of a date that was over."""
    contracts: Mapping[str, str]
    """Contract version -> sha256 of its file."""
    parts: int
    rows: Mapping[str, int]
    """Contract version -> its rows."""
    results: Sequence[QualityResult]

    @property
    def source(self) -> str:
        """`live` or `replay:<id>`."""
        return "live" if self.replay_id is None else f"replay:{self.replay_id}"

    @property
    def verdict(self) -> Outcome:
        """The worst there is."""
        return max((result.weight for result in self.results), key=_ORDER.index, default=Outcome.PASSED)

    def count(self, outcome: Outcome) -> int:
        """How many rules came to that."""
        return sum(1 for result in self.results if result.outcome is outcome)

    def to_json(self) -> dict[str, Any]:
        """As the published schema has it."""
        return {
            "report": "quality",
            "v": REPORT_VERSION,
            "dataset": self.dataset,
            "ingestion_date": self.date,
            "source": self.source,
            "checked_at": self.checked_at,
            "as_of": self.as_of,
            "verdict": self.verdict,
            "contracts": dict(self.contracts),
            "parts": self.parts,
            "rows": dict(self.rows),
            "results": [result.to_json() for result in self.results],
        }


def _number(found: Found) -> int | float | str | bool | None:
    """A JSON number; as text where a double would not carry it."""
    if not isinstance(found, Decimal):
        return found
    if found.is_finite() and found == found.to_integral_value() and abs(found) < 2**53:
        return int(found)
    return float(found) if found.is_finite() and Decimal(repr(float(found))) == found else str(found)
