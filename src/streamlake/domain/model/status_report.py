"""What `streamlake status` says of one dataset. `docs/schemas/status.v1.json` is the JSON Schema of this module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition of the raw topic. Offsets are the next to read; `lag` counts offsets, transactions' included."""

    partition: int
    low: int
    high: int
    committed: int | None
    lag: int
    halted: str | None = None
    """Why `streamlake.control` says that it is halted."""
    stopped: str | None = None
    """Why its start cannot be decided: a gap to accept, or a log that was cut short."""


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """The last audit, or the last quality check of live rows: its object, verdict and time (RFC 3339)."""

    report: str
    verdict: str
    at: str
    date: str | None = None
    """Which ingestion date it was about; None: all."""


@dataclass(frozen=True, slots=True)
class ReplayStatus:
    """A replay that is not complete."""

    replay_id: str
    mode: str
    state: str
    updated_at: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """One dataset. `attention` is what needs somebody, a sentence each; empty where all is well."""

    dataset: str
    raw_topic: bool
    dlq_topic: bool
    topic_id: str | None = None
    members: int = 0
    """Consumers in its group."""
    lag: int = 0
    partitions: list[PartitionStatus] = field(default_factory=list)
    audit: CheckStatus | None = None
    quality: CheckStatus | None = None
    replays: list[ReplayStatus] = field(default_factory=list)
    rewind: str | None = None
    """The id of the replay that rewinds its group, while `ops/rewind/` says so."""
    attention: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Every dataset asked for."""

    v: int
    at: str
    datasets: list[DatasetStatus]

    @property
    def well(self) -> bool:
        """Does nothing need anybody?"""
        return not any(dataset.attention for dataset in self.datasets)

    def to_json(self) -> bytes:
        """As the published schema has it."""
        return _STATUS.dump_json(self, indent=1)


STATUS_VERSION = 1


def status_schema() -> dict[str, Any]:
    """The JSON Schema of a status."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _STATUS.json_schema(mode="serialization")


_STATUS = TypeAdapter(StatusReport)
