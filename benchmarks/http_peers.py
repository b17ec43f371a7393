"""What StreamLake's front door is measured beside: `python -m benchmarks.http_peers hello|raw|fastapi PORT BOOTSTRAP`.

hello     an ASGI handler that answers at once: the floor of uvicorn on this machine
raw       an ASGI handler with the same producer: produce, await the delivery report, answer. It validates nothing
fastapi   what everybody writes first: FastAPI, a pydantic model, confluent-kafka, a future per event
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import orjson
import uvicorn
from confluent_kafka import Producer
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from streamlake.adapters.event_log.kafka.config import KafkaConfig

TOPIC = "streamlake.orders.raw"
JSON = [(b"content-type", b"application/json")]


class Reports:
    """The producer, and a thread that serves its delivery reports one by one."""

    def __init__(self, bootstrap: str) -> None:
        self.producer = Producer(KafkaConfig(bootstrap, {}).producer())
        threading.Thread(target=self._serve, daemon=True).start()

    async def stored(self, key: bytes, values: list[bytes]) -> list[int]:
        """Offsets, once all are acknowledged."""
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[int]] = []
        for value in values:
            future: asyncio.Future[int] = loop.create_future()

            def report(error: Any, message: Any, future: asyncio.Future[int] = future) -> None:
                assert error is None
                loop.call_soon_threadsafe(future.set_result, message.offset())

            self.producer.produce(TOPIC, value, key, on_delivery=report)
            waiting.append(future)
        return list(await asyncio.gather(*waiting))

    def _serve(self) -> None:
        while True:
            self.producer.poll(0.1)


class Order(BaseModel):
    """What `orders` has at least."""

    order_id: str
    customer_id: str
    amount: float
    event_time: str


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """202 and nothing else."""
    await receive()
    await send({"type": "http.response.start", "status": 202, "headers": [*JSON, (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


def raw(reports: Reports) -> ASGIApp:
    """A body, or its elements, straight to Kafka."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        batch = scope["path"].endswith(":batch")
        values = [orjson.dumps(each) for each in orjson.loads(body)] if batch else [body]
        told = orjson.dumps({"offsets": await reports.stored(b"k", values)})
        length = (b"content-length", b"%d" % len(told))
        await send({"type": "http.response.start", "status": 202, "headers": [*JSON, length]})
        await send({"type": "http.response.body", "body": told})

    return app


def plain_fastapi(reports: Reports) -> FastAPI:
    """The usual application."""
    app = FastAPI()

    @app.post("/v1/datasets/orders/events", status_code=202)
    async def one(order: Order) -> dict[str, list[int]]:
        return {"offsets": await reports.stored(order.order_id.encode(), [order.model_dump_json().encode()])}

    @app.post("/v1/datasets/orders/events:batch", status_code=202)
    async def many(orders: list[Order]) -> dict[str, list[int]]:
        return {"offsets": await reports.stored(b"k", [order.model_dump_json().encode() for order in orders])}

    return app


def main(which: str, port: str, bootstrap: str) -> None:
    """Serve until killed."""
    app: Any = hello if which == "hello" else {"raw": raw, "fastapi": plain_fastapi}[which](Reports(bootstrap))
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", log_level="error", lifespan="off")


if __name__ == "__main__":
    main(*sys.argv[1:])
