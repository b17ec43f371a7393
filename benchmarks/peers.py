"""Other systems that land Kafka in Google Cloud Storage, measured where they are found; none is fetched.

    Redpanda Connect   `redpanda-connect` or `rpk` on PATH
    Kafka Connect      KAFKA_CONNECT_HOME (a Kafka distribution) and KAFKA_CONNECT_PLUGINS (a folder that holds
                       Aiven's GCS sink)

Each is told to write gzipped lines of JSON with payload, key, offset, time and headers in parts of about the size of
StreamLake's. They say nothing of their own times, so the group and the bucket are watched: from the moment the group
has an assignment to the creation of the last object (their commit afterwards is not counted; StreamLake's is).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import LOOK_S, Measured, Run, run_of
from benchmarks.stage import BUCKET, Bucket, Stage, empty_bucket, without_settings

RUN_S = 900.0
PART_RECORDS = 50_000
"""A part of about 8 MiB of these events."""

SINK = "io.aiven.kafka.connect.gcs.GcsSinkConnector"
SINK_NAME = "bench"

Prepared = tuple[Sequence[str], str]
"""The command, and the consumer group it will use."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One system that was found, or not."""

    name: str
    missing: str | None
    prepare: Callable[[Stage, Bucket, Path], Prepared]

    def run(self, stage: Stage, records: int, folder: Path) -> Run:
        """Land the topic once."""
        with empty_bucket() as bucket:
            command, group = self.prepare(stage, bucket, folder)
            stage.forget_group(group)
            child = Measured(command, without_settings(os.environ) | bucket.environment, folder / "peer.log")
            try:
                _watch(child, lambda: stage.is_assigned(group))
                child.begin(time.time())
                _watch(child, lambda: stage.is_landed(group))
                child.done = bucket.last_created()
            finally:
                child.process.terminate()
                child.process.wait(60)
            return run_of([child], records)


def peers() -> list[Peer]:
    """All that are known of."""
    binary = shutil.which("redpanda-connect")
    rpk = shutil.which("rpk")
    start = [binary, "run"] if binary else [rpk or "rpk", "connect", "run"]
    home, plugins = os.environ.get("KAFKA_CONNECT_HOME", ""), os.environ.get("KAFKA_CONNECT_PLUGINS", "")
    script = Path(home) / "bin" / "connect-standalone.sh"
    return [
        Peer(
            "Redpanda Connect",
            None if binary or rpk else "not found: no redpanda-connect or rpk on PATH",
            lambda stage, _, folder: _redpanda_connect(start, stage, folder),
        ),
        Peer(
            "Kafka Connect, Aiven GCS sink",
            None if script.exists() and plugins else "not found: KAFKA_CONNECT_HOME and KAFKA_CONNECT_PLUGINS",
            lambda stage, bucket, folder: _kafka_connect(script, plugins, stage, bucket, folder),
        ),
    ]


def _watch(child: Measured, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RUN_S
    while not condition():
        child.look()
        if child.ended or time.monotonic() > deadline:
            raise RuntimeError(f"{child.log.name}: not done: {child.tail()}")
        time.sleep(5 * LOOK_S)


def _redpanda_connect(start: Sequence[str], stage: Stage, folder: Path) -> Prepared:
    config = folder / "redpanda-connect.yaml"
    config.write_text(REDPANDA_CONNECT.format(stage=stage, bucket=BUCKET, records=PART_RECORDS))
    return [*start, str(config)], "bench-redpanda"


REDPANDA_CONNECT = """\
http: {{enabled: false}}
logger: {{level: WARN}}
input:
  kafka_franz:
    seed_brokers: ["{stage.bootstrap}"]
    topics: ["{stage.topic}"]
    consumer_group: bench-redpanda
    start_from_oldest: true
    checkpoint_limit: 500000
    commit_period: 1s
    batching:
      count: {records}
      period: 2s
      processors:
        - mapping: |
            root.ingestion_id = @ingestion_id
            root.schema_version = @schema_version
            root.producer_service = @producer_service
            root.ingested_at = @ingested_at
            root.topic = @kafka_topic
            root.partition = @kafka_partition
            root.offset = @kafka_offset
            root.timestamp = @kafka_timestamp_ms
            root.key = @kafka_key
            root.payload = this
        - archive: {{format: lines}}
        - compress: {{algorithm: gzip, level: 1}}
output:
  gcp_cloud_storage:
    bucket: {bucket}
    path: raw/${{! @kafka_partition }}-${{! @kafka_offset }}.json.gz
    content_type: application/gzip
    collision_mode: error-if-exists
    timeout: 60s
"""


def _kafka_connect(script: Path, plugins: str, stage: Stage, bucket: Bucket, folder: Path) -> Prepared:
    worker = {
        "bootstrap.servers": stage.bootstrap,
        "plugin.path": plugins,
        "offset.storage.file.filename": str(folder / "connect.offsets"),
        "offset.flush.interval.ms": "2000",
        "listeners": "http://127.0.0.1:0",
        "consumer.auto.offset.reset": "earliest",
        "consumer.max.poll.records": "10000",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
    }
    sink = {
        "name": SINK_NAME,
        "connector.class": SINK,
        "tasks.max": "1",
        "topics": stage.topic,
        "gcs.endpoint": bucket.endpoint,
        "gcs.bucket.name": BUCKET,
        "file.name.prefix": "raw/",
        "file.compression.type": "gzip",
        "file.max.records": str(PART_RECORDS),
        "format.output.type": "jsonl",
        "format.output.fields": "key,value,offset,timestamp,headers",
        "format.output.fields.value.encoding": "none",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
    }
    paths = [_properties(folder / f"{name}.properties", told) for name, told in (("worker", worker), ("sink", sink))]
    return [str(script), *paths], f"connect-{SINK_NAME}"


def _properties(path: Path, told: Mapping[str, str]) -> str:
    path.write_text("".join(f"{name}={value}\n" for name, value in told.items()))
    return str(path)
