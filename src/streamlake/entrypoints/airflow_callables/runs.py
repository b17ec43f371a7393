"""What every run of a DAG has: an end that is red or green, somebody who approves, and an id for what it starts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from streamlake.domain.errors import StreamLakeError

Json = dict[str, Any]

APPROVE, REJECT = "Approve", "Reject"
"""What the person who is asked can answer. Nothing but the first is an approval."""

TRY_AGAIN = ["streamlake.domain.errors.WorldFault"]
"""For Airflow's retry policy: the world's fault passes, so the task is tried again ..."""

FAIL_NOW = ["streamlake.domain.errors.StreamLakeError", "builtins.ValueError"]
"""... every other fault of ours stays, so it is not. What is in neither is Airflow's to judge."""


class RunFailed(StreamLakeError):
    """The run ends here and is red: it was asked for what cannot be, was not approved, did not finish, or has found
    something. The message is for whoever looks at the failed task."""


def approved(work: Sequence[Json], answer: Mapping[str, Any] | None) -> list[Json]:
    """The work, each item with who approved it. Fails closed: raises `RunFailed` for any other answer, and for none."""
    if answer is None or list(answer.get("chosen_options") or ()) != [APPROVE]:
        chosen = ", ".join((answer or {}).get("chosen_options") or ()) or "no answer"
        raise RunFailed(f"not approved ({chosen}): nothing was done")
    user = answer.get("responded_by_user") or {}
    by = f"airflow: {user.get('name') or user.get('id') or 'unknown'}"
    return [{**item, "by": by} for item in work]


def finished(what: str, work: Sequence[Json] | None, outcomes: Sequence[Json]) -> None:
    """Raises `RunFailed` where not every item of work has an outcome: a task failed, or somebody said no."""
    if work is None:
        raise RunFailed(f"{what}: an earlier task failed; its log says why")
    if len(outcomes) < len(work):
        raise RunFailed(f"{what}: {len(outcomes)} of {len(work)} finished; the tasks that failed say why")


def id_of_run(dag_id: str, run_id: str) -> str:
    """A replay id for a DAG run: the same however often its tasks are tried or cleared."""
    digest = hashlib.sha256(f"{dag_id} {run_id}".encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")[:40].rstrip("-")
    return f"airflow-{readable}-{digest}" if readable else f"airflow-{digest}"
