"""A dataset on a whole product in this process: log, store and container real, records put where a test wants them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tests.unit.domain.worlds import DAY, T0

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.letters import LetterId
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.replay_plans import ReplayPlan, ReplayRequest
from streamlake.domain.model.selections import Selection
from streamlake.domain.ports.event_log import TopicSpec
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import EmbeddedSettings, LandingSettings, Settings

CONTRACTS = Path(__file__).parents[3] / "contracts"
DATASET = "orders"
RAW, DLQ = raw_topic(DATASET), dlq_topic(DATASET)
BAD = b'{"order_id":'

Place = tuple[int, int]
"""(partition, offset)."""

START = DAY * 86_400_000


def order(number: int) -> bytes:
    """A good order."""
    return f'{{"order_id":"o-{number}","customer_id":"c","amount":1,"event_time":"2026-01-01T00:00:00Z"}}'.encode()


class Lake:
    """Two partitions of orders."""

    def __init__(self, folder: Path, *, memory: bool, **landing: object) -> None:
        settings = Settings(
            event_log="memory:" if memory else f"sqlite://{folder}/log.sqlite",
            object_store="memory:" if memory else f"file://{folder}/lake",
            contracts=CONTRACTS,
            embedded=EmbeddedSettings(session_timeout_s=300),  # members leave; none is to be given up
            landing=LandingSettings.model_validate({"max_records": 100, **landing}),
        )
        self.container = Container(settings=settings)
        self.admin = self.container.admin()
        self.container.object_store().create_bucket()
        self.create_topics()

    def create_topics(self) -> None:
        """Both, empty."""
        for topic in (RAW, DLQ):
            self.admin.create_topic(TopicSpec(topic, 2, 1, {"max.message.bytes": "4000000"}))

    def put(self, partition: int, stamps: Iterable[int], values: Mapping[int, bytes] | None = None) -> None:
        """Append an order for each timestamp; other values by their place in the call."""
        records = [
            OutgoingRecord(RAW, b"k", (values or {}).get(at, order(at)), (), stamp, partition)
            for at, stamp in enumerate(stamps)
        ]
        outcomes = self.container.writer().append_and_wait(records)
        assert not [each for each in outcomes if isinstance(each, StreamLakeError)]

    def land_live(self) -> None:
        """What a consumer does that begins at the log's start."""
        core = LandRecords(DATASET, self.container.catalog(), LandingLimits(10**7, 100, 60))
        logs = self.container.part_logs(DATASET)
        landing = LandSnapshots(DATASET, self.admin, self.container.writer(), logs)
        topic_id = self.topic_id
        for source, mark in self.admin.watermarks([TopicPartition(RAW, n) for n in range(2)]).items():
            core.assign(source, topic_id, mark.low)
            for batch in self.container.reader().read(source, mark.low, mark.high):
                for snapshot in core.receive(batch, 0.0):
                    landing.land(snapshot, self.container.clock().now())
        for snapshot in core.drain("test"):
            landing.land(snapshot, self.container.clock().now())

    @property
    def topic_id(self) -> str:
        """The raw topic's."""
        return str(self.admin.topics([RAW])[RAW].topic_id)

    def plan(self, replay_id: str, selection: Selection = Selection(), **ways: bool) -> ReplayPlan:  # noqa: B008
        """A plan, not stored."""
        request = ReplayRequest(replay_id, DATASET, selection)
        [plan] = self.container.replay().plan(DATASET, [request], by="test", **ways)
        return plan

    def stored(self, replay_id: str, selection: Selection = Selection(), **ways: bool) -> ReplayPlan:  # noqa: B008
        """A plan, stored."""
        return self.container.replay().store(self.plan(replay_id, selection, **ways))

    def parts(self) -> dict[str, int]:
        """Name -> generation of every part."""
        return {part.name: part.stored.generation for part in self.container.raw_zone(DATASET).parts()}

    def rows(self, replay_id: str | None = None) -> list[Place]:
        """The places of all rows of a replay, or of live landing, as the bodies have them, sorted."""
        zone = self.container.raw_zone(DATASET)
        told = [json.loads(line) for part in zone.parts() for line in zone.envelopes(part)]
        return sorted((row["partition"], row["offset"]) for row in told if row.get("replay_id") == replay_id)

    def dates(self, replay_id: str) -> set[str]:
        """The dates that a replay has parts on."""
        return {part.date for part in self.container.raw_zone(DATASET).parts() if part.info.replay_id == replay_id}

    def letters(self, replay_id: str | None = None) -> list[Place]:
        """The places that consumer letters of a replay, or live ones, name; as often as they were sent."""
        return sorted(
            (found.partition, found.offset)
            for found in self.container.dead_letters(DATASET).identities()
            if isinstance(found, LetterId) and found.replay_id == replay_id
        )


def places(*parts: tuple[int, Sequence[int] | range]) -> list[Place]:
    """(partition, offsets) pairs as sorted places."""
    return sorted((partition, offset) for partition, offsets in parts for offset in offsets)


MakeLake = Callable[..., Lake]
STAMPS = [T0 + n for n in range(1_000)]
