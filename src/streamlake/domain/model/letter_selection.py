"""Which letters somebody means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamlake.domain.model.letters import DeadLetter, LetterId
from streamlake.domain.model.positions import Offsets

NO_VERSION = "none"
"""How a record without `schema_version` is selected by it."""

_RANGE = re.compile(r"(\d{1,9}):(\d{1,19})-(\d{1,19})")


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """Letters that meet every condition; an empty condition is met by all. Times are milliseconds since the epoch."""

    letters: frozenset[LetterId] = frozenset()
    error_classes: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    schema_versions: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    """The failure is before this."""
    source_offsets: Mapping[int, Offsets] = field(default_factory=dict)
    """Raw partition -> offsets. A letter of the API has neither, so it never meets this."""

    def __contains__(self, letter: DeadLetter) -> bool:
        """Does this letter meet every condition?"""
        return (
            (not self.letters or letter.id in self.letters)
            and (not self.error_classes or letter.error_class in self.error_classes)
            and (not self.stages or letter.stage in self.stages)
            and (not self.schema_versions or (letter.schema_version or NO_VERSION) in self.schema_versions)
            and (self.since_ms is None or letter.timestamp >= self.since_ms)
            and (self.until_ms is None or letter.timestamp < self.until_ms)
            and (not self.source_offsets or self._has_source(letter))
        )

    def _has_source(self, letter: DeadLetter) -> bool:
        source = letter.source
        return source is not None and source.offset in self.source_offsets.get(source.partition, ())

    @property
    def is_everything(self) -> bool:
        """Is there no condition at all?"""
        return self == LetterSelection()


def offset_ranges(texts: Iterable[str]) -> dict[int, Offsets]:
    """`0:100-200` as partition 0, offsets `[100, 200)`. Raises ValueError, naming what is malformed."""
    ranges: dict[int, Offsets] = {}
    for text in texts:
        found = _RANGE.fullmatch(text)
        if found is None or int(found[2]) >= int(found[3]):
            raise ValueError(f"must be PARTITION:START-END with START < END (END is not included), is {text}")
        ranges.setdefault(int(found[1]), Offsets()).add(int(found[2]), int(found[3]))
    return ranges
