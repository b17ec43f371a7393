"""StreamLake as its users run it: real processes on real services, watched from outside.

What the observer knows it reads itself: the log's records, the bodies of the parts, the letters' headers. It believes
no claim and no roll-up.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka.admin import AdminClient
from tests.services.kafka import free_ports, spawn

from streamlake.domain.errors import TopicMissing, WorldFault
from streamlake.domain.model.contracts import consumer_group, dlq_topic, raw_topic
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import Header, OutgoingRecord
from streamlake.domain.ports.event_log import EventLog, LogAdmin, LogReader, LogWriter
from streamlake.domain.ports.object_store import BucketStore
from streamlake.domain.use_cases.dead_letters import DeadLetters
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import Settings

Place = tuple[str, int, int]
"""(topic id, partition, offset): a record's identity."""

WAIT_S = 90.0
SPELLINGS = ('"n": 123456789012345678901234567890', '"a": 1, "a": 2', '"u": "\\u00e9\\/"', '"w":  [ 1 ,2 ]')
"""What re-serialising would change: big integers, repeated keys, escapes, white space."""

CONTRACT = Path(__file__).parents[2] / "contracts" / "orders.v1.odcs.yaml"


def wait_until(what: str, condition: Callable[[], object], within_s: float = WAIT_S) -> None:
    """Poll a condition until it holds; fails naming what was waited for. A fault that passes means: not yet."""
    deadline = time.monotonic() + within_s
    while True:
        fault = ""
        try:
            if condition():
                return
        except WorldFault as passing:
            fault = f" ({passing})"
        assert time.monotonic() < deadline, f"waited {within_s:.0f} s in vain: {what}{fault}"
        time.sleep(0.05)


