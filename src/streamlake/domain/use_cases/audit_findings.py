"""Where the parts of an audit put what they find."""

from __future__ import annotations

from collections import Counter

from streamlake.domain.model.audit_report import MAX_FINDINGS, Finding, Ranges
from streamlake.domain.model.positions import Lane


class Findings:
    """Findings in the order in which they were made; of each kind so many, and the number of the others."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self._counts: Counter[str] = Counter()

    def add(
        self,
        kind: str,
        detail: str,
        *objects: str,
        lane: Lane | None = None,
        replay_id: str | None = None,
        offsets: Ranges | None = None,
    ) -> None:
        """One more. About no offsets at all, it is none."""
        if offsets is not None and not offsets:
            return
        self._counts[kind] += 1
        if self._counts[kind] <= MAX_FINDINGS:
            topic_id, partition = lane if lane is not None else (None, None)
            self.kept.append(Finding(kind, detail, list(objects), topic_id, partition, replay_id, offsets))

    @property
    def cut(self) -> list[Finding]:
        """A note for each kind of which not all were kept."""
        return [
            Finding("findings_cut", f"{kind}: {number} in all, {MAX_FINDINGS} of them are told")
            for kind, number in self._counts.items()
            if number > MAX_FINDINGS
        ]
