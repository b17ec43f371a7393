"""`streamlake_dlq`, run to its end on real Kafka and a real GCS API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

APPROVED = {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "somebody"}}
REJECTED = {"chosen_options": ["Reject"], "responded_by_user": {"id": "1", "name": "somebody"}}


def test_letters_are_counted_then_redriven_once_when_somebody_approves(lake: Any, run: Callable[..., Any]) -> None:
    lake.produce(20, bad=3)
    lake.land()

    looked = run("streamlake_dlq", {"datasets": [lake.dataset]})
    assert looked.state == "success"
    [found] = looked.returned("report")["letters"]
    assert [(each["standing"], each["error_class"], each["count"]) for each in found["counts"]] == [
        ("open", "contract_violation", 3)
    ]
    assert (found["would_pass"], sum(each["count"] for each in found["would_stay"])) == (0, 3)

    lake.mend_contract()
    refused = run("streamlake_dlq", {"dry_run": False}, REJECTED)
    assert refused.state == "failed"
    assert (refused.tasks["approved", -1], refused.tasks["report", -1]) == ("failed", "failed")
    assert refused.tries["approved", -1] == 1, "a no is not asked again"
    assert len(lake.observe().log) == 23

    redriven = run("streamlake_dlq", {"dry_run": False}, APPROVED)
    assert redriven.state == "success"
    assert f"| {lake.dataset} | 3 | 0 |" in redriven.asked[0]
    assert [each["redriven"] for each in redriven.returned("report")["redriven"]] == [3]

    again = run("streamlake_dlq", {"dry_run": False})
    assert again.state == "success"
    assert again.tasks["approval", -1] == "skipped", "nothing is left to redrive"

    lake.land()
    seen = lake.observe()
    assert seen.faults() == {}
    assert (len(seen.log), len(seen.landed), len(seen.letters)) == (26, 23, 3)
    audited = run("streamlake_audit", {})
    assert audited.state == "success"
    told = audited.returned("report")
    assert [each["verdict"] for each in told["audits"]] == ["clean"]
    assert told["summary"]["report"] in {found.name for found in lake.store.list("ops/summary/")}
