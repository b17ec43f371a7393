"""Ctrl-C and SIGTERM, so that whenever they come nothing is left running."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from streamlake.entrypoints.signals import handled_by


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. Of a type of its own, or the exit code were not ours to choose:

    CPython ends by SIGINT whatever `sys.exit` says, where a plain KeyboardInterrupt has passed code made from a string
    (`exec` within an import, of a dataclass say; `_Py_UnhandledKeyboardInterrupt` in its Python/pythonrun.c).
    """


@contextmanager
def interruptible() -> Iterator[None]:
    """Both signals raise `Interrupted`: the demo ends through every `finally`. On the main thread only."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    with handled_by(interrupt):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Both signals wait for the end of this: a process must not be started and then be known to nobody."""
    came: list[int] = []
    try:
        with handled_by(lambda number, _frame: came.append(number)):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)
