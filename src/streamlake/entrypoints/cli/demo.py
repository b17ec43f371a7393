"""`streamlake demo`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from streamlake.domain.errors import SettingsInvalid
from streamlake.entrypoints.settings import Settings, load_settings

FOLDER = Path(".streamlake/demo")


@click.command()
@click.option("--events", default=20_000, show_default=True, type=click.IntRange(1), help="How many flights to send.")
@click.option("--seed", default=2013, show_default=True, help="Which of them are broken.")
@click.option("--as-set", is_flag=True, help="On the log and store of the settings, not on embedded ones of its own.")
def demo(events: int, seed: int, as_set: bool) -> None:
    """Send real flights through real processes, kill one, and prove that every record landed exactly once."""
    try:
        from streamlake.entrypoints.demo import play
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(f"the demo needs `pip install streamlake[api] httpx` ({missing})") from None
    environment = _environment(as_set)
    os.environ.update(environment)
    holds = play(FOLDER, load_settings(), environment, events=events, seed=seed)
    raise click.exceptions.Exit(0 if holds else 1)


def _environment(as_set: bool) -> dict[str, str]:
    here = FOLDER.absolute()
    given = {"STREAMLAKE_LANDING__MAX_AGE_S": "2", "STREAMLAKE_CONTRACTS": str(Settings().contracts.absolute())}
    if as_set:
        return given | {"STREAMLAKE_KAFKA__SESSION_TIMEOUT_MS": "6000"}
    shutil.rmtree(FOLDER, ignore_errors=True)
    return given | {
        "STREAMLAKE_EVENT_LOG": f"sqlite://{here}/log.sqlite",
        "STREAMLAKE_OBJECT_STORE": f"file://{here}/lake",
        "STREAMLAKE_EMBEDDED__SESSION_TIMEOUT_S": "3",
    }
