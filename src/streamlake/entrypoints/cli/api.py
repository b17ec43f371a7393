"""`streamlake api`: the HTTP API as a process."""

from __future__ import annotations

import click

from streamlake.domain.errors import SettingsInvalid
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import load_settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes, a producer each.")
def api(host: str, port: int, workers: int) -> None:
    """Take events over HTTP until SIGTERM; what was accepted is answered before it ends."""
    try:
        from streamlake.entrypoints.api_factory import make_api
        from streamlake.entrypoints.http_api import serve
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(f"the API needs `pip install streamlake[api]` ({missing})") from None
    with wired() as container:
        _check(container)
    raise click.exceptions.Exit(serve(make_api, host, port, workers, load_settings().api.grace_s))


def _check(container: Container) -> None:
    """Fail with one clear line before any worker starts."""
    if not container.catalog().datasets():
        raise SettingsInvalid(f"STREAMLAKE_CONTRACTS: no contract in {container.settings().contracts}")
