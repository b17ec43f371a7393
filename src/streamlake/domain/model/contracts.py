"""A dataset's contract, ready for use: names, settings, and one function that parses and judges a payload."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from streamlake.domain.errors import ContractViolation, FieldError
from streamlake.domain.model.columns import Column
from streamlake.domain.model.quality_rules import QualityRule
from streamlake.domain.model.times import DAY_MS

DATASET_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
"""Fullmatch this. No dots or underscores: `streamlake_a_raw` and `streamlake.a.raw` collide in Kafka's metric names."""


class PayloadParser(Protocol):
    """Judges a payload."""

    def __call__(self, payload: bytes) -> Mapping[str, object]:
        """The parsed document, or `ContractViolation`; never another exception, whatever the bytes."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One major version of one dataset's contract."""

    dataset: str
    major: int
    description: str
    key: str
    """The property that is the record key (the contract's primaryKey): a required string or integer."""
    sha256: str
    """Of the contract file's bytes, in hex: which contract judged a dead letter."""
    json_schema: Mapping[str, object]
    example: Mapping[str, object]
    parse: PayloadParser
    columns: tuple[Column, ...] = ()
    """The payload's properties as a table has them."""
    quality: tuple[QualityRule, ...] = ()
    """Quality rules and service levels, in the contract's order."""
    partitions: int = 6
    part_format: str | None = None
    """None: the setting `STREAMLAKE_LANDING__DEFAULT_FORMAT` decides."""
    raw_retention_ms: int = 30 * DAY_MS
    dlq_retention_ms: int = -1
    """-1 is Kafka's word for unlimited."""

    def __post_init__(self) -> None:
        if not DATASET_NAME.fullmatch(self.dataset):
            raise ValueError(f"dataset: must fullmatch {DATASET_NAME.pattern}, is {self.dataset!r}")
        if self.major < 1 or self.partitions < 1:
            raise ValueError(f"{self.dataset}: major version and partitions must be >= 1")

    @property
    def version(self) -> str:
        """`v1`: what the record header `schema_version` says."""
        return f"v{self.major}"

    @property
    def name(self) -> str:
        """`orders.v1`: how messages name the contract."""
        return f"{self.dataset}.{self.version}"

    def record_key(self, document: Mapping[str, object]) -> bytes:
        """The record key of a parsed document, as UTF-8. Raises `ContractViolation` where it cannot be one."""
        value = document.get(self.key)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            try:
                return str(value).encode()
            except ValueError:  # a lone surrogate has no UTF-8, and Python writes no integer of 5,000 digits
                pass
        raise ContractViolation(self.name, (FieldError(f"/{self.key}", "key", "must be a string or an integer"),))


def raw_topic(dataset: str) -> str:
    """Where a dataset's accepted events are."""
    return f"streamlake.{dataset}.raw"


def dlq_topic(dataset: str) -> str:
    """Where a dataset's dead letters are."""
    return f"streamlake.{dataset}.dlq"


def consumer_group(dataset: str) -> str:
    """The group that lands a dataset."""
    return f"streamlake-consumer-{dataset}"
