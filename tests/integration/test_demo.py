"""The demo, as a newcomer runs it: it ends with its proof, and leaves nothing running when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from tests.integration.system import wait_until

ROOT = Path(__file__).parents[2]


@contextmanager
def playing(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`streamlake demo` in a folder of its own, with nothing set but where the contracts are."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLAKE_")}
    environment["STREAMLAKE_CONTRACTS"] = str(ROOT / "contracts")
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlake", "demo", *options],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Ctrl-C is heard also where these tests are a background job, which a shell makes deaf to it.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield process
    finally:
        for child in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()


def crew(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The API and the two consumers; fewer while they are being started."""
    return psutil.Process(process.pid).children(recursive=True)


def test_it_proves_itself(tmp_path: Path) -> None:
    with playing(tmp_path, "--events", "3000", "--seed", "7") as process:
        assert process.wait(120) == 0, (tmp_path / "output").read_text()
    told = json.loads((tmp_path / ".streamlake/demo/proof.json").read_text())
    assert (told["missing"], told["duplicated"], told["failures"]) == (0, 0, [])
    assert told["sent"] == sum(told["answers"].values())
    lettered = {stage: sum(told[f"{stage}_letters"].values()) for stage in ("api", "consumer")}
    assert told["answers"]["202"] + told["past_the_api"] == told["landed"] + lettered["consumer"]
    assert told["answers"]["422"] == lettered["api"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    with playing(tmp_path) as process:
        wait_until("three processes", lambda: len(crew(process)) == 3)
        started = crew(process)
        process.send_signal(number)
        assert process.wait(60) == 130
        assert [each for each in started if each.is_running()] == []
