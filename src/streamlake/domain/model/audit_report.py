"""What an audit says. `docs/schemas/audit-report.v1.json` is the JSON Schema of this module, `docs/audit.md` its words.

A report names places, never payload values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

REPORT_VERSION = 1
MAX_RANGES = 1_000
"""A list of offsets names at most so many ranges; the number of offsets is always the whole."""
MAX_FINDINGS = 1_000
"""Findings of one kind beyond these are counted and not told singly: a broken zone must not break its report."""

Verdict = Literal["clean", "unproven", "findings"]
"""`clean`: everything judged is proved. `unproven`: nothing is wrong, and not everything could be judged."""

FINDINGS = {
    "missing": "visible records below the committed position that are in no live part, no dead letter, no accepted gap",
    "duplicated": "offsets that are in more than one row of the live parts, or of one replay",
    "foreign_rows": "rows of offsets that the log does not have",
    "foreign_letter": "consumer dead letters of offsets that the log does not have",
    "letter_unreadable": "a record of the dead-letter topic whose headers do not say what it is a letter of",
    "false_claim": "records that a part claims to be landed or lettered, and that are neither",
    "claim_beyond_log": "a part claims offsets that the log has not given yet",
    "committed_beyond_log": "the committed position is beyond the end of the log",
    "part_missing": "a part number that is not there though a later part, or the roll-up, names it",
    "part_twice": "one part number under two names",
    "part_unreadable": "custom metadata that cannot be read as a part's: its rows cannot be counted",
    "formats_mixed": "parts of more than one format in one prefix",
    "chain_broken": "a part was not written after the part that is now before it: one of the two was changed",
    "body_exchanged": "the stored checksum is not the one the part was made with",
    "rows_inconsistent": "a part's own rows, claims and counts contradict each other",
    "foreign_object": "an object below raw/ that is neither a part nor a roll-up",
    "gap_unreadable": "an object below ops/gaps/ that is not an accepted gap, and so accepts nothing",
    "roll_up_missing": "a prefix with parts and without _metadata.json",
    "roll_up_unreadable": "a _metadata.json that is not a roll-up of its prefix",
    "roll_up_wrong": "a _metadata.json that contradicts a part or itself",
    "body_damaged": "a body that cannot be read as what it should be (--deep)",
    "body_rows": "the offsets in a body are not those its part names, or not in order (--deep)",
    "envelope_wrong": "a row whose envelope contradicts its place, its part or the record in the log (--deep)",
    "payload_changed": "a row whose payload is not the record's (--deep)",
    "letter_changed": "a dead letter whose key or value is not the record's (--deep)",
    "replay_missing": "selected records of a replay that have neither landed nor been lettered under its id",
    "replay_foreign": "rows or letters of a replay that it did not select",
}
"""Kinds of finding: any of them makes the exit code 1."""

NOTES = {
    "accepted_gap": "offsets that an operator has accepted as never landed (exit code 1 with --strict)",
    "stale_roll_up": "a _metadata.json that does not list the newest parts yet, or never will unless somebody lands",
    "void_letters": "consumer dead letters of records that are in live parts: they do not count",
    "redriven_twice": "dead letters whose record was sent again to two places, and lands twice under one ingestion_id",
    "other_topic": "rows or letters of a topic id that is not the raw topic's now: completeness cannot be proved",
    "other_commit": "a committed position that names another topic id: nothing of this topic is committed",
    "nothing_committed": "a partition that holds records and has no committed position: nothing of it is judged",
    "topic_missing": "the raw topic does not exist: nothing can be looked up",
    "findings_cut": "there are more findings of a kind than a report tells singly",
}
"""Kinds of information: worth knowing, nothing wrong."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of offsets: how many, and which, as half-open ranges `[start, end)` in ascending order."""

    offsets: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    more_ranges: int = 0
    """Ranges beyond `MAX_RANGES`, which are not listed."""

    @classmethod
    def of(cls, runs: Iterable[tuple[int, int]]) -> Ranges:
        """These ascending, disjoint runs; walks through them once and keeps what is listed."""
        listed: list[tuple[int, int]] = []
        offsets = more = 0
        for start, end in runs:
            offsets += end - start
            if len(listed) < MAX_RANGES:
                listed.append((start, end))
            else:
                more += 1
        return cls(offsets, listed, more)

    def __bool__(self) -> bool:
        return self.offsets > 0

    def __str__(self) -> str:
        shown = [f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in self.ranges[:5]]
        more = len(self.ranges) - len(shown) + self.more_ranges
        return f"{', '.join(shown)}{f' and {more} more ranges' if more else ''}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or (among the notes) worth knowing. `kind` is a key of `FINDINGS` or `NOTES`."""

    kind: str
    detail: str
    """A sentence for people."""
    objects: list[str] = field(default_factory=list)
    """The objects concerned."""
    topic_id: str | None = None
    partition: int | None = None
    replay_id: str | None = None
    offsets: Ranges | None = None


