"""A client with patience: events, singly and in batches, each sent with its key until its fate is certain."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import httpx
from tests.torture_http.ledger import NO_ANSWER, SERVICE, STORED, Attempt, Ledger, event_body

AT_ONCE = 96
LARGEST_BATCH = 200
PAUSE_S = 0.3
ANSWER_S = 40.0


class Sender:
    """Sends `events` events at about `per_second`; every answer is in `ledger`."""

    def __init__(self, port: int, ledger: Ledger, seed: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/datasets/{ledger.dataset}/events"
        self._ledger = ledger
        self._dice = random.Random(seed)
        self._seed = seed

    async def send(self, events: int, per_second: float) -> None:
        """Until every event is stored, in the log or in the dead-letter topic."""
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        room = asyncio.Semaphore(AT_ONCE)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with httpx.AsyncClient(limits=limits, timeout=ANSWER_S) as client, asyncio.TaskGroup() as tasks:
            sent = 0
            while sent < events:
                size = 1 if self._dice.random() < 0.6 else self._dice.randint(2, LARGEST_BATCH)
                batch = range(sent, min(events, sent + size))
                sent = batch.stop
                await asyncio.sleep(max(0.0, began + sent / per_second - loop.time()))
                await room.acquire()
                tasks.create_task(self._settle(client, batch, room, single=size == 1))

    async def _settle(self, client: httpx.AsyncClient, events: range, room: asyncio.Semaphore, *, single: bool) -> None:
        """One request, again and again: a batch is repeated whole, in its order, with its key."""
        try:
            token = f"{self._seed}-{events.start}"
            for number in range(1, 1000):
                attempts = [Attempt(event, number) for event in events]
                bodies = [self._body(attempt) for attempt in attempts]
                statuses = await self._once(client, attempts, bodies, token, single)
                if all(status in STORED for status in statuses):
                    self._ledger.settled += len(events)
                    return
                await asyncio.sleep(PAUSE_S)
        finally:
            room.release()

    async def _once(
        self,
        client: httpx.AsyncClient,
        attempts: Sequence[Attempt],
        bodies: Sequence[bytes],
        token: str,
        single: bool,
    ) -> Sequence[int]:
        media = "application/json" if single else "application/x-ndjson"
        headers = {"content-type": media, "idempotency-key": token, "x-producer-service": SERVICE}
        url = self._url if single else f"{self._url}:batch"
        note = self._ledger.note
        try:
            answer = await client.post(url, content=b"\n".join(bodies), headers=headers)
        except httpx.TransportError:
            self._ledger.http[NO_ANSWER] += 1
            for index, (attempt, body) in enumerate(zip(attempts, bodies, strict=True)):
                note(attempt, body, token, None if single else index, NO_ANSWER, {})
            return [NO_ANSWER]
        self._ledger.http[answer.status_code] += 1
        told = answer.json()
        if single or "results" not in told:  # the request as a whole
            for index, (attempt, body) in enumerate(zip(attempts, bodies, strict=True)):
                note(attempt, body, token, None if single else index, answer.status_code, told)
            return [answer.status_code]
        self._check(answer.status_code, told, len(bodies))
        for index, (attempt, body, entry) in enumerate(zip(attempts, bodies, told["results"], strict=False)):
            note(attempt, body, token, index, entry["status"], entry)
        return [entry["status"] for entry in told["results"]]

    def _check(self, status: int, told: dict[str, object], events: int) -> None:
        """One entry per event, and in order: the ids say so (`Ledger`), the offsets of a partition ascend."""
        results = told["results"]
        assert isinstance(results, list)
        good = [(e["partition"], e["offset"]) for e in results if e["status"] == 202]
        if len(results) != events or (status == 202) != (len(good) == events):
            self._ledger.broken.append(f"a batch of {events}: {status} with {len(results)} results, {len(good)} good")
        lanes = {partition for partition, _ in good}
        for offsets in ([offset for p, offset in good if p == lane] for lane in lanes):
            if offsets != sorted(offsets):
                self._ledger.broken.append("a batch's events are out of order within their partition")

    def _body(self, attempt: Attempt) -> bytes:
        dice = random.Random(attempt.event * 7919 + self._seed)
        broken = dice.choice(["violation", "malformed"]) if dice.random() < 0.03 else None
        return event_body(attempt, f"o-{dice.randrange(997)}", broken=broken)
