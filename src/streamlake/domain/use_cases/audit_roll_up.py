"""The roll-up of a prefix held against its parts.

A roll-up lags behind the parts, and one that lists fewer of them is stale, which is nothing wrong. One that says of a
part what the part does not say, or names one that is not there, is.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from streamlake.domain.model.parts import PartInfo, parse_part_name, part_name
from streamlake.domain.ports.object_store import ObjectInfo
from streamlake.domain.use_cases.roll_up import ROLL_UP_VERSION, Entry, entry_of, totals_of


class ToldParts:
    """What one `_metadata.json` tells of its parts: 16 bytes of each, so that a hundred thousand of them stay small."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.format = str(told["format"])
        self._digests: dict[int, bytes] = {}
        for entry in told["parts"]:
            name = parse_part_name(entry["name"])
            if name is None or name.extension != self.format or entry["name"] != part_name(*name):
                raise ValueError(f"lists {entry['name']!r}, which is no part of format {self.format}")
            self._digests[name.number] = _digest(entry)

    def agree_with(self, number: int, found: ObjectInfo, info: PartInfo) -> bool:
        """Do they say of this part what it says of itself? Yes, where they do not know it."""
        told = self._digests.get(number)
        return told is None or told == _digest(entry_of(found, info))

    def beyond(self, last: int) -> list[int]:
        """The parts they tell of after the last one, ascending."""
        return sorted(number for number in self._digests if number > last)

    def __contains__(self, number: int) -> bool:
        return number in self._digests


def read_roll_up(body: bytes, dataset: str, date: str) -> ToldParts:
    """A roll-up's body. Raises ValueError where it is not one of this prefix, or contradicts itself."""
    try:
        told = json.loads(body)
        for name, wanted in (("version", ROLL_UP_VERSION), ("dataset", dataset), ("ingestion_date", date)):
            if told[name] != wanted:
                raise ValueError(f"{name} must be {wanted}, is {str(told[name])[:100]!r}")
        parts = ToldParts(told)
        if totals_of(told["parts"]) != told["totals"]:
            raise ValueError("totals are not those of its parts")
    except KeyError as missing:
        raise ValueError(f"{missing.args[0]} is missing") from None
    except (TypeError, AttributeError, RecursionError) as malformed:
        raise ValueError(f"is not a roll-up ({type(malformed).__name__})") from None
    return parts


def _digest(entry: Entry) -> bytes:
    """Of everything but the generation, which a copied bucket changes."""
    told = {name: value for name, value in entry.items() if name != "generation"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()[:16]
