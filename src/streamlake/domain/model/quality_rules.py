"""Quality rules as a contract states them (ODCS `quality` and `slaProperties`), ready to be measured and judged.

What ODCS allows but nobody here can measure is a rule too, with an `Unchecked` that says why: a rule is never passed
over in silence, and a contract with one still lands.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

Number: TypeAlias = int | Decimal
Found: TypeAlias = Number | bool | None
"""What was measured; None where a query gave NULL or there was nothing to measure."""

Path: TypeAlias = tuple[str, ...]
"""Where a value is in a payload: property by property, with `EACH` for the elements of an array."""

EACH = "[]"

COMPARATORS = {
    "mustBe": "= {0}",
    "mustNotBe": "!= {0}",
    "mustBeGreaterThan": "> {0}",
    "mustBeGreaterOrEqualTo": ">= {0}",
    "mustBeLessThan": "< {0}",
    "mustBeLessOrEqualTo": "<= {0}",
    "mustBeBetween": "between {0} and {1}",
    "mustNotBeBetween": "not between {0} and {1}",
}
"""ODCS's operators, and how a report writes them. Ends belong to `between`."""

ROW_COUNT = "rowCount"
NULL_VALUES = "nullValues"
MISSING_VALUES = "missingValues"
INVALID_VALUES = "invalidValues"
DUPLICATE_VALUES = "duplicateValues"

_LENIENT = frozenset({"info", "warning", "warn", "low", "minor", "trivial"})
"""Severities that do not make a verdict fail: the ones datacontract-cli takes so."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """An ODCS operator with its one or two limits."""

    operator: str
    limits: tuple[Number | bool, ...]

    def __post_init__(self) -> None:
        wanted = 2 if self.operator.endswith("Between") else 1
        if self.operator not in COMPARATORS or len(self.limits) != wanted:
            raise ValueError(f"threshold: {self.operator} does not go with {len(self.limits)} limits")

    def __str__(self) -> str:
        return COMPARATORS[self.operator].format(*(plain(limit) for limit in self.limits))

    def holds(self, found: Found) -> bool:
        """Whether what was found keeps the rule. NULL, and what is not a number, never does."""
        if found is None or (isinstance(found, Decimal) and found.is_nan()):
            return False
        first, last = self.limits[0], self.limits[-1]
        match self.operator:
            case "mustBe":
                return found == first
            case "mustNotBe":
                return found != first
            case "mustBeGreaterThan":
                return found > first
            case "mustBeGreaterOrEqualTo":
                return found >= first
            case "mustBeLessThan":
                return found < first
            case "mustBeLessOrEqualTo":
                return found <= first
            case "mustBeBetween":
                return first <= found <= last
            case _:
                return not first <= found <= last


def spelt(path: Path) -> str:
    """`items[].sku`."""
    return ".".join(path).replace(f".{EACH}", EACH)


def plain(value: Found) -> str:
    """A number as people write it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value.normalize():f}"
    return str(value)


@dataclass(frozen=True, slots=True)
class Metric:
    """One of ODCS's library metrics, over the value at a path, or for duplicates over several together.

    It counts rows, duplicates excepted, where it counts the values that are there more than once. A row with an array
    counts once where any element does; what an absent object would hold is not null. Null is not invalid, and nulls
    are not duplicates of one another; in an array, duplicates are those within it.
    """

    metric: str
    threshold: Threshold
    paths: tuple[Path, ...] = ()
    percent: bool = False
    """The threshold is in percent of the rows."""
    missing: tuple[object, ...] = ()
    valid: tuple[object, ...] | None = None
    pattern: str | None = None
    """A regular expression to be found anywhere in the value, as ODCS tools take it: anchor it."""


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with one number or boolean as its answer, its placeholders filled in."""

    sql: str
    threshold: Threshold


@dataclass(frozen=True, slots=True)
class Freshness:
    """The newest value at `path` (None: the newest record timestamp) must be younger than this."""

    seconds: int
    path: Path | None


@dataclass(frozen=True, slots=True)
class Completeness:
    """At least this percentage of the raw topic's records must be landed or accounted for, as the audit sees it."""

    threshold: Threshold


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Nobody here can check it, and why."""

    reason: str


Check: TypeAlias = Metric | Query | Freshness | Completeness | Unchecked


@dataclass(frozen=True, slots=True)
class QualityRule:
    """One rule of a contract. `name` is unique in it; `where` is the property it stands at, None for the whole."""

    name: str
    kind: str
    """`library`, `sql`, `text`, `custom`, `service level`, or `schema` for a property that is `unique`."""
    check: Check
    where: str | None = None
    description: str | None = None
    severity: str | None = None
    dimension: str | None = None

    @property
    def lenient(self) -> bool:
        """Does breaking it only warn?"""
        return (self.severity or "").strip().lower() in _LENIENT


@dataclass(frozen=True, slots=True)
class Place:
    """Where an offending row is: never what it holds."""

    part: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset} ({self.part})"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a check came to, and some of the rows it counted."""

    found: Found
    offenders: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Why a check could not be carried out; nothing of a payload in it."""

    reason: str


Measurement: TypeAlias = Measured | NotMeasured
