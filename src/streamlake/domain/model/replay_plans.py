"""Replay plans: what is read again, from where to where, decided once and stored before anything runs.

    ops/replays/<id>.json                  the plan, create-only
    ops/replays/<id>/run-0001.json ...     what became of each attempt to carry it out
    ops/rewind/<dataset>.json              which rewind has the dataset's group, and how far it is: compare-and-swap

Nothing of it is ever deleted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamlake.domain.model.contracts import DATASET_NAME, raw_topic
from streamlake.domain.model.positions import Lane, TopicPartition
from streamlake.domain.model.selections import Selection

REPLAY_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Fullmatch this: a replay id is in object names, record headers and metrics."""

REPLAYS = "ops/replays/"
PLAN_VERSION = 1
BOUNDED, REWIND = "bounded", "rewind"
MODES = (BOUNDED, REWIND)


def check_replay_id(text: str) -> str:
    """The id itself. Raises ValueError where it cannot be one."""
    if not REPLAY_ID.fullmatch(text):
        raise ValueError(f"replay id: must fullmatch {REPLAY_ID.pattern}, is {text!r}")
    return text


def backfill_id(dataset: str, date: str, label: str = "backfill") -> str:
    """The id of a dataset's backfill of a date: the same every time, so that a repeat is the same replay.

    A name that is too long is cut, with a piece of its sha256 in place of the rest.
    """
    whole = f"{label}-{date}-{dataset}"
    if len(whole) > 63:
        whole = f"{whole[:54]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return check_replay_id(whole)


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What somebody wants replayed, under which id. The same id again must be the same request."""

    replay_id: str
    dataset: str
    selection: Selection
    mode: str = BOUNDED

    def __post_init__(self) -> None:
        check_replay_id(self.replay_id)
        if not DATASET_NAME.fullmatch(self.dataset):
            raise ValueError(f"dataset: must fullmatch {DATASET_NAME.pattern}, is {self.dataset!r}")
        if self.mode not in MODES:
            raise ValueError(f"mode: must be one of {', '.join(MODES)}, is {self.mode!r}")


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """Of one partition: every selected record with an offset in `[start, until)` is replayed.

    `until` is at most the high watermark when it was planned. `lost` are selected offsets that retention had taken by
    then. The last three are estimates: at most so many records (gaps are only known when read), so many of them landed
    live already, about so many bytes of parts.
    """

    partition: int
    start: int
    until: int
    lost: tuple[int, int] | None = None
    records: int = 0
    landed_live: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """A replay as decided. Immutable once stored; a retry reads it and never plans again."""

    request: ReplayRequest
    topic_id: str
    partitions: tuple[PartitionPlan, ...]
    parts: int
    """About how many parts it will write."""
    accept_gap: bool
    """Has somebody accepted that what `lost` names cannot be replayed?"""
    by: str
    at: str
    """RFC 3339."""

    @property
    def replay_id(self) -> str:
        """The id."""
        return self.request.replay_id

    @property
    def dataset(self) -> str:
        """Whose records."""
        return self.request.dataset

    @property
    def topic(self) -> str:
        """The raw topic's name."""
        return raw_topic(self.request.dataset)

    @property
    def records(self) -> int:
        """At most how many records."""
        return sum(each.records for each in self.partitions)

    @property
    def lost(self) -> dict[int, tuple[int, int]]:
        """By partition, what retention has taken of the selection."""
        return {each.partition: each.lost for each in self.partitions if each.lost is not None}

    def source(self, partition: int) -> TopicPartition:
        """A partition by name."""
        return TopicPartition(self.topic, partition)

    def lane(self, partition: int) -> Lane:
        """A partition by topic id."""
        return Lane(self.topic_id, partition)

    def of(self, partition: int) -> PartitionPlan | None:
        """The plan of a partition; None where nothing of it is replayed."""
        return next((each for each in self.partitions if each.partition == partition), None)

    def to_json(self) -> dict[str, Any]:
        """As it is stored and printed."""
        return {
            "v": PLAN_VERSION,
            "replay_id": self.replay_id,
            "dataset": self.dataset,
            "mode": self.request.mode,
            "selection": self.request.selection.to_json(),
            "topic": self.topic,
            "topic_id": self.topic_id,
            "partitions": [
                {
                    "partition": each.partition,
                    "start": each.start,
                    "until": each.until,
                    "lost": None if each.lost is None else list(each.lost),
                    "records": each.records,
                    "landed_live": each.landed_live,
                    "bytes": each.bytes,
                }
                for each in self.partitions
            ],
            "records": self.records,
            "parts": self.parts,
            "accept_gap": self.accept_gap,
            "by": self.by,
            "at": self.at,
        }


def plan_from_json(told: Mapping[str, Any]) -> ReplayPlan:
    """`ReplayPlan.to_json` undone. Raises ValueError for anything else."""
    try:
        if told["v"] != PLAN_VERSION:
            raise ValueError(f"plan version: must be {PLAN_VERSION}, is {told['v']}")
        request = ReplayRequest(
            told["replay_id"], told["dataset"], Selection.from_json(told["selection"]), told["mode"]
        )
        partitions = tuple(
            PartitionPlan(
                each["partition"],
                each["start"],
                each["until"],
                None if each["lost"] is None else (each["lost"][0], each["lost"][1]),
                each["records"],
                each["landed_live"],
                each["bytes"],
            )
            for each in told["partitions"]
        )
        return ReplayPlan(
            request, told["topic_id"], partitions, told["parts"], told["accept_gap"], told["by"], told["at"]
        )
    except KeyError as missing:
        raise ValueError(f"replay plan: {missing.args[0]} is missing") from None
    except (TypeError, AttributeError, IndexError) as malformed:
        raise ValueError(f"replay plan: malformed ({malformed})") from None


def read_plan(body: bytes) -> ReplayPlan:
    """A plan as it was stored. Raises ValueError."""
    return plan_from_json(json.loads(body))
