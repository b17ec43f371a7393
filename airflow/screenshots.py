"""The pictures of docs/airflow.md, taken anew from a running Airflow by a headless Chromium (Debian: chromium).

    make airflow-serve                                        (with a dataset that has some records)
    .venv-airflow/bin/python airflow/screenshots.py --dataset orders

Starts one run of streamlake_replay that waits for approval, looks at it, and rejects it: nothing is replayed.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DAG = "streamlake_replay"
PATIENCE_S = 120
STEADY_S = 5
"""Pages of the UI fetch and draw piece by piece; and a run must have waited a while before it is answered."""


class Browser:
    """One page, over the Chrome DevTools Protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    def call(self, method: str, **params: Any) -> Any:
        """One command and its answer."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(PATIENCE_S))
            if told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return told["result"]

    def run(self, script: str) -> Any:
        """The value of some JavaScript."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, url: str, shows: str) -> None:
        """Go there and wait for a text."""
        self.call("Page.navigate", url=url)
        _wait(f"{shows!r} on {url}", lambda: shows in (self.run("document.body && document.body.innerText") or ""))

    def shoot(self, path: Path) -> None:
        """What is to be seen, once it keeps still."""
        time.sleep(STEADY_S)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        print(f"{path}: {path.stat().st_size:,} bytes")


@contextmanager
def chromium(width: int, height: int) -> Iterator[Browser]:
    """A headless Chromium with one empty page, and a profile that is forgotten."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        size = [f"--window-size={width},{height}", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            ["chromium", *options, *size, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            _wait("chromium", port_file.exists)
            port = port_file.read_text().splitlines()[0]
            pages = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=30).json()
            page = next(each for each in pages if each["type"] == "page")
            with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
                browser = Browser(socket)
                metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                browser.call("Emulation.setDeviceMetricsOverride", **metrics)
                yield browser
        finally:
            process.terminate()
            process.wait(30)


class Api:
    """Airflow's REST API, as whoever is at the keyboard."""

    def __init__(self, url: str) -> None:
        token = httpx.get(f"{url}/auth/token", timeout=30).json()["access_token"]
        self._client = httpx.Client(
            base_url=f"{url}/api/v2/dags/{DAG}/", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request."""
        return self._client.request(method, path, json=body).raise_for_status().json()


def main(arguments: Sequence[str]) -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8090")
    parser.add_argument("--dataset", default="orders")
    parser.add_argument("--out", type=Path, default=IMAGES)
    chosen = parser.parse_args(arguments)
    api = Api(chosen.url)
    conf = {"dataset": chosen.dataset, "offsets": ["0", "1"], "dry_run": False}
    run = api.ask("POST", "dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
    approval = f"dagRuns/{run}/taskInstances/approval"
    _wait("the question", lambda: api.ask("GET", approval)["state"] == "awaiting_input")
    with chromium(1100, 1860) as browser:
        browser.open(f"{chosen.url}/dags/{DAG}", "Trigger")
        browser.run("[...document.querySelectorAll('button')].find(b => b.innerText.trim() == 'Trigger').click()")
        _wait("the form", lambda: "dry_run" in (browser.run("document.body.innerText") or ""))
        browser.shoot(chosen.out / "airflow-params.png")
    with chromium(1440, 760) as browser:
        browser.open(f"{chosen.url}/dags/{DAG}", "Trigger")
        browser.run("localStorage.setItem('default_dag_view', JSON.stringify('graph'))")
        browser.open(f"{chosen.url}/dags/{DAG}/runs/{run}", "approval")
        browser.shoot(chosen.out / "airflow-graph.png")
    answer = {"chosen_options": ["Reject"], "params_input": {}}
    api.ask("PATCH", f"{approval}/-1/hitlDetails", answer)
    return 0


def _wait(what: str, condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S} s in vain: {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
