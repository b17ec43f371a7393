"""Runs `streamlake audit` over and over while the world suffers: it may be kept from looking, but never be mistaken.

A process of its own each time, as users run it, past the fault proxy; a broker that goes away just then can abort it
(librdkafka issue 3663), which is no verdict.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter

from tests.integration.system import World

PAUSE_S = 5.0


class Auditor:
    """Audits in a thread until told to stop."""

    def __init__(self, world: World, store_at: str) -> None:
        self.broken: list[str] = []
        """Findings, where there must be none."""
        self.exits: Counter[int | str] = Counter()
        """Audits so far, by exit code."""
        self._world = world
        self._store_at = store_at
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="auditor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more audits."""
        self._stop.set()
        self._thread.join(150)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            self.audit()

    def audit(self, *options: str) -> None:
        """Once, now."""
        arguments = ("audit", "--dataset", self._world.dataset, "--json", "--no-report", *options)
        try:
            done = self._world.cli(*arguments, STORAGE_EMULATOR_HOST=self._store_at)
        except subprocess.TimeoutExpired:
            self.exits["timeout"] += 1
            return
        self.exits[done.returncode] += 1
        if done.returncode == 1:
            self.broken.append(f"the audit has findings: {json.loads(done.stdout)['findings'][:3]}")
