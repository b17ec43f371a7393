"""`streamlake_replay` and `streamlake_backfill`, run to their end on real Kafka and a real GCS API."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tests.integration.system import wait_until

from streamlake.domain.errors import StoreUnavailable

APPROVED = {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "somebody"}}
REJECTED = {"chosen_options": ["Reject"], "responded_by_user": {"id": "1", "name": "somebody"}}
DAY_MS = 86_400_000


def objects(lake: Any) -> dict[str, int]:
    """Every object there is, with its generation."""
    return {found.name: found.generation for found in lake.store.list("")}


def fail_once(task_id: str, after: bool) -> Callable[[Any], None]:
    """The first try of a task ends in the world's fault, before or after it did its work."""

    def prepare(dag: Any) -> None:
        module = sys.modules[dag.get_task("plan").python_callable.__module__]
        callables = module.streamlake
        work = getattr(callables, task_id)
        tried: list[int] = []

        class Flaky:
            def __getattr__(self, name: str) -> Any:
                return getattr(callables, name)

        def flaky(item: Any) -> Any:
            tried.append(1)
            if len(tried) > 1:
                return work(item)
            if after:
                work(item)
            raise StoreUnavailable("the answer was lost")

        double = Flaky()
        setattr(double, task_id, flaky)
        module.streamlake = double

    return prepare


def test_a_range_is_replayed_once_however_often_it_is_tried(lake: Any, run: Callable[..., Any]) -> None:
    lake.produce(60)
    lake.land()
    live, before = lake.rows(), objects(lake)
    busiest = max({partition for partition, _ in live}, key=[partition for partition, _ in live].count)
    chosen = [(partition, offset) for partition, offset in live if partition == busiest][1:]
    conf = {"dataset": lake.dataset, "offsets": [f"{busiest}:1-100000"]}

    dry = run("streamlake_replay", conf)
    assert (dry.state, dry.tasks["approval", -1], objects(lake)) == ("success", "skipped", before)
    [planned] = dry.returned("report")["plans"]
    assert planned["records"] == len(chosen)

    refused = run("streamlake_replay", conf | {"dry_run": False}, REJECTED)
    assert (refused.state, refused.tasks["approved", -1]) == ("failed", "failed")
    assert {name for name in objects(lake).keys() - before.keys() if not name.startswith("ops/")} == set()

    tried = run("streamlake_replay", conf | {"dry_run": False}, APPROVED, fail_once("run_replay", after=True))
    assert (tried.state, tried.tries["replay", 0]) == ("success", 2)
    [done] = tried.returned("report")["replays"]
    assert (done["state"], done["selected"], done["landed"]) == ("complete", len(chosen), len(chosen))
    assert lake.rows(done["replay_id"]) == chosen
    assert lake.rows() == live
    assert f"| {len(chosen)} |" in tried.asked[0]

    parts = lake.parts()
    again = run("streamlake_replay", conf | {"dry_run": False, "replay_id": done["replay_id"]}, APPROVED)
    assert (again.state, lake.parts()) == ("success", parts)

    audited = run("streamlake_audit", {"deep": True})
    assert audited.state == "success"


def test_a_rewind_is_written_by_the_consumers_which_then_go_on(lake: Any, run: Callable[..., Any]) -> None:
    lake.produce(30)
    lake.land()
    live = lake.rows()
    consumer = lake.consumer("rewinding")
    wait_until("it is a member", lake.members)
    conf = {"dataset": lake.dataset, "offsets": [str(partition) for partition in range(6)], "mode": "rewind"}

    ended = run("streamlake_replay", conf | {"dry_run": False}, APPROVED)
    assert ended.state == "success"
    [done] = ended.returned("report")["replays"]
    assert lake.rows(done["replay_id"]) == live

    lake.produce(10)
    wait_until("the new ones are committed", lake.all_committed)
    assert consumer.terminate() == 0
    assert len(lake.rows()) == len(live) + 10


def test_days_are_replayed_side_by_side(lake: Any, run: Callable[..., Any]) -> None:
    now = int(time.time() * 1000)
    days = [time.strftime("%Y-%m-%d", time.gmtime((now - back * DAY_MS) / 1000)) for back in (2, 1, 0)]
    for number, back in enumerate((2, 1, 0), start=1):
        lake.produce(10 * number, now - back * DAY_MS)
    lake.land()
    conf = {"dataset": lake.dataset, "first": days[0], "last": days[1], "dry_run": False}

    ended = run("streamlake_backfill", conf, APPROVED)
    assert ended.state == "success"
    outcomes = ended.returned("report")["replays"]
    assert [(each["replay_id"], each["landed"]) for each in outcomes] == [
        (f"backfill-{days[0]}-{lake.dataset}", 10),
        (f"backfill-{days[1]}-{lake.dataset}", 20),
    ]
    assert [len(lake.rows(each["replay_id"])) for each in outcomes] == [10, 20]
    assert len(lake.rows()) == 60
    parts = lake.parts()
    assert run("streamlake_backfill", conf, APPROVED).state == "success"
    assert lake.parts() == parts


def test_what_cannot_be_replayed_is_refused_by_the_plan(lake: Any, run: Callable[..., Any]) -> None:
    for conf in (
        {"dataset": lake.dataset},
        {"dataset": lake.dataset, "offsets": ["0:9-5"]},
        {"dataset": lake.dataset, "offsets": ["0:0-5"], "accept_gaps": True},
        {"dataset": lake.dataset, "offsets": ["99:0-5"]},
        {"dataset": "nosuch", "offsets": ["0:0-5"]},
    ):
        ended = run("streamlake_replay", conf)
        assert (ended.state, ended.tasks["plan", -1], ended.tries["plan", -1]) == ("failed", "failed", 1), conf
    assert objects(lake) == {}
