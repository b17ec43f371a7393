"""The demo's story, from an empty folder to the proof."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from streamlake.domain.errors import LogUnavailable
from streamlake.domain.model.contracts import consumer_group, dlq_topic, raw_topic
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.times import epoch_ms
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.demo import show, traffic
from streamlake.entrypoints.demo.interrupts import interruptible
from streamlake.entrypoints.demo.proof import Proof, prove
from streamlake.entrypoints.demo.stage import Stage, stage
from streamlake.entrypoints.settings import Settings

SETTLE_S = 60.0
EVENTS_A_SECOND = 3_000
"""Paced, so that parts land, and something is there to be hurt, while events still come."""


def play(folder: Path, settings: Settings, environment: Mapping[str, str], *, events: int, seed: int) -> bool:
    """Run the demo in `folder` (emptied first) and print it; True if the proof holds and every process ended well.

    `settings` and `environment` say the same: the one for this process, the other for its children.
    """
    shutil.rmtree(folder / "logs", ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    container = Container(settings=settings)
    began = time.monotonic()
    show.opening(settings, events)
    _set_up(container)
    since = _ends(container)
    sent = traffic.Sent()
    with interruptible() as hear, stage(folder / "logs", environment, hear) as crew:
        _start(crew)
        past_the_api = _perform(container, crew, sent, events, seed, since)
        codes = crew.stop()
    proof = prove(
        container.reader(),
        container.admin(),
        container.object_store(),
        container.part_formats(),
        since,
        sent,
        past_the_api,
    )
    show.tree(container.object_store())
    show.envelope(container.object_store(), container.part_formats())
    show.letters(proof)
    show.proof(proof, sent, past_the_api, codes)
    _write_report(folder / "proof.json", proof, sent, past_the_api)
    holds = not proof.failures and not any(codes.values())
    show.closing(holds, time.monotonic() - began, folder, settings)
    container.writer().close(1)
    container.admin().close()
    return holds


def _set_up(container: Container) -> None:
    container.object_store().create_bucket()
    provision = container.provision()
    provision.apply(provision.plan())


def _start(crew: Stage) -> None:
    with show.waiting("starting the API and two consumers as processes"):
        crew.start("api", "api", port_option="--port")
        for name in ("consumer-1", "consumer-2"):
            crew.start(name, "consumer", "--dataset", traffic.DATASET, port_option="--http-port")
        for name in ("api", "consumer-1", "consumer-2"):
            crew.wait_ready(name)


def _perform(
    container: Container,
    crew: Stage,
    sent: traffic.Sent,
    events: int,
    seed: int,
    since: Mapping[TopicPartition, int],
) -> int:
    """Send everything, hurt a consumer in the middle, wait for the end; how many records went past the API."""
    killed = poisoned = 0
    url = f"http://127.0.0.1:{crew.ports['api']}"
    with show.progress(events) as bars, httpx.Client(base_url=url, timeout=30) as client:
        began = time.monotonic()
        for count in traffic.send(client, traffic.events(events, seed), sent):
            crew.hear()
            bars.sent(count)
            time.sleep(max(0.0, began + sent.total / EVENTS_A_SECOND - time.monotonic()))
            bars.landed(_committed(container, since))
            if not poisoned and sent.total > events // 3:
                poisoned = _write_poison(container)
                bars.say(f"wrote {poisoned} records past the API, straight into {raw_topic(traffic.DATASET)}")
            if not killed and sent.total > events // 2:
                crew.kill("consumer-1")
                killed = 1
                bars.say("kill -9 consumer-1, in the middle of it")
            elif killed == 1 and sent.total > events * 3 // 4:
                crew.start("consumer-1", "consumer", "--dataset", traffic.DATASET, port_option="--http-port")
                killed = 2
                bars.say("started consumer-1 again")
        deadline = time.monotonic() + SETTLE_S
        expected = len(sent.accepted) + poisoned
        bars.expect(expected)
        while (done := _committed(container, since)) < expected:
            crew.hear()
            bars.landed(done)
            if time.monotonic() > deadline:
                raise LogUnavailable(f"only {done} of {expected} records were committed within {SETTLE_S:.0f} s")
            time.sleep(0.1)
        bars.landed(done)
    crew.wait_ready("consumer-1")  # else a slow machine would stop it while it is still starting
    return poisoned


def _write_poison(container: Container) -> int:
    records = traffic.poison(epoch_ms(container.clock().now()))
    for outcome in container.writer().append_and_wait(records):
        if isinstance(outcome, Exception):
            raise outcome
    return len(records)


def _ends(container: Container) -> dict[TopicPartition, int]:
    """Where the log ends before the demo: on a log that was used before, only what comes after counts."""
    names = [raw_topic(traffic.DATASET), dlq_topic(traffic.DATASET)]
    found = container.admin().topics(names)
    lanes = [TopicPartition(name, number) for name in names for number in range(found[name].partitions)]
    return {lane: marks.high for lane, marks in container.admin().watermarks(lanes).items()}


def _committed(container: Container, since: Mapping[TopicPartition, int]) -> int:
    lanes = [lane for lane in since if lane.topic == raw_topic(traffic.DATASET)]
    offsets = container.admin().group_offsets(consumer_group(traffic.DATASET), lanes)
    return sum(max(0, position.offset - since[lane]) for lane, position in offsets.items())


def _write_report(path: Path, proof: Proof, sent: traffic.Sent, past_the_api: int) -> None:
    told = {
        "sent": sent.total,
        "answers": {str(status): count for status, count in sorted(sent.statuses.items())},
        "past_the_api": past_the_api,
        "landed": proof.landed,
        "consumer_letters": proof.consumer_letters,
        "api_letters": proof.api_letters,
        "missing": len(proof.missing),
        "duplicated": len(proof.duplicated),
        "failures": proof.failures,
    }
    path.write_text(json.dumps(told, indent=1) + "\n")
