"""`streamlake consumer` and `streamlake resume`."""

from __future__ import annotations

import getpass
import json

import click

from streamlake.domain.errors import BucketMissing
from streamlake.domain.model.contracts import consumer_group, raw_topic
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.times import rfc3339
from streamlake.domain.use_cases.start_positions import Gap
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.consumer_process import run_consumers


@click.command()
@click.option("--dataset", "datasets", multiple=True, required=True, help="A dataset to land; may be repeated.")
@click.option("--http-host", default="127.0.0.1", show_default=True, help="Where health and metrics listen.")
@click.option("--http-port", default=0, show_default=True, help="Port of /livez, /readyz and /metrics; 0: none.")
def consumer(datasets: tuple[str, ...], http_host: str, http_port: int) -> None:
    """Land datasets in the raw zone until SIGTERM; then drain, commit and leave."""
    with wired() as container:
        names = list(dict.fromkeys(datasets))
        for dataset in names:
            container.catalog().newest(dataset)
        if not container.object_store().bucket_exists():
            where = container.settings().object_store
            raise BucketMissing(f"{where}: does not exist; `streamlake doctor --create-bucket` makes it")
        consumers = [container.consumer(dataset) for dataset in names]
        code = run_consumers(
            consumers,
            container.admin(),
            container.clock(),
            container.landing_metrics().registry,
            http_host=http_host,
            http_port=http_port,
        )
    raise click.exceptions.Exit(code)


@click.command()
@click.option("--dataset", required=True, help="The dataset.")
@click.option("--partition", "numbers", type=int, multiple=True, help="A partition; may be repeated. Default: all.")
@click.option("--accept-gap", is_flag=True, help="Record the gaps as accepted, so that consumers go on behind them.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def resume(dataset: str, numbers: tuple[int, ...], accept_gap: bool, as_json: bool) -> None:
    """Show the gaps that halt partitions and, with --accept-gap, accept them; exit 1 while there are open ones."""
    with wired(quiet=True) as container:
        container.catalog().newest(dataset)
        topic = raw_topic(dataset)
        admin, starts = container.admin(), container.starts(dataset)
        info = admin.topics([topic]).get(topic)
        if info is None:
            raise click.ClickException(f"{topic}: does not exist")
        lanes = [TopicPartition(topic, number) for number in numbers or range(info.partitions)]
        marks = admin.watermarks(lanes)
        committed = admin.group_offsets(consumer_group(dataset), lanes)
        decided = {lane: starts.decide(lane, info.topic_id, marks[lane], committed.get(lane)) for lane in lanes}
        gaps = [gap for gap in decided.values() if isinstance(gap, Gap)]
        now = rfc3339(container.clock().now())
        recorded = [starts.accept(gap, getpass.getuser(), now) for gap in gaps] if accept_gap else []
    if as_json:
        rows = [{"topic": g.topic, "partition": g.partition, "start": g.start, "end": g.end} for g in gaps]
        click.echo(json.dumps({"gaps": rows, "accepted": recorded}))
    else:
        for gap in gaps:
            click.echo(str(gap))
        click.echo(f"{len(gaps)} gaps, {len(recorded)} accepted" + ("; consumers go on within 30 s" * bool(recorded)))
    raise click.exceptions.Exit(1 if gaps and not accept_gap else 0)
