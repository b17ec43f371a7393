"""Ctrl-C and SIGTERM, heard between two steps of the demo: whenever they come nothing is left running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from streamlake.entrypoints.signals import handled_by

Hear = Callable[[], None]
"""Called between two steps. Raises `KeyboardInterrupt`, once, where a signal has come."""


@contextmanager
def interruptible() -> Iterator[Hear]:
    """Both signals end this at the next `Hear`, at the latest at its own end. On the main thread only.

    The first one does not raise where it falls: within a finalizer, or the callback of a weak reference (every import
    has one), its exception would be lost and the demo play on; and a process just started would be known to nobody.
    Once it has been heard, a second one raises at once: what is being ended may take too long.
    """
    came = heard = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        if heard:
            raise KeyboardInterrupt

    def hear() -> None:
        nonlocal heard
        if came and not heard:
            heard = True
            raise KeyboardInterrupt

    with handled_by(note):
        yield hear
        hear()
