"""The front door side by side: `python -m benchmarks.http [--seconds n] [--rounds n] [--connections n] [--out FOLDER]`.

wrk sends single events, and batches of 100, to StreamLake and to what it is compared with, each a process of its own,
in turn, on one broker. CPU is the server process' own user and system time; acks=all everywhere.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import httpx
import psutil
from rich.console import Console
from tests.integration.system import Child, World, wait_until
from tests.services.kafka import ServiceUnavailable, free_ports, kafka, spawn

from benchmarks.figures import RESULTS, about
from benchmarks.http_overload import Overload, overload

UNAVAILABLE = 3
OURS = "StreamLake"
PEERS = {"FastAPI and confluent-kafka": "fastapi", "raw ASGI, same producer": "raw", "ASGI hello world": "hello"}
PER_BATCH = 100
EVENT = {
    "order_id": "ord-000042",
    "customer_id": "cus-0007",
    "amount": 99.9,
    "event_time": "2026-01-31T09:30:00Z",
    "currency": "EUR",
    "items": [{"sku": "sku-1", "quantity": 3, "unit_price": 33.3}],
}
REPORT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local f = io.open("{body}", "rb"); wrk.body = f:read("*a"); f:close()
function done(summary, latency)
  io.write(string.format('\\nJSON {{"requests":%d,"us":%d,"bad":%d,"p50":%d,"p99":%d}}\\n', summary.requests,
    summary.duration, summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""

say = Console(stderr=True, highlight=False, soft_wrap=True).print


@dataclass(frozen=True, slots=True)
class Load:
    """One run of one system under one load."""

    system: str
    per_request: int
    per_second: float
    """Events."""
    cpu_us: float
    """Of the server, per event."""
    p50_ms: float
    p99_ms: float
    rss_mib: float
    bad: int
    """Answers that were not 2xx, and broken connections."""


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="how long each load goes on (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each system is measured (default: 3)")
    parser.add_argument("--connections", type=int, default=128, help="connections of wrk (default: 128)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    chosen = parser.parse_args()
    if shutil.which("wrk") is None:
        say("bench-http: not run: there is no wrk (on Debian: apt install wrk)")
        return UNAVAILABLE
    loads: list[Load] = []
    machine = about()
    try:
        with kafka() as service, tempfile.TemporaryDirectory(prefix="streamlake-bench-") as folder:
            place = {
                "STREAMLAKE_EVENT_LOG": f"kafka://{service.bootstrap}",
                "STREAMLAKE_OBJECT_STORE": f"file://{folder}/lake",
            }
            world = World(Path(folder), place, "orders", "json")
            try:
                assert world.cli("topics", "provision").returncode == 0
                for _ in range(chosen.rounds):
                    loads += measure(world, service.bootstrap, chosen.connections, chosen.seconds)
                flooded = _overloaded(world, chosen.seconds)
            finally:
                world.close()
    except ServiceUnavailable as e:
        say(e)
        return UNAVAILABLE
    chosen.out.mkdir(parents=True, exist_ok=True)
    told = {"about": machine, "connections": chosen.connections, "loads": [asdict(load) for load in loads]}
    told["overload"] = asdict(flooded)
    (chosen.out / "http.json").write_text(json.dumps(told, indent=2) + "\n")
    print(table(loads))
    print(flooded)
    return 0


def measure(world: World, bootstrap: str, connections: int, seconds: int) -> list[Load]:
    """Every system once."""
    found = []
    api: Child = world.api()
    found += _loads(OURS, api.process, api.port, world.folder, connections, seconds)
    api.kill()
    for name, which in PEERS.items():
        [port] = free_ports(1)
        with (world.folder / f"{which}.log").open("ab") as log:
            command = [sys.executable, "-m", "benchmarks.http_peers", which, str(port), bootstrap]
            peer = spawn(command, log.fileno())
        wait_until(f"{which} listens", lambda port=port: _listens(port))  # type: ignore[misc]
        found += _loads(name, peer, port, world.folder, connections, seconds)
        peer.kill()
        peer.wait()
    return found


def _loads(
    system: str, process: subprocess.Popen[bytes], port: int, folder: Path, connections: int, seconds: int
) -> list[Load]:
    found = []
    for per_request, path in ((1, "events"), (PER_BATCH, "events:batch")):
        _, script = _scripted(folder, EVENT if per_request == 1 else [EVENT] * per_request)
        url = f"http://127.0.0.1:{port}/v1/datasets/orders/{path}"
        at_once = connections if per_request == 1 else max(1, connections // 8)
        _wrk(url, script, at_once, 2)  # warm
        seen = psutil.Process(process.pid)
        before = seen.cpu_times()
        told = _wrk(url, script, at_once, seconds)
        after = seen.cpu_times()
        events = told["requests"] * per_request
        load = Load(
            system,
            per_request,
            events / (told["us"] / 1e6),
            (after.user + after.system - before.user - before.system) / events * 1e6,
            told["p50"] / 1000,
            told["p99"] / 1000,
            seen.memory_info().rss / 2**20,
            told["bad"],
        )
        found.append(load)
        say(
            f"{system:30} x{per_request:<4} {load.per_second:>9,.0f} events/s  {load.cpu_us:6.1f} us CPU an event"
            f"  p99 {load.p99_ms:6.1f} ms  {load.rss_mib:4.0f} MiB" + (f"  {load.bad} bad" if load.bad else "")
        )
        time.sleep(0.5)  # the broker catches its breath
    return found


def _overloaded(world: World, seconds: int) -> Overload:
    """StreamLake alone, with more connections than it may have requests in flight."""
    body, script = _scripted(world.folder, EVENT)

    def flood(url: str, connections: int) -> None:
        _wrk(url, script, connections, seconds)

    return overload(world, "/v1/datasets/orders/events", body, flood)


def _scripted(folder: Path, sent: object) -> tuple[bytes, Path]:
    """What is sent, and the script that has wrk send it."""
    body, script = folder / "body.json", folder / "load.lua"
    body.write_text(json.dumps(sent))
    script.write_text(REPORT.format(body=body))
    return body.read_bytes(), script


def _wrk(url: str, script: Path, connections: int, seconds: int) -> dict[str, int]:
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "30s",
        "--latency",
        "-s",
        str(script),
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"^JSON (\{.*\})$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    told: dict[str, int] = json.loads(found[1])
    return told


def _listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
    except httpx.TransportError:
        return False
    return True


def table(loads: list[Load]) -> str:
    """Medians over the rounds, as Markdown."""
    lines = [
        "| system | events a request | events/s | CPU, us an event | p50, ms | p99, ms | RSS, MiB |",
        "|" + "---|" * 7,
    ]
    for system, size in dict.fromkeys((load.system, load.per_request) for load in loads):
        runs = [load for load in loads if (load.system, load.per_request) == (system, size)]
        columns = [(run.per_second, run.cpu_us, run.p50_ms, run.p99_ms, run.rss_mib) for run in runs]
        speed, cpu, p50, p99, rss = (median(column) for column in zip(*columns, strict=True))
        lines.append(f"| {system} | {size} | {speed:,.0f} | {cpu:.1f} | {p50:.1f} | {p99:.1f} | {rss:.0f} |")
    return "\n".join(lines)


def load_http(path: Path) -> tuple[list[Load], Overload]:
    """What `main` has written."""
    told = json.loads(path.read_text())
    return [Load(**load) for load in told["loads"]], Overload(**told["overload"])


if __name__ == "__main__":
    sys.exit(main())
