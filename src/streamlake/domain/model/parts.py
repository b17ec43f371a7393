"""Parts of the raw zone: their names, and the claims each carries in its custom metadata.

    raw/dataset=<d>/ingestion_date=YYYY-MM-DD/part-0001.json   part-0002.json   ...   _metadata.json

The parts of one (dataset, date) are a dense log: number n is created only by somebody who has absorbed the claims of
every number before it. A claim `[a, b)` of a lane says: every visible record of that partition with an offset in
`[a, b)` and this date is in this part, in an earlier part, or dead-lettered.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from streamlake.domain.model.positions import Lane, Offsets

MAX_METADATA_BYTES = 3_000
"""GCS allows 8 KiB of custom metadata in all and 4 KiB a value; fake-gcs-server on disk fails above 3 KB."""

MAX_ROWS_RUNS = MAX_METADATA_BYTES // len("[0,1],")
"""More runs of offsets than this are over `MAX_METADATA_BYTES`, however short their numbers."""

CLAIMS_VERSION = "1"
ROWS_IN_BODY = "body"

_PART = re.compile(r"part-(\d{4,})\.([a-z0-9.]+)")

Claims = Mapping[Lane, Offsets]

_T = TypeVar("_T")


def raw_folder(dataset: str) -> str:
    """Where a dataset's date prefixes are."""
    return f"raw/dataset={dataset}/"


def raw_prefix(dataset: str, date: str) -> str:
    """Where the parts of one dataset and ISO date are."""
    return f"{raw_folder(dataset)}ingestion_date={date}/"


def part_name(number: int, extension: str) -> str:
    """`part-0001.json`; numbers above 9999 just grow longer."""
    return f"part-{number:04d}.{extension}"


class PartName(NamedTuple):
    """A part's file name, taken apart."""

    number: int
    extension: str


def parse_part_name(name: str) -> PartName | None:
    """The last path segment of an object as a part name, or None where it is something else."""
    found = _PART.fullmatch(name.rpartition("/")[2])
    return PartName(int(found[1]), found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Predecessor:
    """What a part remembers of the one before it: enough to notice a swapped, edited or deleted part."""

    digest: str
    generation: int
    crc32c: str


@dataclass(frozen=True, slots=True)
class PartInfo:
    """All a part says of itself in its custom metadata (`docs/raw-zone.md` lists the fields for readers)."""

    claims: Claims
    rows: Claims | None
    """The offsets really in the body; None where the list does not fit: then only the body tells."""
    records: int
    crc32c: str
    writer: str
    first_timestamp: int
    last_timestamp: int
    replay_id: str | None
    previous: Predecessor | None

    @property
    def kind(self) -> str:
        """`live` or `replay`."""
        return "live" if self.replay_id is None else "replay"

    def digest(self, name: str) -> str:
        """What the next part remembers: sha256 of this part's full name, crc32c and canonical claims.

        Not of its generation, which a copied bucket changes, nor of metadata a PATCH can change unseen.
        """
        canonical = "\n".join((name, self.crc32c, dump_claims(self.claims)))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_metadata(self) -> dict[str, str]:
        """As custom metadata; `rows` becomes `body` where the whole would be over `MAX_METADATA_BYTES`.

        May still be over it: `metadata_bytes` tells, and the caller splits the part.
        """
        fields = {
            "v": CLAIMS_VERSION,
            "kind": self.kind,
            "records": str(self.records),
            "crc32c": self.crc32c,
            "writer": self.writer,
            "first_timestamp": str(self.first_timestamp),
            "last_timestamp": str(self.last_timestamp),
            "claims": dump_claims(self.claims),
            "rows": ROWS_IN_BODY if self.rows is None else dump_claims(self.rows),
        }
        if self.replay_id is not None:
            fields["replay_id"] = self.replay_id
        if self.previous is not None:
            fields["prev"] = self.previous.digest
            fields["prev_generation"] = str(self.previous.generation)
            fields["prev_crc32c"] = self.previous.crc32c
        if metadata_bytes(fields) > MAX_METADATA_BYTES:
            fields["rows"] = ROWS_IN_BODY
        return fields


def part_info(metadata: Mapping[str, str]) -> PartInfo:
    """Read custom metadata back. Raises ValueError where it is not a part's, naming what is missing or wrong."""
    try:
        if metadata["v"] != CLAIMS_VERSION:
            raise ValueError(f"claims version: must be {CLAIMS_VERSION}, is {metadata['v']}")
        kind, replay_id = metadata["kind"], metadata.get("replay_id")
        if kind != ("live" if replay_id is None else "replay"):
            raise ValueError(f"kind: {kind} does not go with replay_id {replay_id}")
        previous = None
        if "prev" in metadata:
            generation = _read(metadata, "prev_generation", int)
            previous = Predecessor(metadata["prev"], generation, metadata["prev_crc32c"])
        claims = _read(metadata, "claims", load_claims)
        rows: Claims | None = claims  # where nothing lies between them, which is most often
        if metadata["rows"] != metadata["claims"]:
            rows = None if metadata["rows"] == ROWS_IN_BODY else _read(metadata, "rows", load_claims)
        return PartInfo(
            claims=claims,
            rows=rows,
            records=_read(metadata, "records", int),
            crc32c=metadata["crc32c"],
            writer=metadata["writer"],
            first_timestamp=_read(metadata, "first_timestamp", int),
            last_timestamp=_read(metadata, "last_timestamp", int),
            replay_id=replay_id,
            previous=previous,
        )
    except KeyError as missing:
        raise ValueError(f"custom metadata: {missing.args[0]} is missing") from None


def _read(metadata: Mapping[str, str], name: str, read: Callable[[str], _T]) -> _T:
    try:
        return read(metadata[name])
    except ValueError as malformed:
        raise ValueError(f"{name}: {malformed}") from None


def metadata_bytes(metadata: Mapping[str, str]) -> int:
    """How much custom metadata this is, as GCS counts it: names and values, in UTF-8."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())


_canonical = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def dump_claims(claims: Claims) -> str:
    """Canonical JSON: `{"<topic id>":{"<partition>":[[a,b],...]}}`, sorted, without spaces."""
    by_topic: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for lane, offsets in sorted(claims.items()):
        by_topic.setdefault(lane.topic_id, {})[str(lane.partition)] = list(offsets)
    return _canonical(by_topic)


def load_claims(text: str) -> dict[Lane, Offsets]:
    """`dump_claims` undone. Raises ValueError for anything else."""
    try:
        return {
            Lane(topic_id, int(partition)): _offsets(intervals)
            for topic_id, partitions in json.loads(text).items()
            for partition, intervals in partitions.items()
        }
    except (AttributeError, TypeError, RecursionError) as malformed:
        raise ValueError(f"must be topic id -> partition -> intervals ({malformed})") from None


def _offsets(intervals: Sequence[Sequence[object]]) -> Offsets:
    if not intervals:
        raise ValueError("a lane without intervals claims nothing")
    return Offsets(_interval(*interval) for interval in intervals)


def _interval(start: object, end: object) -> tuple[int, int]:
    if type(start) is not int or type(end) is not int:  # JSON has 1.0 and true as well, and Python compares them
        raise TypeError("positions are integers")
    return start, end
