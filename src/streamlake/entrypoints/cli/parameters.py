"""What several commands take: dates, replay ids, and who calls."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable

import click

from streamlake.domain.model.replay_plans import check_replay_id
from streamlake.domain.model.selections import parse_date, parse_dates


class Checked(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 has no generic one
    """Text as it was typed, once the domain has found nothing wrong with it."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name = name
        self._check = check

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself; what the domain refuses was typed wrong."""
        try:
            self._check(value)
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)
        return value


DATE = Checked("date", parse_date)
DATES = Checked("date[..date]", parse_dates)
REPLAY_ID = Checked("id", check_replay_id)


def caller() -> str:
    """The name of who runs this; in a container there may be only a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a passwd entry, and no USER or LOGNAME: an OSError from Python 3.13 on
        return f"uid {os.getuid()}"
