"""Signals that end the demo, at the moments that were found to hurt: within an import, and while a process starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamlake.entrypoints.demo.interrupts import Interrupted, interruptible, uninterrupted

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_the_exit_code_is_ours_also_where_the_signal_falls_into_code_made_from_a_string(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import os, signal, sys\n"
        "from streamlake.entrypoints.demo.interrupts import interruptible\n"
        "try:\n"
        "    with interruptible():\n"
        f"        exec('os.kill(os.getpid(), {number.value})')\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    assert subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path).returncode == 130


@BOTH
def test_what_must_not_be_cut_short_is_done_first(number: signal.Signals) -> None:
    done = []

    def start() -> None:
        with interruptible():
            with uninterrupted():
                signal.raise_signal(number)
                done.append("started")
            done.append("never")

    with pytest.raises(Interrupted):
        start()
    assert done == ["started"]


def test_afterwards_the_signals_mean_what_they_meant() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible(), uninterrupted():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
