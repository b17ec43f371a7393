"""`streamlake consumer` and `streamlake resume`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

import click

from streamlake.domain.errors import BucketMissing, TopicMissing
from streamlake.domain.model.contracts import consumer_group, raw_topic
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.times import epoch_ms, rfc3339
from streamlake.domain.use_cases.control import HALTED, RUNNING, Decision
from streamlake.domain.use_cases.start_positions import Gap
from streamlake.entrypoints.cli.parameters import caller
from streamlake.entrypoints.cli.screen import counted
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.consumer_process import insist_on_topics, run_consumers
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.process_memory import use_one_arena


@click.command()
@click.option("--dataset", "datasets", multiple=True, required=True, help="A dataset to land; may be repeated.")
@click.option("--http-host", default="127.0.0.1", show_default=True, help="Where health and metrics listen.")
@click.option(
    "--http-port",
    default=0,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of /livez, /readyz and /metrics; 0: none.",
)
def consumer(datasets: tuple[str, ...], http_host: str, http_port: int) -> None:
    """Land datasets in the raw zone until SIGTERM; then drain, commit and leave."""
    use_one_arena()
    with wired() as container:
        names = list(dict.fromkeys(datasets))
        for dataset in names:
            container.catalog().newest(dataset)
        consumers = [container.consumer(dataset) for dataset in names]
        code = run_consumers(
            consumers,
            partial(_insist_on_what_it_needs, container),
            container.admin(),
            container.clock(),
            container.landing_metrics().registry,
            http_host=http_host,
            http_port=http_port,
        )
    raise click.exceptions.Exit(code)


def _insist_on_what_it_needs(container: Container, dataset: str) -> None:
    """Bucket and topics of a dataset. Raises what an operator has to mend; `WorldFault` where it cannot be seen now."""
    if not container.object_store().bucket_exists():
        where = container.settings().object_store
        raise BucketMissing(f"{where}: does not exist; `streamlake doctor --create-bucket` makes it")
    insist_on_topics(dataset, container.admin())


@click.command()
@click.option("--dataset", required=True, help="The dataset.")
@click.option(
    "--partition",
    "numbers",
    type=click.IntRange(min=0),
    multiple=True,
    help="A partition; may be repeated. Default: all.",
)
@click.option("--accept-gap", is_flag=True, help="Record gaps as accepted, so that consumers go on behind them.")
@click.option("--accept-dead-letters", is_flag=True, help="What the log holds now may all become dead letters.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def resume(dataset: str, numbers: tuple[int, ...], accept_gap: bool, accept_dead_letters: bool, as_json: bool) -> None:
    """Let halted partitions of a dataset go on; exit 1 while there is a gap that nobody has accepted.

    A tripped circuit breaker is closed again. A gap, offsets that never landed and cannot be read by going on, is
    shown, and left behind only with --accept-gap. Running consumers go on within 30 s.
    """
    with wired(quiet=True) as container:
        container.catalog().newest(dataset)
        topic = raw_topic(dataset)
        info = container.admin().topics([topic]).get(topic)
        if info is None:
            raise TopicMissing(f"{topic}: does not exist")
        info.insist_on(numbers)
        lanes = [TopicPartition(topic, number) for number in numbers or range(info.partitions)]
        marks = container.admin().watermarks(lanes)
        committed = container.admin().group_offsets(consumer_group(dataset), lanes)
        resumed = _close_breakers(container, dataset, info.topic_id, marks, committed, accept_dead_letters)
        starts = container.starts(dataset).begin()
        decided = [starts.decide(lane, info.topic_id, marks[lane], committed.get(lane)) for lane in lanes]
        gaps = [gap for gap in decided if isinstance(gap, Gap)]
        now = rfc3339(container.clock().now())
        accepted = [starts.accept(gap, caller(), now) for gap in gaps] if accept_gap else []
        container.writer().close(5)
    if as_json:
        rows = [{"topic": g.topic, "partition": g.partition, "start": g.start, "end": g.end} for g in gaps]
        click.echo(json.dumps({"resumed": resumed, "gaps": rows, "accepted": accepted}))
    else:
        for gap in gaps:
            click.echo(str(gap))
        halts, left = counted(len(resumed), "halted partition"), counted(len(gaps), "gap")
        click.echo(f"{halts} resumed, {left}, {len(accepted)} accepted")
    raise click.exceptions.Exit(1 if gaps and not accept_gap else 0)


def _close_breakers(
    container: Container,
    dataset: str,
    topic_id: str,
    marks: Mapping[TopicPartition, Watermarks],
    committed: Mapping[TopicPartition, Position],
    accept_dead_letters: bool,
) -> list[int]:
    """Say 'running' of every halted partition; returns which."""
    control = container.control()
    resumed = []
    for number, decision in sorted(control.decisions(dataset).items()):
        lane = TopicPartition(raw_topic(dataset), number)
        if decision.state == HALTED and decision.topic_id == topic_id and lane in marks:
            below = marks[lane].high if accept_dead_letters else 0
            moment = container.clock().now()
            since = committed[lane].offset if lane in committed else 0
            running = Decision(RUNNING, topic_id, decision.reason, caller(), rfc3339(moment), below, since)
            control.decide(dataset, number, running, epoch_ms(moment))
            resumed.append(number)
    return resumed
