"""The command line. One module per family of commands; this one runs them and turns errors into exit codes.

0 ok    1 findings    2 wrong usage    3 unavailable, or not set up
"""

from __future__ import annotations

import sys

import click

from streamlake.domain.errors import DataFault, StreamLakeError
from streamlake.entrypoints.cli.api import api
from streamlake.entrypoints.cli.audit import audit
from streamlake.entrypoints.cli.contracts import contracts
from streamlake.entrypoints.cli.demo import demo
from streamlake.entrypoints.cli.dlq import dlq
from streamlake.entrypoints.cli.doctor import doctor
from streamlake.entrypoints.cli.landing import consumer, resume
from streamlake.entrypoints.cli.produce import produce
from streamlake.entrypoints.cli.quality import quality
from streamlake.entrypoints.cli.raw_zone import raw_zone
from streamlake.entrypoints.cli.replay import backfill, replay
from streamlake.entrypoints.cli.status import status
from streamlake.entrypoints.cli.summary import summary
from streamlake.entrypoints.cli.topics import topics

EXIT_FINDINGS = 1
EXIT_UNAVAILABLE = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="streamlake")
def cli() -> None:
    """Kafka-first ingestion into a raw zone: every offset landed exactly once.

    Settings come from the environment (STREAMLAKE_*, docs/settings.md). Without any, everything runs on this machine:
    a sqlite event log and a folder as object store, below .streamlake/.
    """


COMMANDS = (
    api,
    consumer,
    produce,
    topics,
    contracts,
    raw_zone,
    replay,
    backfill,
    dlq,
    audit,
    quality,
    summary,
    status,
    resume,
    doctor,
    demo,
)

for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """The console script."""
    try:
        sys.exit(cli(standalone_mode=False))  # click returns the code of an Exit raised within
    except click.Abort:
        sys.exit(130)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except DataFault as finding:
        _say(finding)
        sys.exit(EXIT_FINDINGS)
    except StreamLakeError as fault:
        _say(fault)
        sys.exit(EXIT_UNAVAILABLE)


def _say(fault: StreamLakeError) -> None:
    click.echo(f"streamlake: {fault}", err=True)