@dataclass(frozen=True, slots=True)
class PartitionAudit:
    """One partition of one topic id: in `[judged_from, judged_to)`, `visible = landed + lettered + accepted + missing`.

    With `--date`, `landed`, `lettered`, `accepted` and `missing` are of that date only.
    """

    topic_id: str
    partition: int
    current: bool
    """Is it the raw topic's id now? Of another id nothing is judged but what is there twice."""
    log_start: int | None
    log_end: int | None
    committed: int | None
    judged_from: int
    judged_to: int
    visible: int
    """Records that the log shows, or showed, in the judged range: its length without the gaps."""
    landed: int
    """Offsets in live rows."""
    lettered: int
    """Offsets with a consumer dead letter, and in no live row."""
    accepted: int
    """Offsets in accepted gaps only."""
    missing: Ranges
    duplicated: Ranges
    gaps: Ranges
    """Offsets that the log gave to no visible record: transactions, compaction."""
    unproven: Ranges
    """Offsets in neither that the log no longer holds."""
    void_letters: int
    """Letters of records that are in live rows."""
    holds: bool
    """Does the sum come out, with no row twice?"""


@dataclass(frozen=True, slots=True)
class ReplayAudit:
    """One partition of one replay (`--replay`): in `[start, until)`, `selected = landed + lettered + missing`."""

    replay_id: str
    topic_id: str
    partition: int
    start: int
    until: int
    selected: int | None
    """Visible records that the plan selects; None where the log no longer holds all of the range."""
    landed: int
    lettered: int
    missing: Ranges
    duplicated: Ranges
    unproven: Ranges
    """Offsets in neither that the log no longer holds, unless somebody has accepted their loss."""
    holds: bool


@dataclass(frozen=True, slots=True)
class ZoneAudit:
    """What was looked at in the store."""

    prefixes: int = 0
    parts: int = 0
    live_parts: int = 0
    replay_parts: int = 0
    live_records: int = 0
    replay_records: int = 0
    bytes: int = 0
    bodies_read: int = 0
    rows_compared: int = 0
    """Rows compared with the log record by record (--deep)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for."""

    date: str | None = None
    partition: int | None = None
    replay_id: str | None = None
    deep: bool = False

    def covers(self, date: str | None = None) -> bool:
        """All live offsets of the dataset, or, with an ISO date, at least all of that date?"""
        return self.replay_id is None and self.partition is None and self.date in (None, date)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The whole of it. `findings` is empty exactly where nothing is wrong."""

    version: int
    dataset: str
    topic: str
    topic_id: str | None
    scope: Scope
    at: str
    """When the committed positions were read (RFC 3339): what was committed by then is judged."""
    verdict: Verdict
    findings: list[Finding]
    notes: list[Finding]
    partitions: list[PartitionAudit]
    replays: list[ReplayAudit]
    """With `--replay`, in place of `partitions`."""
    zone: ZoneAudit

    def exit_code(self, *, strict: bool = False) -> int:
        """0 or 1. Strict: 1 also where something is unproven, or a gap was accepted."""
        lax = self.verdict != "findings"
        gaps = any(note.kind == "accepted_gap" for note in self.notes)
        return 0 if lax and not (strict and (self.verdict == "unproven" or gaps)) else 1

    def decides(self, date: str | None = None) -> bool:
        """Does it say how the dataset is, or how an ISO date of it is? An audit of less does so only where it has found
        something: what it did not look at may be as it was before."""
        told = self.verdict == "findings" and self.scope.replay_id is None
        return self.scope.covers(date) or (told and (date is None or self.scope.date in (None, date)))

    def to_json(self) -> bytes:
        """As `docs/schemas/audit-report.v1.json` describes it."""
        return _REPORT.dump_json(self, indent=1)


def audit_report(told: bytes) -> AuditReport:
    """A report read back. Raises ValueError where it is not one."""
    return _REPORT.validate_json(told)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a report."""
    schema = _REPORT.json_schema(mode="serialization")
    schema["$defs"]["Finding"]["properties"]["kind"]["enum"] = [*FINDINGS, *NOTES]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


_REPORT = TypeAdapter(AuditReport)
