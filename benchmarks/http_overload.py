"""The front door with more clients than it may take: how soon it refuses, and how long the accepted then wait."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles

import psutil
from tests.integration.system import Child, World

CONNECTIONS = 1_024
MAX_INFLIGHT = 128
PROBES = 8
ENOUGH = 100
"""Below so many answers of a kind their p99 is not told."""


@dataclass(frozen=True, slots=True)
class Overload:
    """What `PROBES` ordinary clients see while `CONNECTIONS` others send as fast as they can."""

    connections: int
    max_inflight: int
    accepted: int
    refused: int
    """Answered 503."""
    other: int
    accepted_p99_ms: float | None
    refused_p99_ms: float | None
    rss_mib: float

    def __str__(self) -> str:
        flood = f"With {self.connections:,} connections sending as fast as they can"
        accepted = f"{self.accepted:,} answers 202 (p99 {_ms(self.accepted_p99_ms)})"
        refused = f"{self.refused:,} answers 503 (p99 {_ms(self.refused_p99_ms)})"
        return (
            f"{flood}, and {self.max_inflight} requests allowed in flight, {PROBES} further clients got {accepted}, "
            f"{refused} and {self.other} others; {self.rss_mib:.0f} MiB"
        )


def overload(world: World, path: str, body: bytes, flood: Callable[[str, int], object]) -> Overload:
    """Start an API with a low bound, `flood(url, connections)` it, and ask like everybody else until the flood ends."""
    world.environment["STREAMLAKE_API__MAX_INFLIGHT_REQUESTS"] = str(MAX_INFLIGHT)
    api = world.api()
    del world.environment["STREAMLAKE_API__MAX_INFLIGHT_REQUESTS"]
    over = threading.Event()
    seen: list[tuple[int, float]] = []
    probes = [threading.Thread(target=_probe, args=(api, path, body, over, seen)) for _ in range(PROBES)]
    for probe in probes:
        probe.start()
    flood(f"http://127.0.0.1:{api.port}{path}", CONNECTIONS)
    over.set()
    for probe in probes:
        probe.join()
    rss = psutil.Process(api.process.pid).memory_info().rss / 2**20
    api.kill()
    waits = {status: [ms for each, ms in seen if each == status] for status in (202, 503)}
    return Overload(
        CONNECTIONS,
        MAX_INFLIGHT,
        len(waits[202]),
        len(waits[503]),
        sum(status not in waits for status, _ in seen),
        _p99(waits[202]),
        _p99(waits[503]),
        rss,
    )


def _probe(api: Child, path: str, body: bytes, over: threading.Event, seen: list[tuple[int, float]]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
    while not over.is_set():
        began = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        seen.append((answer.status, (time.perf_counter() - began) * 1000))


def _p99(waits: Sequence[float]) -> float | None:
    return quantiles(waits, n=100)[98] if len(waits) >= ENOUGH else None


def _ms(figure: float | None) -> str:
    return "too few to tell" if figure is None else f"{figure:.0f} ms"
