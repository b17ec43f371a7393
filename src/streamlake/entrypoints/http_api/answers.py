"""What became of events, as bytes for the client. Nothing here is slow: it runs for every event."""

from __future__ import annotations

from collections.abc import Sequence

from streamlake.domain.errors import (
    AccessDenied,
    FieldError,
    NotStored,
    RecordRefused,
    RecordTooLarge,
    StreamLakeError,
    TopicMissing,
)
from streamlake.domain.model.dead_letters import error_class
from streamlake.domain.use_cases.ingest_events import Accepted, NotAccepted, Rejected
from streamlake.entrypoints.http_api.problems import Problem

CERTAINLY_NOT_STORED = (NotStored, TopicMissing, AccessDenied, RecordRefused)
"""Only these may be answered 503; whatever else an append comes to is 504, unless it was too large (413)."""

_REJECTED_KINDS = {"malformed_json": "malformed-json"}


def outcome_name(outcome: Rejected | NotAccepted) -> str:
    """The word metrics use for an event that was not `accepted`."""
    match outcome:
        case Rejected():
            return "rejected"
        case NotAccepted(fault=RecordTooLarge()):
            return "too_large"
        case NotAccepted(fault=fault):
            return "not_stored" if isinstance(fault, CERTAINLY_NOT_STORED) else "unknown"


def accepted_members(dataset: str, accepted: Accepted) -> str:
    """The members of the 202 body. Names, ids and times hold nothing that JSON would have to escape."""
    ingestion_id, (topic, partition, offset), ingested_at = accepted
    return (
        f'"ingestion_id":"{ingestion_id}","dataset":"{dataset}","topic":"{topic}",'
        f'"partition":{partition},"offset":{offset},"ingested_at":"{ingested_at}"'
    )


def problem_of(outcome: Rejected | NotAccepted, dataset: str, token: str, retry_after_s: int) -> Problem:
    """The problem document of an event that was not accepted."""
    told: dict[str, object] = {"dataset": dataset, "ingestion_id": outcome.ingestion_id}
    if isinstance(outcome, Rejected):
        kind = _REJECTED_KINDS.get(error_class(outcome.violation), "contract-violation")
        told["errors"] = _field_errors(outcome.violation.errors)
        told["dead_letter"] = outcome.letter._asdict()
        return Problem(kind, str(outcome.violation), told)
    return _not_accepted(outcome.fault, told, token, retry_after_s)


def _not_accepted(fault: StreamLakeError, told: dict[str, object], token: str, retry_after_s: int) -> Problem:
    """Our words, not the fault's: its message names brokers and topics, and is for the log."""
    told["idempotency_key"] = token
    if isinstance(fault, RecordTooLarge):
        return Problem("too-large", "The event is larger than the log takes; it was not stored.", told)
    if isinstance(fault, CERTAINLY_NOT_STORED):
        again = ((b"retry-after", b"%d" % retry_after_s),)
        return Problem("not-stored", "The log did not take the event.", told, again)
    return Problem("outcome-unknown", "The log did not say in time whether it has the event.", told)


def _field_errors(errors: Sequence[FieldError]) -> list[dict[str, str]]:
    return [{"pointer": e.pointer, "rule": e.rule, "expected": e.expected} for e in errors]
