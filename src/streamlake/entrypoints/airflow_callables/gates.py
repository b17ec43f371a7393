"""What every DAG is built with: which faults are tried again, and the question before anything is written.

Called when a DAG file is parsed, so within Airflow only; the rest of the package does without it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from streamlake.entrypoints.airflow_callables.runs import APPROVE, FAIL_NOW, REJECT, TRY_AGAIN

RETRIES = 3
RETRY_DELAY = timedelta(seconds=30)
"""Doubled each time. What is short is waited out inside a task already."""

ANSWER_WITHIN = timedelta(days=1)


def default_args() -> dict[str, Any]:
    """Of every task: the world's faults are tried again, the data's and the operator's fail it at once."""
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    rules = [
        RetryRule(exception=[*TRY_AGAIN], action=RetryAction.RETRY),
        RetryRule(exception=[*FAIL_NOW], action=RetryAction.FAIL),
    ]
    return {
        "retries": RETRIES,
        "retry_delay": RETRY_DELAY,
        "retry_exponential_backoff": 2.0,
        "retry_policy": ExceptionRetryPolicy(rules=rules),
    }


def approval(subject: str) -> Any:
    """A task that shows the text of the task `plan` to a person and waits. No answer in time is a no."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    return HITLOperator(
        task_id="approval",
        subject=subject,
        body="{{ ti.xcom_pull(task_ids='plan')['text'] }}",
        options=[APPROVE, REJECT],
        defaults=[REJECT],
        response_timeout=ANSWER_WITHIN,
    )
