"""The proof: every offset of the log against every row of the raw zone and every dead letter, record by record.

It trusts nobody: no claim, no roll-up, no count of the processes; it reads the log, the bodies and the letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.model.parts import parse_part_name, raw_folder
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.ports.event_log import LogAdmin, LogReader
from streamlake.domain.ports.object_store import ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.entrypoints.demo.traffic import DATASET, Sent

Place = tuple[int, int]
"""(partition, offset)"""

_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")


class _Row(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    payload: msgspec.Raw


@dataclass(slots=True)
class Proof:
    """Everything counted, and everything wrong; `holds` if nothing is."""

    logged: int = 0
    landed: int = 0
    consumer_letters: Counter[str] = field(default_factory=Counter)
    api_letters: Counter[str] = field(default_factory=Counter)
    missing: list[Place] = field(default_factory=list)
    duplicated: list[Place] = field(default_factory=list)
    landed_and_lettered: list[Place] = field(default_factory=list)
    phantom: list[Place] = field(default_factory=list)
    changed: list[Place] = field(default_factory=list)
    accepted_not_landed: list[Place] = field(default_factory=list)
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name -> the two sides of a sum that must be equal."""

    @property
    def failures(self) -> list[str]:
        """What does not hold, in words."""
        wrong = [
            f"{name.replace('_', ' ')}: {len(places)}, first {places[:5]}"
            for name, places in (
                ("missing", self.missing),
                ("duplicated", self.duplicated),
                ("landed_and_lettered", self.landed_and_lettered),
                ("phantom", self.phantom),
                ("changed", self.changed),
                ("accepted_not_landed", self.accepted_not_landed),
            )
            if places
        ]
        return wrong + [f"{name}: {left} is not {right}" for name, (left, right) in self.sums.items() if left != right]


def prove(
    reader: LogReader,
    admin: LogAdmin,
    store: ObjectStore,
    formats: Mapping[str, PartFormat],
    since: Mapping[TopicPartition, int],
    sent: Sent,
    past_the_api: int,
) -> Proof:
    """Compare what the log holds from `since` on with what has landed and what has been lettered."""
    proof = Proof()
    log = _log(reader, admin, since)
    rows = _rows(store, formats, since)
    letters = _letters(reader, admin, since, sent, proof)
    landed = Counter(place for place, _ in rows)
    proof.logged, proof.landed = len(log), len(rows)
    proof.missing = sorted(log.keys() - landed.keys() - letters)
    proof.duplicated = sorted(place for place, times in landed.items() if times > 1)
    proof.landed_and_lettered = sorted(landed.keys() & letters)
    proof.phantom = sorted((landed.keys() | letters) - log.keys())
    proof.changed += sorted(
        place for place, payload in rows if payload != (log.get(place) or b"").translate(_LINE_BREAKS)
    )
    proof.accepted_not_landed = sorted(sent.accepted - landed.keys())
    accepted, rejected, unknown = (sent.statuses[status] for status in (202, 422, 404))
    lettered = proof.consumer_letters.total()
    proof.sums["sent = 202 + 422 + 404"] = (sent.total, accepted + rejected + unknown)
    proof.sums["422 = API dead letters"] = (rejected, proof.api_letters.total())
    proof.sums["202 + past the API = offsets in the log"] = (accepted + past_the_api, proof.logged)
    proof.sums["202 + past the API = landed + consumer dead letters"] = (
        accepted + past_the_api,
        proof.landed + lettered,
    )
    return proof


def _log(reader: LogReader, admin: LogAdmin, since: Mapping[TopicPartition, int]) -> dict[Place, bytes | None]:
    lanes = [lane for lane in since if lane.topic == raw_topic(DATASET)]
    found: dict[Place, bytes | None] = {}
    for lane, marks in admin.watermarks(lanes).items():
        for batch in reader.read(lane, since[lane], marks.high):
            found.update(zip(((lane.partition, offset) for offset in batch.offsets), batch.values, strict=True))
    return found


def _rows(
    store: ObjectStore, formats: Mapping[str, PartFormat], since: Mapping[TopicPartition, int]
) -> list[tuple[Place, bytes]]:
    decoder = msgspec.json.Decoder(_Row)
    found = []
    for info in store.list(raw_folder(DATASET)):
        name = parse_part_name(info.name)
        if name is None:
            continue
        for line in formats[name.extension].envelopes(store.read(info.name)[1]):
            row = decoder.decode(line)
            if row.offset >= since[TopicPartition(row.topic, row.partition)]:
                found.append(((row.partition, row.offset), bytes(row.payload)))
    return found


def _letters(
    reader: LogReader, admin: LogAdmin, since: Mapping[TopicPartition, int], sent: Sent, proof: Proof
) -> set[Place]:
    """Consumer-stage letters as a set (one sent twice after a crash is one); API-stage ones against what was sent."""
    lanes = [lane for lane in since if lane.topic == dlq_topic(DATASET)]
    expected = dict(sent.lettered)
    places: set[Place] = set()
    for lane, marks in admin.watermarks(lanes).items():
        for batch in reader.read(lane, since[lane], marks.high):
            for offset, value, headers in zip(batch.offsets, batch.values, batch.headers, strict=True):
                told = {name: (content or b"").decode() for name, content in headers if name.startswith("dlq_")}
                if "dlq_resolution" in told:
                    continue
                if told["dlq_stage"] == "api":
                    proof.api_letters[told["dlq_error_class"]] += 1
                    if expected.get((lane.partition, offset)) != value:
                        proof.changed.append((lane.partition, offset))
                    continue
                place = (int(told["dlq_source_partition"]), int(told["dlq_source_offset"]))
                if place not in places:
                    places.add(place)
                    proof.consumer_letters[told["dlq_error_class"]] += 1
    return places
