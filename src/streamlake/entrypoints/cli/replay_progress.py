"""How a replay is getting on, on standard error: how far, how fast, how long to go, and how live landing is doing."""

from __future__ import annotations

from typing import Self

from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from streamlake.entrypoints.cli.progress import shown_on_terminals
from streamlake.entrypoints.replay_flow import ReplayProgress


class ReplayBar:
    """A progress bar by offsets read; the rate is of records landed."""

    def __init__(self, replay_id: str, *, show: bool) -> None:
        self._progress = shown_on_terminals(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            show=show,
        )
        self._task = self._progress.add_task(replay_id, total=None, told="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show a line of text."""
        self._progress.update(self._task, told=text)

    def end(self, *, complete: bool) -> None:
        """Show that it is over: a rewind reads nothing here, and a repeat may have nothing to read."""
        if complete:
            whole = self._progress.tasks[0].total or 1
            self._progress.update(self._task, completed=whole, total=whole)

    def update(self, now: ReplayProgress) -> None:
        """Show this."""
        elapsed = self._progress.tasks[0].elapsed or 0
        rate = now.landed / elapsed if elapsed else 0
        told = [f"{now.selected:,} selected", f"{now.landed:,} landed", f"{rate:,.0f}/s"]
        if now.live_lag is not None:
            told.append(f"live lag {now.live_lag:,}")
        if now.trouble is not None:
            told.append(f"waiting: {now.trouble[:80]}")
        self._progress.update(self._task, completed=now.offsets, total=now.of_offsets, told=", ".join(told))
