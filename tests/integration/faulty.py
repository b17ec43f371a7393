"""A world whose storage can fail: real Kafka, and a fault proxy between the processes and the store.

What the observer reads it reads past the proxy. `PatientProducer` goes on whatever the API does, and remembers.
"""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Place
from tests.integration.system import Child, Producer, World
from tests.services.fault_proxy import FaultProxy
from tests.services.faults import Faults
from tests.services.kafka import free_ports

from streamlake.adapters.object_store.gcs import GcsObjectStore
from streamlake.domain.errors import LogUnavailable
from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.parts import parse_part_name
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.ports.object_store import ObjectInfo
from streamlake.entrypoints.landing_thread import PROBE_S

SESSION_S = 6.0
STORE_TIMEOUT_S = 3
NOTICED_S = PROBE_S - 5
HEALED_S = PROBE_S + 20
"""What is noticed needs no probe; what has been mended is found so by the first probe, and not only by the second."""

QUICK = {
    "STREAMLAKE_LANDING__MAX_AGE_S": "1",
    "STREAMLAKE_GCS__TIMEOUT_S": str(STORE_TIMEOUT_S),
    "STREAMLAKE_KAFKA__DELIVERY_TIMEOUT_MS": "8000",
    "STREAMLAKE_KAFKA__TOPIC_METADATA_REFRESH_INTERVAL_MS": "3000",
}
CLASSIC = {
    "STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS": str(int(SESSION_S * 1000)),
    "STREAMLAKE_KAFKA__HEARTBEAT_INTERVAL_MS": "1000",
}
KIP_848 = {"STREAMLAKE_KAFKA__GROUP_PROTOCOL": "consumer"}
"""The session is the broker's then: 6 s in the tests' Kafka as well."""


class FaultyWorld(World):
    """A `World` on Kafka and on a store behind a fault proxy. Nothing is waited for when processes start."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        proxy: FaultProxy,
        upstream: str,
        dataset: str,
        extra: Mapping[str, str] = CLASSIC,
    ) -> None:
        url = f"gs://{dataset}/some/prefix"
        environment = {
            "STREAMLAKE_EVENT_LOG": f"kafka://{bootstrap}",
            "STREAMLAKE_OBJECT_STORE": url,
            "STORAGE_EMULATOR_HOST": proxy.endpoint,
        }
        super().__init__(folder, {**environment, **QUICK, **extra}, dataset, "json.gz")
        self.faults: Faults = proxy.faults
        self._onlooker = Consumer({"bootstrap.servers": bootstrap, "group.id": self.group, "log_level": 0})
        self.store.close()
        at = urlsplit(url)
        self.store = GcsObjectStore(at.netloc, at.path, endpoint=upstream)

    def committed(self) -> dict[int, int]:
        """Asked as a member would, without joining: the admin call for it aborts the whole process where a broker goes
        away just then (librdkafka issue 3663)."""
        lanes = self.lanes
        asked = [Place(lane.topic, lane.partition) for lane in lanes]
        try:
            answers = self._onlooker.committed(asked, timeout=10)
        except KafkaException as e:
            raise LogUnavailable(str(e.args[0])) from e
        if failed := [str(answer.error) for answer in answers if answer.error is not None]:
            raise LogUnavailable(failed[0])
        return {answer.partition: answer.offset for answer in answers if answer.offset >= 0}

    def close(self) -> None:
        self._onlooker.close()
        super().close()

    def launch(self, name: str, *arguments: str, port: int = 0) -> Child:
        """Start a process, ready or not; `port` is the one it had before."""
        port = port or free_ports(1)[0]
        option = "--port" if arguments[0] == "api" else "--http-port"
        return self._start(name, [*arguments, option, str(port)], port)

    def part_infos(self) -> list[ObjectInfo]:
        """Every part there is, with its metadata."""
        return [info for info in self.store.list(f"raw/dataset={self.dataset}/") if parse_part_name(info.name)]

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each landed row with the name of its part, parsed."""
        for info in self.part_infos():
            for line in gzip.decompress(self.store.read(info.name)[1]).splitlines():
                yield info.name, json.loads(line)

    def launch_consumer(self, name: str) -> Child:
        """Start a consumer, ready or not."""
        return self.launch(name, "consumer", "--dataset", self.dataset)


def log_lines(path: Path) -> Iterator[dict[str, Any]]:
    """A process' log lines; what is no JSON object (a traceback of the interpreter) is left out."""
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            yield told


def problems(child: Child) -> list[str] | None:
    """What `/readyz` names as problems; None while it does not answer."""
    answer = child.get("/readyz")
    return None if answer is None else list(answer.json().get("problems", []))


def good(label: str) -> bytes:
    """A valid event that can be told from others."""
    return f'{{"order_id":"o","customer_id":"{label}","amount":1,"event_time":"2026-01-01T00:00:00Z"}}'.encode()


def write(world: World, values: Sequence[bytes], partition: int | None = None, at_s: float | None = None) -> None:
    """Straight to the log, all acknowledged; round robin over the partitions or to one of them, stamped now or then."""
    topic, at_ms, lanes = raw_topic(world.dataset), int((at_s or time.time()) * 1000), len(world.lanes)
    places = [number % lanes if partition is None else partition for number in range(len(values))]
    records = [OutgoingRecord(topic, b"k", v, (), at_ms, at) for v, at in zip(values, places, strict=True)]
    world.append(records)


class PatientProducer(Producer):
    """Posts at a pace, and takes every refusal, time-out and reset as an answer."""

    def __init__(self, api: Child, dataset: str, seed: int, *, pace_s: float, batch: int = 40) -> None:
        self.silences: Counter[str] = Counter()
        """Requests without an answer, by what was heard instead."""
        self._pace_s = pace_s
        self._batch = batch
        super().__init__(api, dataset, seed)

    def _run(self) -> None:
        try:
            number = 0
            with httpx.Client(timeout=15) as client:
                while not self._stop.wait(self._pace_s):
                    self._try(client, [self._event(number, i) for i in range(self._batch)])
                    number += 1
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self.error = error

    def _try(self, client: httpx.Client, events: list[bytes]) -> None:
        content = b"\n".join(events)
        try:
            answer = client.post(self._url, content=content, headers={"Content-Type": "application/x-ndjson"})
        except httpx.TransportError as e:
            self.silences[type(e).__name__] += 1
            self._stop.wait(0.2)
            return
        if answer.status_code not in (202, 207):
            self.answers.other[answer.status_code] += len(events)
            self._stop.wait(0.2)
            return
        for event, result in zip(events, answer.json()["results"], strict=True):
            if result["status"] == 202:
                self.answers.accepted[result["ingestion_id"]] = (result["partition"], result["offset"])
            elif result["status"] == 422:
                self.answers.lettered[result["ingestion_id"]] = event
            else:
                self.answers.other[result["status"]] += 1
