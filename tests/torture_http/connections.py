"""Ten thousand idle connections, and is anybody kept out? `python -m tests.torture_http.connections [--count n]`.

Real `streamlake api` on the embedded log; the connections are opened and say nothing, while events are sent on another.
"""

from __future__ import annotations

import argparse
import resource
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

import httpx
import psutil
from tests.integration.system import World
from tests.torture_http.ledger import Attempt, event_body

EVENTS = 200
SPARE = 512
LONGEST_S = 1.0


def main() -> int:
    """0: every event was accepted, each within a second; 1: not so; 3: this many files may not be open here."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture_http.connections", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="idle connections (default: 10000)")
    count = parser.parse_args().count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + SPARE:
        print(f"connections: not run: {count + SPARE} open files are needed, {hard} are allowed")
        return 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + SPARE), hard))  # the API inherits it
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        place = {"STREAMLAKE_EVENT_LOG": f"sqlite://{folder}/log", "STREAMLAKE_OBJECT_STORE": f"file://{folder}/lake"}
        world = World(Path(folder), place, "idle", "json")
        held.callback(world.close)
        world.set_up()
        api = world.api()
        process = psutil.Process(api.process.pid)
        before = process.memory_info().rss
        client = held.enter_context(httpx.Client(timeout=30))
        url = f"http://127.0.0.1:{api.port}/v1/datasets/idle/events"
        statuses, seconds = set[int](), list[float]()
        began = time.monotonic()
        for number in range(count):
            held.enter_context(socket.create_connection(("127.0.0.1", api.port), timeout=10))
            if number % (count // EVENTS) == 0:
                sent = time.monotonic()
                body = event_body(Attempt(number, 1), f"o-{number}", broken=None)
                statuses.add(client.post(url, content=body, headers={"content-type": "application/json"}).status_code)
                seconds.append(time.monotonic() - sent)
        opened = sum(link.status == psutil.CONN_ESTABLISHED for link in process.net_connections("tcp"))
        grown = (process.memory_info().rss - before) / 2**20
        took = time.monotonic() - began
    passed = statuses == {202} and max(seconds) < LONGEST_S and opened >= count
    p99 = quantiles(seconds, n=100)[98] * 1000
    print(
        f"connections: {'passed' if passed else 'FAILED'}: {opened:,} open after {took:.0f} s, {len(seconds)} events"
        f" answered {sorted(statuses)}, p99 {p99:.0f} ms, longest {max(seconds) * 1000:.0f} ms; {grown:.0f} MiB more"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
