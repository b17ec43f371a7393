"""What Airflow's tasks call: plain functions, JSON in, JSON out. The DAG files in `airflow/dags/` import nothing else.

Each opens its connections and closes them, and can be tried again: a replay has the id of its DAG run, a redrive finds
what an interrupted one sent. None of them consumes for ever, and none lands live records. This package is imported when
a DAG file is parsed, so it imports no client library; it works without Airflow, too.
"""

from streamlake.entrypoints.airflow_callables.audits import audit_dataset, audits_of, report_audits, summarize_day
from streamlake.entrypoints.airflow_callables.gates import approval, default_args
from streamlake.entrypoints.airflow_callables.letters import (
    inspect_letters,
    letters_of,
    plan_redrive,
    redrive_letters,
    report_letters,
)
from streamlake.entrypoints.airflow_callables.qualities import check_quality, qualities_of, report_qualities
from streamlake.entrypoints.airflow_callables.replays import plan_backfill, plan_replay, report_replays, run_replay
from streamlake.entrypoints.airflow_callables.runs import RunFailed, approved

__all__ = [
    "RunFailed",
    "approval",
    "approved",
    "audit_dataset",
    "audits_of",
    "check_quality",
    "default_args",
    "inspect_letters",
    "letters_of",
    "plan_backfill",
    "plan_redrive",
    "plan_replay",
    "qualities_of",
    "redrive_letters",
    "report_audits",
    "report_letters",
    "report_qualities",
    "report_replays",
    "run_replay",
    "summarize_day",
]
