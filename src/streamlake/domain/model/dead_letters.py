"""Dead letters: the original record, untouched, with everything needed to understand it and to send it again."""

from __future__ import annotations

import hashlib
import json
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamlake.domain.errors import ContractViolation, DataFault, RecordRefused, RecordTooLarge
from streamlake.domain.model.contracts import Contract, dlq_topic
from streamlake.domain.model.records import NO_TIMESTAMP, Header, OutgoingRecord
from streamlake.domain.model.times import epoch_ms, rfc3339

OURS = "dlq_"
ATTEMPTS = OURS + "attempts"
"""Also a header of a redriven record: how many times it has been sent, the redrive included."""

STAGE_API = "api"
STAGE_CONSUMER = "consumer"
ERROR_CLASSES = (
    "malformed_json",
    "contract_violation",
    "too_large",
    "null_value",
    "no_timestamp",
    "timestamp_out_of_range",
    "unknown_schema_version",
    "key_not_utf8",
    "header_not_utf8",
)
"""What `error_class` says of a letter."""

MAX_TRACE_BYTES = 8 * 1024
MAX_DETAIL_BYTES = 8 * 1024
MAX_REASON_BYTES = 1024
"""What is told is bounded, else one record with a million errors would outgrow the topic and stop the stream."""

TRUNCATED_BYTES = 256 * 1024
"""How much of a value is kept where the whole does not fit the dead-letter topic."""

_TRACE_TITLE = "Traceback (most recent call last):\n"

_ESCAPED = "orig_"
_NEEDS_ESCAPE = re.compile(rf"(?:{_ESCAPED})*{OURS}")
_IS_ESCAPED = re.compile(rf"(?:{_ESCAPED})+{OURS}")
ATTEMPT_COUNT = re.compile(rb"[1-9][0-9]{0,5}")
"""What is believed of a `dlq_attempts` header: other producers can write one too."""


@dataclass(frozen=True, slots=True)
class LetterSource:
    """The place in the raw topic where a consumer found the record."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    timestamp: int


def error_class(fault: DataFault) -> str:
    """A stable word for metrics, filters and the demo's table."""
    match fault:
        case ContractViolation():
            return "malformed_json" if fault.errors[0].rule == "json" else "contract_violation"
        case RecordRefused():
            return fault.rule
        case RecordTooLarge():
            return "too_large"
        case _:
            return type(fault).__name__


def dead_letter(
    dataset: str,
    stage: str,
    fault: DataFault,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[Header],
    failed_at: datetime,
    *,
    contract: Contract | None = None,
    source: LetterSource | None = None,
    replay_id: str | None = None,
) -> OutgoingRecord:
    """The letter for a record at fault: its key, value and headers unchanged, and why as `dlq_*` headers.

    Its timestamp is the failure time, never the source's: retention would delete the letter of an old record at once.
    A header of the record's own that begins with `dlq_` is kept as `orig_dlq_*` (see `escape`).
    """
    told: list[tuple[str, str]] = [
        ("stage", stage),
        ("error_class", error_class(fault)),
        ("error_reason", _reason(fault)),
        ("error_detail", _detail(fault)),
        ("exception_trace", _trace(fault)),
        ("failed_at", rfc3339(failed_at)),
        ("attempts", str(attempts_of(headers))),
    ]
    if contract is not None:
        told.append(("contract", f"{contract.version} sha256:{contract.sha256}"))
    if source is not None:
        told += [
            ("source_topic", source.topic),
            ("source_topic_id", source.topic_id),
            ("source_partition", str(source.partition)),
            ("source_offset", str(source.offset)),
        ]
        if source.timestamp != NO_TIMESTAMP:
            told.append(("source_timestamp", str(source.timestamp)))
    if replay_id is not None:
        told.append(("replay_id", replay_id))
    kept = [(escape(name), content) for name, content in headers]
    ours = [(OURS + name, text.encode()) for name, text in told]
    return OutgoingRecord(dlq_topic(dataset), key, value, [*kept, *ours], epoch_ms(failed_at))


def escape(name: str) -> str:
    """How a record's own header is called in its letter: `dlq_x` is kept as `orig_dlq_x`.

    A name that looks kept already gets one `orig_` more, so that `unescape` always has the name that was sent.
    """
    return _ESCAPED + name if _NEEDS_ESCAPE.match(name) else name


def unescape(name: str) -> str:
    """`escape` undone."""
    return name.removeprefix(_ESCAPED) if _IS_ESCAPED.match(name) else name


def attempts_of(headers: Sequence[Header]) -> int:
    """How many times a record has been sent: what its last readable `dlq_attempts` says, else once."""
    said = (value for name, value in reversed(headers) if name == ATTEMPTS and value and ATTEMPT_COUNT.fullmatch(value))
    return int(next(said, b"1"))


def truncated(letter: OutgoingRecord) -> OutgoingRecord:
    """The letter with its value cut to what any topic takes, and the sha256 and length of the whole beside it."""
    if letter.value is None:
        return letter
    value = letter.value
    marks: list[Header] = [
        (OURS + "truncated_from_bytes", str(len(value)).encode()),
        (OURS + "value_sha256", hashlib.sha256(value).hexdigest().encode()),
    ]
    return letter._replace(value=value[:TRUNCATED_BYTES], headers=[*letter.headers, *marks])


def _reason(fault: DataFault) -> str:
    return str(fault).encode()[:MAX_REASON_BYTES].decode(errors="ignore")


def _detail(fault: DataFault) -> str:
    """The broken rules, as many of them as fit."""
    told: list[str] = []
    left = MAX_DETAIL_BYTES
    for error in fault.errors if isinstance(fault, ContractViolation) else ():
        told.append(json.dumps({"pointer": error.pointer, "rule": error.rule, "expected": error.expected}))
        left -= len(told[-1]) + 2
        if left < 0:
            told.pop()
            break
    return f"[{', '.join(told)}]"


def _trace(fault: DataFault) -> str:
    """Where it was raised: file, line and function of every frame, without their source, for a batch of bad events has
    ten thousand of these. Never the chained cause: a library's own message could quote the payload."""
    lines = [
        f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}\n'
        for frame, line in traceback.walk_tb(fault.__traceback__)
    ]
    kind = type(fault)
    text = f"{_TRACE_TITLE if lines else ''}{''.join(lines)}{kind.__module__}.{kind.__qualname__}: {fault}\n"
    return text.encode()[-MAX_TRACE_BYTES:].decode(errors="ignore")
