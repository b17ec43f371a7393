"""StreamLake's own customProperties, and the refusal of what only looks like one of them.

    property              where                      value
    partitions            contract                   partitions of the raw topic, >= 1 (default 6)
    partFormat            contract                   json | json.gz | parquet (default: the setting decides)
    rawRetentionDays      contract                   days the raw topic keeps events (default 30; -1 unlimited)
    dlqRetentionDays      contract                   days the dead-letter topic keeps letters: at least 7 more than
                                                     rawRetentionDays (default -1, unlimited)
    additionalProperties  contract, schema, object   false: unknown fields are refused there and in the objects below

Anyone may keep customProperties of their own beside them; those of another `vendor` are not looked at.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from open_data_contract_standard.model import CustomProperty

from streamlake.domain.errors import ContractInvalid
from streamlake.domain.model.times import DAY_MS

PART_FORMATS = ("json", "json.gz", "parquet")
_OBJECT_LEVEL = ("additionalProperties",)
_CONTRACT_LEVEL = ("partitions", "partFormat", "rawRetentionDays", "dlqRetentionDays", *_OBJECT_LEVEL)
_MAX_DAYS = 36_500
_LETTERS_OUTLIVE_EVENTS_BY_DAYS = 7


@dataclass(frozen=True, slots=True)
class ContractSettings:
    """What the contract level asks for."""

    partitions: int = 6
    part_format: str | None = None
    raw_retention_ms: int = 30 * DAY_MS
    dlq_retention_ms: int = -1
    closed: bool = False


def contract_settings(file: str, custom: Sequence[CustomProperty] | None) -> ContractSettings:
    """The contract level's settings. Raises `ContractInvalid`."""
    found = _ours(file, custom, _CONTRACT_LEVEL)
    raw = _days(file, "rawRetentionDays", found.get("rawRetentionDays", 30))
    dlq = _days(file, "dlqRetentionDays", found.get("dlqRetentionDays", -1))
    if dlq != -1 and (raw == -1 or dlq < raw + _LETTERS_OUTLIVE_EVENTS_BY_DAYS):
        raise ContractInvalid(
            f"{file}: customProperties: dlqRetentionDays: must be -1 or at least rawRetentionDays + "
            f"{_LETTERS_OUTLIVE_EVENTS_BY_DAYS}, is {dlq} beside {raw}"
        )
    partitions = found.get("partitions", 6)
    if type(partitions) is not int or partitions < 1:
        raise ContractInvalid(f"{file}: customProperties: partitions: must be an integer >= 1, is {partitions!r}")
    part_format = found.get("partFormat")
    if part_format is not None and part_format not in PART_FORMATS:
        allowed = ", ".join(PART_FORMATS)
        raise ContractInvalid(f"{file}: customProperties: partFormat: must be one of {allowed}, is {part_format!r}")
    return ContractSettings(
        partitions=partitions,
        part_format=None if part_format is None else str(part_format),
        raw_retention_ms=raw if raw == -1 else raw * DAY_MS,
        dlq_retention_ms=dlq if dlq == -1 else dlq * DAY_MS,
        closed=_closed(file, found, inherited=False),
    )


def forbids_unknown_fields(where: str, custom: Sequence[CustomProperty] | None, *, inherited: bool) -> bool:
    """Whether an object refuses unknown fields: its own `additionalProperties`, else what surrounds it says."""
    return _closed(where, _ours(where, custom, _OBJECT_LEVEL), inherited=inherited)


def refuse_ours(where: str, custom: Sequence[CustomProperty] | None) -> None:
    """For a property that is no object: none of StreamLake's customProperties means anything there."""
    _ours(where, custom, ())


def _ours(where: str, custom: Sequence[CustomProperty] | None, known_here: tuple[str, ...]) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for item in custom or ():
        name = item.property or ""
        if item.vendor not in (None, "streamlake"):
            continue
        if name in found:
            raise ContractInvalid(f"{where}: customProperties: {name}: is there twice")
        if name in known_here:
            found[name] = item.value
        elif meant := _meant(name):
            hint = "does not belong here" if name == meant else f"is not known, did you mean {meant}?"
            raise ContractInvalid(f"{where}: customProperties: {name}: {hint}")
    return found


def _meant(name: str) -> str | None:
    """The customProperty of ours that `name` is, or is a misspelling of."""
    plain = {known.lower(): known for known in _CONTRACT_LEVEL}
    close = difflib.get_close_matches(re.sub(r"[^a-z]", "", name.lower()), plain, n=1, cutoff=0.85)
    return plain[close[0]] if close else None


def _days(where: str, name: str, value: object) -> int:
    if type(value) is not int or not (value == -1 or 1 <= value <= _MAX_DAYS):
        raise ContractInvalid(f"{where}: customProperties: {name}: must be -1 or 1 to {_MAX_DAYS} days, is {value!r}")
    return value


def _closed(where: str, found: Mapping[str, object], *, inherited: bool) -> bool:
    allowed = found.get("additionalProperties", not inherited)
    if not isinstance(allowed, bool):
        raise ContractInvalid(f"{where}: customProperties: additionalProperties: must be true or false, is {allowed!r}")
    return not allowed
