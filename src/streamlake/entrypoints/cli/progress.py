"""Progress bars on standard error, one below the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

Report = Callable[[int, int], None]
"""How much is done, of how much."""


@contextmanager
def progress_bars(*, show: bool) -> Iterator[Callable[[str], Report]]:
    """What makes a bar of a name. Standard output stays as it is: what is printed there may be piped on."""
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not show,
    )

    def bar(name: str) -> Report:
        task: list[TaskID] = []

        def report(done: int, total: int) -> None:
            if total and not task:  # no bar for what has nothing to do
                task.append(shown.add_task(name, total=total))
            for each in task:
                shown.update(each, completed=done, total=total)

        return report

    with shown:
        yield bar
