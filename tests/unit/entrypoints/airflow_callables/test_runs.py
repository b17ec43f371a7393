"""An approval is an approval and nothing else is; what did not finish is red; a run's replay id stays the same."""

from __future__ import annotations

from typing import Any

import pytest

from streamlake.domain.model.replay_plans import check_replay_id
from streamlake.entrypoints.airflow_callables.runs import RunFailed, approved, finished, id_of_run

SOMEBODY = {"id": "7", "name": "somebody"}
WORK = [{"dataset": "orders"}, {"dataset": "flights"}]


def test_approved_work_says_who_approved_it() -> None:
    answer = {"chosen_options": ["Approve"], "responded_by_user": SOMEBODY}
    assert approved(WORK, answer) == [{**item, "by": "airflow: somebody"} for item in WORK]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"chosen_options": []},
        {"chosen_options": None},
        {"chosen_options": ["Reject"], "responded_by_user": SOMEBODY},
        {"chosen_options": ["approve"], "responded_by_user": SOMEBODY},
        {"chosen_options": ["Approve", "Reject"], "responded_by_user": SOMEBODY},
        {"chosen_options": "Approve", "responded_by_user": SOMEBODY},
    ],
)
def test_every_other_answer_is_a_no(answer: dict[str, Any] | None) -> None:
    with pytest.raises(RunFailed, match="not approved"):
        approved(WORK, answer)


def test_a_run_with_an_item_that_did_not_finish_is_red() -> None:
    finished("replay", WORK, [{}, {}])
    with pytest.raises(RunFailed, match="1 of 2 finished"):
        finished("replay", WORK, [{}])
    with pytest.raises(RunFailed, match="an earlier task failed"):
        finished("replay", None, [])


def test_the_replay_id_of_a_run_is_its_own_and_stays_the_same() -> None:
    runs = ["manual__2026-11-21T15:11:59.678273+00:00", "manual__2026-11-21T15:11:59.678273+00:00_x", "Ä", "x" * 250]
    ids = [id_of_run("streamlake_replay", run) for run in runs]
    assert ids == [id_of_run("streamlake_replay", run) for run in runs]
    assert len(set(ids)) == len(runs)
    assert [check_replay_id(each) for each in ids] == ids
    assert id_of_run("another_dag", runs[0]) != ids[0]
