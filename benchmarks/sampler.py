"""`python -m benchmarks.sampler OUT consumer ...`: runs `streamlake consumer ...` and says where its CPU time goes.

A thread looks at every other thread's stack each few milliseconds and books what CPU time that thread has used since
(its own clock's, so a thread that waits costs nothing, and one inside C code that has let go of the GIL costs what it
really does). What no Python thread has used, librdkafka's threads have: fetching, checking, unpacking. Nothing is
traced, so small functions are not made to look dear. Starting up, on the main thread, is left out.
"""

from __future__ import annotations

import json
import linecache
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from streamlake.entrypoints.cli import main

PERIOD_S = 0.002
SWITCH_S = 0.0005
"""How soon a busy thread lets this one in: at Python's 5 ms it would mostly see where threads let go by themselves."""

NATIVE = "fetch (librdkafka's threads)"
REST = "rest"

STAGES = (
    ("poll", ("/event_log/",)),
    ("compress", ()),  # by the source line: see `stage_of`
    ("envelope", ("/part_format/", "/model/envelope_line")),
    ("validate", ("/contract_catalog/", "judge_records", "/model/contracts", "/model/envelope", "/pydantic/")),
    ("upload", ("/object_store/", "/requests/", "/urllib3/", "/http/client", "/google/cloud/", "/socket.py")),
    ("gather rows", ("land_records", "/model/snapshots", "/model/rows")),
    ("part log", ("part_log", "roll_up", "/model/parts", "/model/positions")),
)
"""A stack belongs to the first stage, from the innermost frame outwards, that one of its files names."""


class Sampler:
    """CPU seconds by stage, by source line and by thread."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self.threads: Counter[str] = Counter()
        self._seen: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._began = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> dict[str, object]:
        """What was found."""
        self._ended.set()
        self._thread.join()
        native = time.process_time() - sum(self._seen.values())
        self.stages[NATIVE] = self.threads[NATIVE] = max(0.0, native)  # type: ignore[assignment]  # seconds
        return {
            "wall_s": time.monotonic() - self._began,
            "stages": dict(self.stages.most_common()),
            "threads": dict(self.threads.most_common()),
            "lines": dict(self.lines.most_common(40)),
        }

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S):
            frames = sys._current_frames()  # noqa: SLF001 - there is no other way to another thread's stack
            for thread in threading.enumerate():
                if thread.ident is not None and (frame := frames.get(thread.ident)) is not None:
                    self._book(thread, thread.ident, frame)

    def _book(self, thread: threading.Thread, ident: int, frame: FrameType) -> None:
        try:
            now = time.clock_gettime(time.pthread_getcpuclockid(ident))
        except OSError:
            return
        used = now - self._seen.get(ident, 0.0)
        self._seen[ident] = now
        if thread is self._thread or thread is threading.main_thread():
            return
        if not self._began:
            self._began = time.monotonic()
        self.threads[thread.name] += used  # type: ignore[assignment]
        self.stages[stage_of(frame)] += used  # type: ignore[assignment]
        self.lines[_place(_ours(frame))] += used  # type: ignore[assignment]


def stage_of(frame: FrameType | None) -> str:
    """Which stage a stack belongs to."""
    if frame is not None and _line(frame).find("compress(") >= 0:
        return "compress"
    while frame is not None:
        file = frame.f_code.co_filename
        for stage, marks in STAGES:
            if any(mark in file for mark in marks):
                return stage
        frame = frame.f_back
    return REST


def _ours(frame: FrameType) -> FrameType:
    """The innermost frame in StreamLake's own code."""
    inner: FrameType | None = frame
    while inner is not None and "/streamlake/" not in inner.f_code.co_filename:
        inner = inner.f_back
    return inner or frame


def _line(frame: FrameType) -> str:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()


def _place(frame: FrameType) -> str:
    file = frame.f_code.co_filename.rpartition("/streamlake/")[2]
    return f"{file}:{frame.f_lineno} {_line(frame)[:80]}"


if __name__ == "__main__":
    out, sys.argv = Path(sys.argv[1]), ["streamlake", *sys.argv[2:]]
    sys.setswitchinterval(SWITCH_S)
    sampler = Sampler()
    sampler.start()
    try:
        main()
    finally:
        out.write_text(json.dumps(sampler.stop(), indent=2))
