"""The front door with real parts in memory, and fakes for writers that fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from streamlake.adapters.clock.manual import ManualClock
from streamlake.adapters.contract_catalog.odcs import OdcsContractCatalog
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import AppendOutcome, OutgoingRecord
from streamlake.domain.ports.event_log import LogWriter, TopicSpec
from streamlake.domain.use_cases.ingest_events import IngestEvents
from streamlake.entrypoints.http_api import ApiOptions, Readiness, Served, create_app
from streamlake.entrypoints.http_api.server import _listen as listen
from streamlake.entrypoints.http_api.server import server_of
from streamlake.entrypoints.telemetry import ApiMetrics

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: test-{dataset}-{major}
name: {dataset}
version: {major}.0.0
status: active
description: {{purpose: Tests of the front door.}}
schema:
  - name: {dataset}
    properties:
      - {{name: id, logicalType: string, logicalTypeOptions: {{minLength: 1}}, required: true, primaryKey: true}}
      - {{name: amount, logicalType: number, logicalTypeOptions: {{minimum: 0}}, required: {amount_required}}}
"""

JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
GOOD = b'{"id":"a-1", "amount": 1.0}'
TOPICS = ("orders", "refunds")


class AlwaysFails(LogWriter):
    """Every append comes to the same fault, told before `append` returns."""

    def __init__(self, fault: StreamLakeError) -> None:
        self.fault = fault
        self.appended = 0

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        done(self.append_and_wait(records))

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        self.appended += len(records)
        return [self.fault] * len(records)

    def close(self, timeout_s: float) -> None:
        pass


class FailsOnKey(LogWriter):
    """Appends to the log behind it, but the records of one key."""

    def __init__(self, behind: LogWriter, key: bytes, fault: StreamLakeError) -> None:
        self._behind = behind
        self._key = key
        self._fault = fault

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        done(self.append_and_wait(records))

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        return [self._fault if r.key == self._key else self._behind.append_and_wait([r])[0] for r in records]

    def close(self, timeout_s: float) -> None:
        self._behind.close(timeout_s)


class Held(LogWriter):
    """Tells its outcomes from a thread of its own, once `release` is called; `close` decides what is still held."""

    def __init__(self, behind: LogWriter, at_close: StreamLakeError | None = None) -> None:
        self._behind = behind
        self._at_close = at_close
        self._held: list[tuple[Sequence[OutgoingRecord], Callable[[Sequence[AppendOutcome]], None]]] = []
        self.arrived = threading.Semaphore(0)

    def append(self, records: Sequence[OutgoingRecord], done: Callable[[Sequence[AppendOutcome]], None]) -> None:
        self._held.append((records, done))
        self.arrived.release()

    def append_and_wait(self, records: Sequence[OutgoingRecord]) -> Sequence[AppendOutcome]:
        return self._behind.append_and_wait(records)

    def release(self) -> None:
        held, self._held = self._held, []

        def tell() -> None:
            for records, done in held:
                done(self._behind.append_and_wait(records))

        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()

    def close(self, timeout_s: float) -> None:
        held, self._held = self._held, []
        for records, done in held:
            done([self._at_close] * len(records) if self._at_close else self._behind.append_and_wait(records))


@dataclass(frozen=True)
class Stored:
    """A record as it lies in the log."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


class Door:
    """The application over a log in memory; requests go through ASGI, on one event loop, without a socket."""

    def __init__(
        self,
        folder: Path,
        *,
        writer: Callable[[LogWriter], LogWriter] | None = None,
        options: ApiOptions | None = None,
        ready: bool = True,
        topics: Sequence[str] = TOPICS,
    ) -> None:
        options = options or ApiOptions()
        self.clock = ManualClock()
        self.log = MemoryEventLog(self.clock)
        self.catalog = OdcsContractCatalog(contracts(folder))
        for dataset in topics:
            for end in ("raw", "dlq"):
                limit = {"max.message.bytes": str(8 * 1024 * 1024)}
                self.log.admin().create_topic(TopicSpec(f"streamlake.{dataset}.{end}", 3, 1, limit))
        self.writer = writer(self.log.writer()) if writer else self.log.writer()
        self.readiness = Readiness(self.log.admin(), self.catalog.datasets())
        if ready:
            self.readiness.probe()
        self.metrics = ApiMetrics()
        ingest = IngestEvents(self.catalog, self.writer, max_event_bytes=options.max_event_bytes)
        self.app = create_app(ingest, self.catalog, self.clock, self.readiness, options, self.metrics)
        self._runner = asyncio.Runner()

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        answer: httpx.Response = self.run(self.ask(method, path, **given))
        return answer

    def post(self, path: str, content: bytes = GOOD, headers: dict[str, str] = JSON, **given: Any) -> httpx.Response:
        return self.request("POST", path, content=content, headers=headers, **given)

    async def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.request(method, path, **given)

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self._runner.close()

    def stored(self, topic: str) -> list[Stored]:
        """Every record of a topic, partition by partition."""
        found = []
        info = self.log.admin().topics([topic])[topic]
        for partition in range(info.partitions):
            place = TopicPartition(topic, partition)
            high = self.log.admin().watermarks([place])[place].high
            for batch in self.log.reader().read(place, 0, high):
                columns = zip(batch.offsets, batch.keys, batch.values, batch.headers, strict=True)
                found += [Stored(topic, partition, o, k, v, dict(h)) for o, k, v, h in columns]
        return found

    def everything(self) -> list[Stored]:
        return [record for topic in sorted(self.log.admin().topics()) for record in self.stored(topic)]

    def served(self) -> Served:
        return Served(self.app, self.readiness, self.metrics, self.writer.close)


@contextmanager
def listening(door: Door, *, grace_s: float = 5.0) -> Iterator[tuple[int, Any, threading.Thread]]:
    """The real server in a thread, on a free port: port, server, thread."""
    with listen("127.0.0.1", 0) as listener:
        server = server_of(door.served(), grace_s)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1], server, thread
        finally:
            server.should_exit = True
            thread.join(grace_s + 5)


def contracts(folder: Path) -> Path:
    """orders v1 and v2 (which has amount required), and refunds v1."""
    for dataset, major, required in (("orders", 1, "false"), ("orders", 2, "true"), ("refunds", 1, "false")):
        text = CONTRACT.format(dataset=dataset, major=major, amount_required=required)
        (folder / f"{dataset}.v{major}.odcs.yaml").write_text(text)
    return folder
