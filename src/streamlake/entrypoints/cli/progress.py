"""Progress bars on standard error, one below the other; in a pipe or a file there are none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

Report = Callable[[int, int], None]
"""How much is done, of how much."""


def visible(*, show: bool = True) -> bool:
    """Is a bar to be seen? Where standard error is read by a program it would only be debris."""
    return show and sys.stderr.isatty()


def shown_on_terminals(*columns: ProgressColumn, show: bool = True, transient: bool = False) -> Progress:
    """What every bar of a command is made with."""
    return Progress(*columns, console=Console(stderr=True), disable=not visible(show=show), transient=transient)


@contextmanager
def progress_bars(*, show: bool = True) -> Iterator[Callable[[str], Report]]:
    """What makes a bar of a name. Standard output stays as it is: what is printed there may be piped on."""
    shown = shown_on_terminals(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        show=show,
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
