"""Whatever a process does to the world is an effect: it stops there, and the scheduler decides what becomes of it.

    the process asks --> pending --> applied --> the reply arrives
                           |            `------> the reply is lost: the process sees a fault
                           |-----------> failed: nothing happened
                           `-----------> late: the process sees a fault now, and it is applied some time afterwards

Between any two of these any other process may run, or this one may stall or die.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from tests.simulation.process import Process

T = TypeVar("T")


class Fate(Enum):
    """What becomes of an effect."""

    DONE = "done"
    FAILED = "failed, nothing happened"
    LOST = "applied, the reply is lost"
    LATE = "timed out, will be applied later"
    DENIED = "denied"


class Task(greenlet):  # type: ignore[misc]  # greenlet has no types
    """One thread of a process. It runs until its next effect."""

    def __init__(self, process: Process, name: str, run: Callable[[], None]) -> None:
        super().__init__(run)
        self.process = process
        self.name = name
        self.kind = "start"
        """What it waits for: an effect's kind, or `wait`."""
        self.target = ""
        self.apply: Callable[..., Any] = lambda: None
        self.arguments: tuple[Any, ...] = ()
        self.ready: Callable[[], bool] | None = None
        """Of a `wait`: whether there is anything to go on for."""
        self.answered = False
        self.answer: Any = None
        self.fault: BaseException | None = None

    def go_on(self) -> None:
        """Give it its answer, and run it up to its next effect."""
        answer, fault = self.answer, self.fault
        self.answered, self.answer, self.fault = False, None, None
        if fault is not None:
            self.throw(fault)
        elif self.kind == "start":
            self.switch()
        else:
            self.switch(answer)


def effect(kind: str, target: str, apply: Callable[..., T], *arguments: Any) -> T:
    """Do something to the world, sooner or later; returns its result or raises what the world answered."""
    task = cast(Task, getcurrent())
    task.kind, task.target, task.apply, task.arguments = kind, target, apply, arguments
    return cast(T, task.parent.switch())


def current() -> Task:
    """The task that is running."""
    return cast(Task, getcurrent())


def wait(ready: Callable[[], bool] | None = None) -> None:
    """Sleep. The scheduler wakes it when `ready`, or some time or other."""
    task = cast(Task, getcurrent())
    task.kind, task.target, task.ready = "wait", "", ready
    task.parent.switch()


class Queue(Generic[T]):
    """`queue.SimpleQueue` between the tasks of a process."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()

    def put(self, item: T) -> None:
        self._items.append(item)

    def get(self, timeout: float | None = None) -> T:
        """As SimpleQueue's: `queue.Empty` after a while."""
        if not self._items:
            wait(self._items.__len__)  # type: ignore[arg-type]
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def empty(self) -> bool:
        return not self._items


class Event:
    """`threading.Event` of a process."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Sleeps unless it is set."""
        if not self._set:
            wait(lambda: True)
        return self._set
