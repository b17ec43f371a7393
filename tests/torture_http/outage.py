"""Does the API stay small while Kafka is away? `python -m tests.torture_http.outage [--seconds n]`, with wrk.

A real broker is frozen under full load of single events and of batches, for two minutes by default. The API's memory
must stay below 300 MiB and be flat in the second half; afterwards it must take events again by itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from shutil import which

import httpx
import psutil
from tests.integration.system import World, wait_until_ready
from tests.services.kafka import KafkaService, ServiceUnavailable, kafka
from tests.torture_http.ledger import Attempt, event_body

UNAVAILABLE = 3
MOST_MIB = 300
FLAT_MIB = 10
BATCH = 500
SCRIPT = """
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/x-ndjson"
local f = io.open("{body}", "rb"); wrk.body = f:read("*a"); f:close()
"""


def main() -> int:
    """0: small and flat; 1: not so; 3: no Kafka or no wrk to be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture_http.outage", description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="how long the broker is away (default: 120)")
    seconds = parser.parse_args().seconds
    if which("wrk") is None:
        print("outage: not run: there is no wrk (on Debian: apt install wrk)")
        return UNAVAILABLE
    try:
        with kafka(faults=True) as service, tempfile.TemporaryDirectory() as folder:
            return outage(service, Path(folder), seconds)
    except ServiceUnavailable as missing:
        print(f"outage: not run: {missing}")
        return UNAVAILABLE


def outage(service: KafkaService, folder: Path, seconds: int) -> int:
    """One run; its exit code."""
    place = {
        "STREAMLAKE_EVENT_LOG": f"kafka://{service.bootstrap}",
        "STREAMLAKE_OBJECT_STORE": f"file://{folder}/lake",
        "STREAMLAKE_LOG_LEVEL": "error",
    }
    world = World(folder, place, f"t{uuid.uuid4().hex[:10]}", "json")
    try:
        assert world.cli("topics", "provision").returncode == 0
        api = world.api()
        url = f"http://127.0.0.1:{api.port}/v1/datasets/{world.dataset}/events"
        loads = [_load(url, 1, 64, seconds + 10, folder), _load(f"{url}:batch", BATCH, 64, seconds + 10, folder)]
        time.sleep(5)
        seen = psutil.Process(api.process.pid)
        before = seen.memory_info().rss / 2**20
        service.pause()
        sizes = []
        for _ in range(seconds):
            time.sleep(1)
            sizes.append(seen.memory_info().rss / 2**20)
        service.resume()
        for load in loads:
            load.wait(90)
        wait_until_ready(api)
        again = httpx.post(url, content=event_body(Attempt(1, 1), "o", broken=None), headers=_json(), timeout=30)
    finally:
        world.close()
    half = sizes[len(sizes) // 2 :]
    grown = half[-1] - half[0]
    passed = max(sizes) <= MOST_MIB and grown <= FLAT_MIB and again.status_code == 202
    print(
        f"outage: {'passed' if passed else 'FAILED'}: {seconds} s, RSS {before:.0f} MiB before,"
        f" {max(sizes):.0f} at most, {grown:+.0f} in the second half; then {again.status_code}"
    )
    return 0 if passed else 1


def _load(url: str, events: int, connections: int, seconds: int, folder: Path) -> subprocess.Popen[bytes]:
    """wrk, sending that many events a request until it is over."""
    body, script = folder / f"body-{events}", folder / f"load-{events}.lua"
    body.write_bytes(b"\n".join(event_body(Attempt(n, 1), f"o-{n}", broken=None) for n in range(events)))
    text = SCRIPT.format(body=body)
    script.write_text(text if events > 1 else text.replace("x-ndjson", "json"))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script), url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _json() -> dict[str, str]:
    return {"content-type": "application/json"}


if __name__ == "__main__":
    sys.exit(main())
