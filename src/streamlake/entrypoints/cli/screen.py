"""Where tables are printed, and how numbers of things are told."""

from __future__ import annotations

import sys

from rich.console import Console

PIPE_COLUMNS = 200


def counted(number: int, thing: str) -> str:
    """`1 part`, `1,000 parts`, `2 prefixes`."""
    plural = "" if number == 1 else "es" if thing.endswith("x") else "s"
    return f"{number:,} {thing}{plural}"


def screen() -> Console:
    """Standard output: as wide as the terminal is; in a pipe or a file so wide that no cell has to be broken.

    Text is printed as it is: a pattern's `[a-z]` is no markup, and `:key:` no emoji. Styles are given as `Text`.
    """
    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, markup=False, emoji=False)
