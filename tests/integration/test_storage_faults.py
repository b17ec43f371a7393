"""Storage fails in every way it can: nothing is lost, doubled or dead-lettered, and it heals without a human."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.integration.faulty import HEALED_S, NOTICED_S, FaultyWorld, good, problems, write
from tests.integration.system import Child, wait_until, wait_until_ready
from tests.services.fault_proxy import fault_proxy
from tests.services.faults import REFUSED, Fault, Request
from tests.services.gcs import GcsService
from tests.services.kafka import KafkaService

pytestmark = [pytest.mark.kafka, pytest.mark.gcs]
RECOVERY_S = 30.0

_numbers = itertools.count()

Landing = tuple[FaultyWorld, Child]


@pytest.fixture(scope="module")
def landing(
    kafka_service: KafkaService, gcs_service: GcsService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Landing]:
    """A world whose one consumer stays the same through all of these tests, whatever happens to its storage."""
    with fault_proxy(gcs_service.endpoint) as proxy:
        dataset = f"t{uuid.uuid4().hex[:10]}"
        folder = tmp_path_factory.mktemp("storage-faults")
        world = FaultyWorld(folder, kafka_service.bootstrap, proxy, gcs_service.endpoint, dataset)
        world.set_up()
        consumer = world.launch_consumer("consumer")
        wait_until_ready(consumer)
        yield world, consumer
        world.close()


@pytest.fixture(autouse=True)
def _healed(landing: Landing) -> Iterator[None]:
    """Each test finds a world without faults."""
    yield
    landing[0].faults.end()


@pytest.mark.parametrize(
    "classes",
    [
        REFUSED,
        (Fault.RESET, Fault.SILENT),
        (Fault.APPLIED_503, Fault.APPLIED_RESET, Fault.APPLIED_SILENT, Fault.LATE),
        (Fault.SLOW_REQUEST, Fault.SLOW_ANSWER, Fault.CORRUPT_REQUEST),
    ],
    ids=["refused", "unanswered", "success then lost", "slow and corrupt"],
)
def test_an_outage_heals_by_itself(landing: Landing, classes: Sequence[Fault]) -> None:
    """Every class in its turn, with events coming in; then every offset is in the raw zone once, and nowhere else."""
    world, consumer = landing
    began = world.faults.figures()
    for fault in classes:
        # A slow answer is one to a question, and landing rarely asks: roll-ups do.
        world.faults.begin(fault, times=2 if fault is not Fault.SLOW_ANSWER else 1)
        deadline = time.monotonic() + 60
        while world.faults.counts[fault] <= began.get(fault.value, 0):
            assert time.monotonic() < deadline, f"{fault.value} befell nobody"
            write(world, [good(f"n{next(_numbers)}") for _ in range(20)])
            time.sleep(0.3)
    world.faults.end()
    wait_until("everything is committed", world.all_committed, RECOVERY_S)
    wait_until("nothing is held", lambda: not world.faults.pending, 60)
    wait_until_ready(consumer, within_s=30)
    verdict = world.observe()
    assert verdict.faults() == {}
    assert verdict.letters == set()


def test_a_corrupt_answer_is_read_again(landing: Landing) -> None:
    """A roll-up whose bytes arrive damaged is not believed; the raw zone is as it was."""
    world, _ = landing
    before = world.faults.counts[Fault.CORRUPT_ANSWER]
    world.faults.begin(Fault.CORRUPT_ANSWER, times=1)
    deadline = time.monotonic() + 60
    while world.faults.counts[Fault.CORRUPT_ANSWER] == before:
        assert time.monotonic() < deadline, "no roll-up was read"
        write(world, [good(f"n{next(_numbers)}") for _ in range(20)])
        time.sleep(0.5)
    wait_until("everything is committed", world.all_committed, RECOVERY_S)
    assert world.observe().faults() == {}


def test_denied_everything_it_halts_and_lives_and_heals(landing: Landing) -> None:
    """403 on everything: readiness names it, the process lives and commits nothing; allowed again, it goes on."""
    world, consumer = landing
    committed = world.committed()
    world.faults.begin(Fault.FORBIDDEN)
    write(world, [good(f"n{next(_numbers)}") for _ in range(60)])
    wait_until("readiness says so", lambda: "AccessDenied" in " ".join(problems(consumer) or []), NOTICED_S)
    answer = consumer.get("/readyz")
    assert answer is not None
    assert answer.status_code == 503
    alive = consumer.get("/livez")
    assert alive is not None
    assert alive.status_code == 200
    assert world.committed() == committed
    world.faults.end()
    wait_until("everything is committed", world.all_committed, HEALED_S)
    wait_until_ready(consumer, within_s=30)
    assert world.observe().faults() == {}


def test_a_denied_roll_up_halts_nothing(landing: Landing) -> None:
    """403 on `_metadata.json` alone: parts land and are committed, and readiness stays."""
    world, consumer = landing
    before = world.faults.counts[Fault.FORBIDDEN]
    world.faults.begin(Fault.FORBIDDEN, choice=_of_a_roll_up)
    deadline = time.monotonic() + 60
    while world.faults.counts[Fault.FORBIDDEN] == before:
        assert time.monotonic() < deadline, "no roll-up was read"
        write(world, [good(f"n{next(_numbers)}") for _ in range(20)])
        time.sleep(0.5)
    write(world, [good(f"n{next(_numbers)}") for _ in range(20)])
    wait_until("everything is committed", world.all_committed, RECOVERY_S)
    assert consumer.is_ready()


def test_a_damaged_prefix_halts_who_needs_it_and_nobody_else(
    kafka_service: KafkaService, gcs_service: GcsService, tmp_path: Path
) -> None:
    """A part beyond a hole lies under yesterday: what is of yesterday waits, today goes on, and mended all lands."""
    with ExitStack() as services:
        proxy = services.enter_context(fault_proxy(gcs_service.endpoint))
        dataset = f"t{uuid.uuid4().hex[:10]}"
        world = services.enter_context(
            closing(FaultyWorld(tmp_path, kafka_service.bootstrap, proxy, gcs_service.endpoint, dataset))
        )
        world.set_up()
        yesterday, today, others = 0, 1, range(1, len(world.lanes))
        then = time.time() - 86_400
        write(world, [good(f"n{number}") for number in range(9)], yesterday, then)
        for number in others:  # who has nothing committed looks through all prefixes for its start, and would halt too
            write(world, [good(f"n{number}")], number)
        first = world.launch_consumer("first")
        wait_until("all of it has landed", world.all_committed)
        assert first.terminate() == 0
        part = min(world.part_infos(), key=lambda info: info.name)
        stray = part.name.replace("part-0001", "part-0009")
        world.store.create(stray, b"", content_type="application/gzip", metadata={})

        consumer = world.launch_consumer("second")
        write(world, [good(f"n{number}") for number in range(9)], yesterday, then)
        before = world.committed()[yesterday]
        for number in range(5):
            write(world, [good(f"t{number}")], today)
            wait_until("today is committed", lambda: world.all_committed(others))
        wait_until("readiness names it", lambda: "part-0002" in " ".join(problems(consumer) or []), NOTICED_S)
        halted = [problem for problem in problems(consumer) or [] if "PrefixDamaged" in problem]
        assert [problem.split(":")[0] for problem in halted] == [str(world.lanes[yesterday])]
        assert world.committed()[yesterday] == before
        assert consumer.process.poll() is None

        world.delete(stray)
        wait_until("everything is committed", world.all_committed, HEALED_S)
        wait_until_ready(consumer, within_s=30)
        assert world.observe().faults() == {}


def _of_a_roll_up(request: Request) -> bool:
    """By name: a roll-up is described before it is written."""
    return "_metadata.json" in request.target