def is_locked(database: Path) -> bool:
    """Does another process hold the sqlite file for writing, and go on holding it?"""
    with closing(sqlite3.connect(database, timeout=1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def delete_topic(admin: AdminClient, name: str) -> None:
    """Delete a topic past StreamLake, which cannot; returns when it is gone."""
    admin.delete_topics([name], operation_timeout=30)[name].result()
    wait_until("the topic is gone", lambda: name not in admin.list_topics(timeout=5).topics, 60)


class Child:
    """One `streamlake` process."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path, port: int) -> None:
        self.port = port
        self.log = log
        command = [sys.executable, "-m", "streamlake", *arguments]
        with log.open("ab") as output:
            self.process: subprocess.Popen[bytes] = spawn(command, output.fileno(), {**os.environ, **environment})

    def send(self, number: signal.Signals) -> None:
        """SIGKILL, SIGSTOP, SIGCONT, SIGTERM ..."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def terminate(self, within_s: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(within_s)

    def get(self, path: str) -> httpx.Response | None:
        """Its HTTP answer, or None while it does not listen."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)
        except httpx.TransportError:
            return None

    def is_ready(self) -> bool:
        """Does `/readyz` answer 200? Fails where the process has ended."""
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        answer = self.get("/readyz")
        return answer is not None and answer.status_code == 200


def wait_until_ready(*children: Child, within_s: float = WAIT_S) -> None:
    """Wait until all of them answer 200 on `/readyz`; fails with what they answer instead, and their last words."""
    try:
        wait_until("all are ready", lambda: all(child.is_ready() for child in children), within_s)
    except AssertionError as waited:
        answers = [answer.text for child in children if (answer := child.get("/readyz")) is not None]
        last_words = [child.log.read_text()[-3000:] for child in children]
        raise AssertionError("\n".join([str(waited), *answers, *last_words])) from None


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Answers:
    """What the API said of every event sent."""

    accepted: dict[str, tuple[int, int]] = field(default_factory=dict)
    """ingestion_id -> (partition, offset)"""
    lettered: dict[str, bytes] = field(default_factory=dict)
    """ingestion_id -> the bytes sent"""
    other: Counter[int] = field(default_factory=Counter)


@dataclass
class Verdict:
    """What an observer finds; `faults` is empty where every promise holds."""

    log: dict[Place, bytes | None]
    landed: Counter[Place]
    payloads: dict[Place, bytes]
    ids: dict[str, Place]
    letters: set[Place]
    api_letters: dict[str, bytes]
    exact: bool = False
    """A format that keeps line breaks; of the others each row is a line."""

    def faults(self) -> dict[str, list[Place]]:
        """Every broken promise with its places."""
        landed = self.landed.keys()
        sent = {p: value or b"" for p, value in self.log.items()}
        if not self.exact:
            sent = {p: _one_line(value) for p, value in sent.items()}
        found = {
            "missing": sorted(self.log.keys() - landed - self.letters),
            "duplicated": sorted(place for place, count in self.landed.items() if count > 1),
            "landed and lettered": sorted(landed & self.letters),
            "phantom": sorted((landed | self.letters) - self.log.keys()),
            "changed": sorted(p for p, body in self.payloads.items() if body != sent.get(p)),
        }
        return {name: places for name, places in found.items() if places}


class World:
    """One dataset on one log and store, with its processes."""

    def __init__(self, folder: Path, environment: Mapping[str, str], dataset: str, part_format: str) -> None:
        self.dataset = dataset
        self.part_format = part_format
        self.folder = folder
        self.group = consumer_group(dataset)
        contracts = folder / "contracts"
        contracts.mkdir()
        text = (
            CONTRACT.read_text()
            .replace("streamlake-orders", f"streamlake-{dataset}")
            .replace("- name: orders", f"- name: {dataset}")
            .replace("element: orders.", f"element: {dataset}.")
        )
        text += f"  - property: partFormat\n    value: {part_format}\n"
        (contracts / f"{dataset}.v1.odcs.yaml").write_text(text)
        self.environment = {**environment, "STREAMLAKE_CONTRACTS": str(contracts), "STREAMLAKE_LOG_LEVEL": "info"}
        # The observer's own appends are to be acknowledged, whatever patience the system under test has.
        with _environment({**self.environment, "STREAMLAKE_KAFKA__DELIVERY_TIMEOUT_MS": "60000"}):
            container = Container(settings=Settings())
            self.event_log: EventLog = container.event_log()
            self.admin: LogAdmin = container.admin()
            self.reader: LogReader = container.reader()
            self.writer: LogWriter = container.writer()
            self.store: BucketStore = container.object_store()
        self._children: list[Child] = []

    def cli(self, *arguments: str, stdin: bytes | None = None, **settings: str) -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end, with these settings beside the world's own."""
        return subprocess.run(
            [sys.executable, "-m", "streamlake", *arguments],
            env={**os.environ, **self.environment, **settings},
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def delete(self, name: str) -> None:
        """Delete an object past StreamLake, which cannot, through the GCS API."""
        bucket, _, prefix = self.environment["STREAMLAKE_OBJECT_STORE"].removeprefix("gs://").partition("/")
        path = quote(f"{prefix}/{name}" if prefix else name, safe="")
        httpx.delete(f"{self.environment['STORAGE_EMULATOR_HOST']}/storage/v1/b/{bucket}/o/{path}").raise_for_status()

    def set_up(self) -> None:
        """Bucket and topics, as an operator makes them."""
        assert self.cli("topics", "provision").returncode == 0
        assert self.cli("doctor", "--create-bucket").returncode == 0

    def api(self, *options: str) -> Child:
        """Start the HTTP API and wait until it is ready."""
        child = self.start_api(*options)
        wait_until_ready(child)
        return child

    def start_api(self, *options: str) -> Child:
        """Start the HTTP API, ready or not."""
        [port] = free_ports(1)
        return self._start("api", ["api", "--port", str(port), *options], port)

    def consumer(self, name: str) -> Child:
        """Start a consumer and wait until it is ready."""
        child = self.start_consumer(name)
        wait_until_ready(child)
        return child

    def start_consumer(self, name: str) -> Child:
        """Start a consumer, ready or not."""
        [port] = free_ports(1)
        return self._start(name, ["consumer", "--dataset", self.dataset, "--http-port", str(port)], port)

    def start(self, name: str, arguments: list[str]) -> Child:
        """Start any command."""
        return self._start(name, arguments, 0)

    def _start(self, name: str, arguments: list[str], port: int) -> Child:
        child = Child(arguments, self.environment, self.folder / f"{name}.log", port)
        self._children.append(child)
        return child

    def close(self) -> None:
        """Nothing is left running."""
        for child in self._children:
            if child.process.poll() is None:
                child.kill()
        self.writer.close(1)
        self.admin.close()
        self.store.close()

    # The observer

    @property
    def lanes(self) -> list[TopicPartition]:
        """The raw topic's partitions."""
        topic = raw_topic(self.dataset)
        return [TopicPartition(topic, n) for n in range(self.admin.topics([topic])[topic].partitions)]

    @property
    def topic_id(self) -> str:
        """The raw topic's id."""
        topic = raw_topic(self.dataset)
        return self.admin.topics([topic])[topic].topic_id

    def append(self, records: Sequence[OutgoingRecord]) -> None:
        """Straight to the log, all acknowledged, though a producer finds a topic made anew a second late."""
        waiting = list(records)

        def all_stored() -> bool:
            nonlocal waiting
            outcomes = self.writer.append_and_wait(waiting)
            refused = [(e, record) for e, record in zip(outcomes, waiting, strict=True) if isinstance(e, Exception)]
            assert not [error for error, _ in refused if not isinstance(error, TopicMissing)]
            waiting = [record for _, record in refused]
            return not waiting

        wait_until("the producer finds the topic", all_stored, 60)

    def freeze(self, child: Child) -> None:
        """SIGSTOP, outside of any write to the embedded log or store: with their one writer everyone would freeze."""
        while True:
            child.send(signal.SIGSTOP)
            wait_until("it is frozen", lambda: psutil.Process(child.process.pid).status() == psutil.STATUS_STOPPED)
            if not any(is_locked(database) for database in self.folder.rglob("*.sqlite")):
                return
            child.send(signal.SIGCONT)

    def members(self) -> int:
        """How many consumers the group has."""
        return len(self.admin.group(self.group).members)

    def committed(self) -> dict[int, int]:
        """Partition -> committed offset."""
        return {lane.partition: at.offset for lane, at in self.admin.group_offsets(self.group, self.lanes).items()}

    def all_committed(self, partitions: Collection[int] | None = None) -> bool:
        """Is every offset of the log committed, or of these partitions?"""
        committed = self.committed()
        lanes = [lane for lane in self.lanes if partitions is None or lane.partition in partitions]
        return all(committed.get(lane.partition, 0) == mark.high for lane, mark in self.admin.watermarks(lanes).items())

    def observe(self) -> Verdict:
        """Everything there is, read record by record."""
        topic_id = self.topic_id
        log: dict[Place, bytes | None] = {}
        for lane, mark in self.admin.watermarks(self.lanes).items():
            for batch in self.reader.read(lane, mark.low, mark.high):
                log.update(zip(((topic_id, lane.partition, o) for o in batch.offsets), batch.values, strict=True))
        landed: Counter[Place] = Counter()
        payloads: dict[Place, bytes] = {}
        ids: dict[str, Place] = {}
        for envelope, payload in self.envelopes():
            if envelope.get("replay_id") is not None:
                continue
            place = (topic_id, envelope["partition"], envelope["offset"])
            landed[place] += 1
            payloads[place] = payload
            ids[envelope["ingestion_id"]] = place
        letters, api_letters = self._letters()
        return Verdict(log, landed, payloads, ids, letters, api_letters, exact=self.part_format == "parquet")

    def parts(self) -> dict[str, int]:
        """Name -> generation of every part there is."""
        found = self.store.list(f"raw/dataset={self.dataset}/")
        return {info.name: info.generation for info in found if "/part-" in info.name}

    def envelopes(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Each row's envelope, parsed, and its payload's bytes as they stand in the body."""
        for name in self.parts():
            body = self.store.read(name)[1]
            if name.endswith(".parquet"):
                yield from _parquet_rows(body)
                continue
            for line in (gzip.decompress(body) if name.endswith(".gz") else body).splitlines():
                _, _, rest = line.partition(b'"payload":')
                yield json.loads(line), rest[:-1]

    def replayed(self, replay_id: str) -> tuple[Counter[Place], set[Place]]:
        """The places of a replay's rows, each with how often it is there, and of its letters."""
        told = [row for row, _ in self.envelopes() if row.get("replay_id") == replay_id]
        rows = Counter((self.topic_id, row["partition"], row["offset"]) for row in told)
        letters = DeadLetters(self.dataset, self.admin, self.reader).ledger().replays.get(replay_id, {})
        places = {(*lane, offset) for lane, runs in letters.items() for run in runs for offset in range(*run)}
        return rows, places

    def _letters(self) -> tuple[set[Place], dict[str, bytes]]:
        topic = dlq_topic(self.dataset)
        consumer: set[Place] = set()
        api: dict[str, bytes] = {}
        lanes = [TopicPartition(topic, n) for n in range(self.admin.topics([topic])[topic].partitions)]
        for lane, mark in self.admin.watermarks(lanes).items():
            for batch in self.reader.read(lane, mark.low, mark.high):
                for value, headers in zip(batch.values, batch.headers, strict=True):
                    told = {name: (text or b"").decode(errors="replace") for name, text in headers}
                    if "dlq_resolution" in told or "dlq_replay_id" in told:
                        continue
                    if told["dlq_stage"] == "api":
                        api[told["ingestion_id"]] = value or b""
                    else:
                        place = (told["dlq_source_partition"], told["dlq_source_offset"])
                        consumer.add((told["dlq_source_topic_id"], int(place[0]), int(place[1])))
        return consumer, api

    def check_committed_has_landed(self) -> None:
        """At any moment: what is committed is landed or lettered. Committed is read first."""
        committed = self.committed()
        seen = self.observe()
        done = seen.landed.keys() | seen.letters
        ahead = [p for p in seen.log if p[2] < committed.get(p[1], 0) and p not in done]
        assert not ahead, f"committed but nowhere: {ahead[:5]}"


class Producer:
    """Posts orders, some of them broken, in a thread until told to stop; every answer is kept."""

    def __init__(self, api: Child, dataset: str, seed: int) -> None:
        self.answers = Answers()
        self.error: BaseException | None = None
        self._url = f"http://127.0.0.1:{api.port}/v1/datasets/{dataset}/events:batch"
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Answers:
        """No more events; what was answered."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.answers

    def _run(self) -> None:
        try:
            with httpx.Client(timeout=60) as client:
                for number in itertools.count():
                    if self._stop.wait(0.01):
                        return
                    self._post(client, [self._event(number, i) for i in range(40)])
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self.error = error

    def _post(self, client: httpx.Client, events: list[bytes]) -> None:
        body, headers = b"\n".join(events), {"Content-Type": "application/x-ndjson"}
        while (answer := client.post(self._url, content=body, headers=headers)).status_code == 503:
            time.sleep(0.2)  # nothing of it is stored: a probe of the log has just failed
        assert answer.status_code in (202, 207), answer.text
        for event, result in zip(events, answer.json()["results"], strict=True):
            if result["status"] == 202:
                self.answers.accepted[result["ingestion_id"]] = (result["partition"], result["offset"])
            elif result["status"] == 422:
                self.answers.lettered[result["ingestion_id"]] = event
            else:
                self.answers.other[result["status"]] += 1

    def _event(self, number: int, i: int) -> bytes:
        """Valid JSON in the many spellings that must survive byte for byte; now and then something broken."""
        dice = self._dice
        key = f"ord-{dice.randrange(500)}"
        amount = dice.choice(["1.0", "1", "1e2", "99999.90", "0.1000"])
        extra = dice.choice(
            ['"n": 123456789012345678901234567890', '"a": 1, "a": 2', '"u": "\\u00e9\\/"', '"w":  [ 1 ,2 ]']
        )
        head = f'{{ "order_id":"{key}", "customer_id": "c{number}-{i}","amount":{amount},'
        good = head + f'"event_time":"2026-01-01T00:00:00Z",{extra}}}'
        if dice.randrange(30) == 0:
            return dice.choice([good[:-5], good.replace('"amount"', '"amt"'), good.replace("ord-", " "), "[]"]).encode()
        return good.encode()


def poison(dataset: str, now_ms: int) -> list[OutgoingRecord]:
    """Records written past the API: some good ones without our headers, and some of each kind of poison."""
    topic = raw_topic(dataset)
    good = b'{"order_id":"past","customer_id":"c","amount":1,\r\n"event_time":"2026-01-01T00:00:00Z"}'
    unknown: list[Header] = [("schema_version", b"v7")]
    records = [OutgoingRecord(topic, b"past", good, [("trace", b"\xff"), ("trace", None)], now_ms) for _ in range(20)]
    records += [
        OutgoingRecord(topic, b"p", value, (), now_ms) for value in (None, b"", b"\xff\xfe", b"{", b"[1]", b"NaN")
    ]
    records.append(OutgoingRecord(topic, b"p", good, unknown, now_ms))
    records.append(OutgoingRecord(topic, b"\xff", good, (), now_ms))
    return records


def _parquet_rows(body: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    table = pq.read_table(pa.BufferReader(body))
    payloads = table.column("payload").cast(pa.binary()).to_pylist()
    yield from zip(table.drop_columns(["payload"]).to_pylist(), payloads, strict=True)


def _one_line(payload: bytes) -> bytes:
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")
