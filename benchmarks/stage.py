"""What a measurement stands on: a real Kafka with a loaded topic, and an empty bucket for every single run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from tests.services.gcs import gcs

from benchmarks.events import DATASET
from streamlake.domain.model.contracts import consumer_group, raw_topic

CONTRACT = Path(__file__).parents[1] / "contracts" / "orders.v1.odcs.yaml"
BUCKET = "bench"
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
GROUP_GONE_S = 30.0
"""A group can be deleted when its last member has left it; one that died by SIGKILL leaves with its session."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """An empty bucket on a server of its own, so that no run pays for what an earlier one stored."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """How StreamLake, and every client of Google's, finds it."""
        return {"STREAMLAKE_OBJECT_STORE": f"gs://{BUCKET}", "STORAGE_EMULATOR_HOST": self.endpoint}

    def create(self) -> None:
        """Create it; on a given server it may be there already."""
        made = httpx.post(f"{self.endpoint}/storage/v1/b?project=bench", json={"name": BUCKET}, timeout=30)
        if made.status_code not in (200, 409):
            raise RuntimeError(f"{self.endpoint}: create {BUCKET}: {made.status_code} {made.text}")

    def objects(self) -> list[dict[str, str]]:
        """All that lies in it."""
        listed: dict[str, list[dict[str, str]]] = httpx.get(
            f"{self.endpoint}/storage/v1/b/{BUCKET}/o", timeout=30
        ).json()
        return listed.get("items", [])

    def last_created(self) -> float:
        """When its newest object was created, epoch seconds."""
        return max(datetime.fromisoformat(item["timeCreated"]).timestamp() for item in self.objects())

    def parts(self) -> int:
        """How many parts lie in it."""
        return sum("/part-" in item["name"] for item in self.objects())


@contextmanager
def empty_bucket() -> Iterator[Bucket]:
    """A server with one empty bucket, gone afterwards (on a given server it stays)."""
    with gcs() as service:
        bucket = Bucket(service.endpoint)
        bucket.create()
        yield bucket


class Stage:
    """One dataset's topic on one Kafka, and the group that lands it."""

    def __init__(self, folder: Path, bootstrap: str, *, dataset: str = DATASET, partitions: int = 4) -> None:
        self.bootstrap = bootstrap
        self.dataset = dataset
        self.partitions = partitions
        self.topic = raw_topic(dataset)
        self.group = consumer_group(dataset)
        self._folder = folder / dataset
        self._folder.mkdir()
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._provision()

    def environment(self, part_format: str = "json") -> dict[str, str]:
        """What a `streamlake` process is told: everything else is its default."""
        return {
            "STREAMLAKE_EVENT_LOG": f"kafka://{self.bootstrap}",
            "STREAMLAKE_CONTRACTS": str(self._contracts(part_format)),
        }

    def ends(self) -> dict[int, int]:
        """The high watermark of each partition."""
        asked = {TopicPartition(self.topic, n): LATEST for n in range(self.partitions)}
        return {place.partition: found.result().offset for place, found in self._admin.list_offsets(asked).items()}

    def committed(self, group: str | None = None) -> dict[int, int]:
        """What the group (if not another one: the dataset's) has committed of each partition."""
        request = ConsumerGroupTopicPartitions(
            group or self.group, [TopicPartition(self.topic, n) for n in range(self.partitions)]
        )
        [answer] = self._admin.list_consumer_group_offsets([request]).values()
        return {place.partition: place.offset for place in answer.result().topic_partitions or []}

    def is_landed(self, group: str | None = None) -> bool:
        """Is everything committed?"""
        try:
            return self.committed(group) == self.ends()
        except KafkaException:  # a group that is just being made
            return False

    def is_assigned(self, group: str) -> bool:
        """Has any member of the group got a partition?"""
        [answer] = self._admin.describe_consumer_groups([group]).values()
        try:
            members = answer.result().members
        except KafkaException:
            return False
        return any(member.assignment.topic_partitions for member in members)

    def forget_group(self, group: str | None = None) -> None:
        """Delete the group: the next run begins at the log's start."""
        deadline = time.monotonic() + GROUP_GONE_S
        while True:
            [done] = self._admin.delete_consumer_groups([group or self.group]).values()
            try:
                done.result()
                return
            except KafkaException as e:
                if e.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def delete_topic(self) -> None:
        """Give the disk back."""
        for done in self._admin.delete_topics([self.topic]).values():
            done.result()

    def _provision(self) -> None:
        environment = os.environ | self.environment() | {"STREAMLAKE_OBJECT_STORE": "memory:"}
        command = [sys.executable, "-m", "streamlake", "topics", "provision"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"topics provision: {done.stdout}{done.stderr}")

    def _contracts(self, part_format: str) -> Path:
        """The repository's own contract, but for the dataset's name, the partitions and the part format."""
        folder = self._folder / part_format
        folder.mkdir(exist_ok=True)
        text = (
            CONTRACT.read_text()
            .replace("streamlake-orders", f"streamlake-{self.dataset}")
            .replace("- name: orders", f"- name: {self.dataset}")
            .replace("element: orders.", f"element: {self.dataset}.")
            .replace("property: partitions\n    value: 6", f"property: partitions\n    value: {self.partitions}")
        )
        text += f"  - property: partFormat\n    value: {part_format}\n"
        (folder / f"{self.dataset}.v1.odcs.yaml").write_text(text)
        return folder


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """This process' environment without settings of StreamLake: a run has its own."""
    return {name: value for name, value in environment.items() if not name.startswith("STREAMLAKE_")}
