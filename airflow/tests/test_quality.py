"""`streamlake_quality`, run to its end on real Kafka and a real GCS API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DAY_MS = 86_400_000


def test_yesterday_is_checked_and_a_broken_rule_turns_the_run_red(lake: Any, run: Callable[..., Any]) -> None:
    now = int(time.time() * 1000)
    yesterday = time.strftime("%Y-%m-%d", time.gmtime((now - DAY_MS) / 1000))
    lake.produce(10, now - DAY_MS)
    lake.land()
    allowed = {"allow_unchecked": True}

    checked = run("streamlake_quality", allowed)
    assert checked.state == "success"
    [told] = checked.returned("report")["checks"]
    assert (told["dataset"], told["date"], told["rows"]) == (lake.dataset, yesterday, 10)
    assert told["report"] in {found.name for found in lake.store.list("ops/quality/")}

    lake.demand_rows(11)
    broken = run("streamlake_quality", allowed | {"date": yesterday})
    assert (broken.state, broken.tasks["check", 0], broken.tasks["report", -1]) == ("failed", "success", "failed")
    assert broken.returned("check", 0)["verdict"] == "failed"
