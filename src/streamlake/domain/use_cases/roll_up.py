"""`_metadata.json`: what a reader wants to know of a prefix without listing it.

Before the first part it settles the prefix's format; after that its contents gate nothing. It is written by
compare-and-swap, seldom (see `RollUp.due`), and can be made anew from the parts alone at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from streamlake.domain.errors import GenerationChanged, ObjectMissing, PrefixDamaged
from streamlake.domain.model.parts import PartInfo, PartName, parse_part_name, part_info, raw_prefix
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore

ROLL_UP = "_metadata.json"
ROLL_UP_VERSION = 1
MIN_INTERVAL_S = 10.0
MAX_SHARE = 0.01
"""Roll-ups of a prefix cost at most this share of the bytes landed in it ..."""
FREE_BYTES = 256 * 1024
"""... beyond an allowance, so that a small prefix has a roll-up at all."""

MAX_UNWRITTEN = 1_000
"""Of more parts than these nothing is remembered while the roll-up cannot be written: it is made from their listing."""

_ATTEMPTS = 5

Entry = dict[str, Any]

_compact = json.JSONEncoder(separators=(",", ":")).encode


def empty_roll_up(dataset: str, date: str, form: str) -> bytes:
    """The roll-up that settles a format, before the first part."""
    return _dump(dataset, date, form, [])


def format_of_roll_up(name: str, body: bytes) -> str:
    """The format a roll-up settles. Raises `PrefixDamaged` where it cannot be read."""
    form, _ = _read_body(body)
    if form is None:
        raise PrefixDamaged(f"{name}: is unreadable, and there is no part to tell the prefix's format")
    return form


def parts_of(found: Iterable[ObjectInfo]) -> list[tuple[PartName, ObjectInfo]]:
    """The parts among these objects, by number (as text, `part-10000` comes before `part-9999`)."""
    named = ((parse_part_name(info.name), info) for info in found)
    return sorted(((name, info) for name, info in named if name is not None), key=lambda pair: pair[0])


def read_part_info(found: ObjectInfo) -> PartInfo:
    """The claims of a part. Raises `PrefixDamaged` where they cannot be read."""
    try:
        return part_info(found.metadata)
    except ValueError as malformed:
        raise PrefixDamaged(f"{found.name}: claims cannot be read: {malformed}") from None


class RollUp:
    """The roll-up of one prefix, fed part by part as this process creates or meets them."""

    def __init__(self, store: ObjectStore, dataset: str, date: str) -> None:
        self.name = raw_prefix(dataset, date) + ROLL_UP
        self._store = store
        self._dataset = dataset
        self._date = date
        self._unwritten: list[tuple[int, Entry]] | None = []
        self._last_write = float("-inf")
        self._landed_bytes = 0
        self._written_bytes = 0
        self._size = 0

    @property
    def stale(self) -> bool:
        """Is there a part that the stored roll-up may not have?"""
        return self._unwritten is None or bool(self._unwritten)

    def add(self, number: int, found: ObjectInfo, info: PartInfo) -> None:
        """A part that came into being while this process watched."""
        self._landed_bytes += found.size
        if self._unwritten is not None and len(self._unwritten) < MAX_UNWRITTEN:
            self._unwritten.append((number, entry_of(found, info)))
        else:
            self._unwritten = None

    def due(self, now: float) -> bool:
        """Stale, not written for `MIN_INTERVAL_S`, and cheap beside what was landed. `now` is monotonic seconds."""
        allowed = FREE_BYTES + MAX_SHARE * self._landed_bytes
        return self.stale and now - self._last_write >= MIN_INTERVAL_S and self._written_bytes + self._size <= allowed

    def write(self, now: float) -> None:
        """Bring the stored roll-up up to date. Raises the store's errors, and `GenerationChanged` where others write
        all the time; either way it stays stale and can be tried again."""
        self._last_write = now
        body = _update(self._store, self._dataset, self._date, self._unwritten)
        self._unwritten = []
        self._size = len(body)
        self._written_bytes += len(body)


def rebuild_roll_up(store: ObjectStore, dataset: str, date: str) -> int:
    """Make the roll-up anew from the parts alone, keeping the format; returns how many parts it lists.

    Raises the store's errors, `PrefixDamaged`, and `ObjectMissing` where the prefix is empty.
    """
    if not any(True for _ in store.list(raw_prefix(dataset, date))):
        raise ObjectMissing(f"{raw_prefix(dataset, date)}: there is nothing here")
    return int(json.loads(_update(store, dataset, date, None))["totals"]["parts"])


def _update(store: ObjectStore, dataset: str, date: str, unwritten: Sequence[tuple[int, Entry]] | None) -> bytes:
    """Read, add, write if nobody wrote in between; from the listing alone where entries do not follow on."""
    name = raw_prefix(dataset, date) + ROLL_UP
    for _ in range(_ATTEMPTS):
        generation, form, entries = _read(store, name)
        entries = None if entries is None or unwritten is None else _continued(entries, unwritten)
        if entries is None:
            listed = parts_of(store.list(raw_prefix(dataset, date) + "part-"))
            entries = [entry_of(found, read_part_info(found)) for _, found in listed]
            form = listed[0][0].extension if listed else form
        if form is None:
            raise PrefixDamaged(f"{name}: is unreadable, and there is no part to tell the prefix's format")
        body = _dump(dataset, date, form, entries)
        try:
            store.replace(name, body, content_type="application/json", if_generation=generation)
        except GenerationChanged:
            continue
        return body
    raise GenerationChanged(f"{name}: changed under {_ATTEMPTS} attempts to write it")


def _read(store: ObjectStore, name: str) -> tuple[int, str | None, list[Entry] | None]:
    try:
        info, body = store.read(name)
    except ObjectMissing:
        return 0, None, None
    return info.generation, *_read_body(body)


def _read_body(body: bytes) -> tuple[str | None, list[Entry] | None]:
    """Format and entries of a roll-up; None for what cannot be read, since anybody may have edited it."""
    try:
        told = json.loads(body)
        form = told["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, None
    if not isinstance(form, str):
        return None, None
    entries = told.get("parts")
    try:
        sound = all(_is_entry(entry, number) for number, entry in enumerate(entries, start=1))
    except (KeyError, TypeError):
        return form, None
    return form, entries if sound else None


def _is_entry(entry: Entry, number: int) -> bool:
    """Could it be what `_entry` says of the part of that number?"""
    name = parse_part_name(str(entry["name"]))
    counts = (entry["records"], entry["bytes"], entry["first_timestamp"], entry["last_timestamp"])
    return (
        name is not None
        and name.number == number
        and isinstance(entry["replay_id"], str | None)
        and all(isinstance(count, int) for count in counts)
    )


def _continued(entries: list[Entry], unwritten: Sequence[tuple[int, Entry]]) -> list[Entry] | None:
    """The entries with the new ones appended; None where there is a hole between what is stored and what is new."""
    new = [(number, entry) for number, entry in unwritten if number > len(entries)]
    follows = [number for number, _ in new] == list(range(len(entries) + 1, len(entries) + 1 + len(new)))
    return entries + [entry for _, entry in new] if follows else None


def entry_of(found: ObjectInfo, info: PartInfo) -> Entry:
    """What a roll-up says of a part."""
    claims: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for lane, offsets in info.claims.items():
        claims.setdefault(lane.topic_id, {})[str(lane.partition)] = list(offsets)
    return {
        "name": found.name.rpartition("/")[2],
        "kind": info.kind,
        "replay_id": info.replay_id,
        "records": info.records,
        "bytes": found.size,
        "crc32c": info.crc32c,
        "generation": found.generation,
        "first_timestamp": info.first_timestamp,
        "last_timestamp": info.last_timestamp,
        "claims": claims,
    }


def _dump(dataset: str, date: str, form: str, entries: Sequence[Entry]) -> bytes:
    """One part a line: people read these too."""
    told = {
        "version": ROLL_UP_VERSION,
        "dataset": dataset,
        "ingestion_date": date,
        "format": form,
        "totals": totals_of(entries),
    }
    head = json.dumps(told, indent=1)
    lines = ",\n  ".join(_compact(entry) for entry in entries)
    return f'{head[:-2]},\n "parts": [\n  {lines}\n ]\n}}\n'.encode()


def totals_of(entries: Sequence[Entry]) -> Entry:
    """What a roll-up says of all its parts together."""
    live = [entry for entry in entries if entry["replay_id"] is None]
    replays: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry["replay_id"] is not None:
            replays.setdefault(entry["replay_id"], []).append(entry)
    return {
        "parts": len(entries),
        "live": _total(live),
        "replays": {replay_id: _total(parts) for replay_id, parts in sorted(replays.items())},
    }


def _total(entries: Sequence[Entry]) -> Entry:
    return {
        "parts": len(entries),
        "records": sum(entry["records"] for entry in entries),
        "bytes": sum(entry["bytes"] for entry in entries),
        "first_timestamp": min((entry["first_timestamp"] for entry in entries), default=None),
        "last_timestamp": max((entry["last_timestamp"] for entry in entries), default=None),
    }
