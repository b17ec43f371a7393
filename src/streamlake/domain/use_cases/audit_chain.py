"""The chain of predecessors of one prefix: each part remembers a digest of the one before it.

Parts come in the order of their names' text, in which `part-10000` is before `part-9999`. So of each part a link is
kept until its successor comes, and of a part whose predecessor has not come yet what it remembers: a few at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from streamlake.domain.model.parts import PartInfo, Predecessor
from streamlake.domain.use_cases.audit_findings import Findings


class _Link(NamedTuple):
    name: str
    digest: str
    crc32c: str


class _Wait(NamedTuple):
    name: str
    previous: Predecessor


class Chain:
    """Fed part by part, once each."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._links: dict[int, _Link | None] = {}
        self._waiting: dict[int, _Wait] = {}

    def add(self, number: int, name: str, info: PartInfo | None) -> None:
        """One part; None where it cannot be read, and so can be held against nothing."""
        link = None if info is None else _Link(name, info.digest(name), info.crc32c)
        previous = None if info is None else info.previous
        if previous is not None and number == 1:
            self._broken(f"{name}: is the first part, and names one before it", name)
        elif previous is not None:
            self._look_back(number, _Wait(name, previous))
        elif link is not None and number > 1:
            self._broken(f"{name}: names no part before it", name)
        follower = self._waiting.pop(number + 1, None)
        if follower is None:
            self._links[number] = link
        else:
            self._compare(link, follower)

    def _look_back(self, number: int, this: _Wait) -> None:
        if number - 1 in self._links:
            self._compare(self._links.pop(number - 1), this)
        else:
            self._waiting[number] = this

    def _compare(self, before: _Link | None, after: _Wait) -> None:
        if before is None or before.digest == after.previous.digest:
            return
        changed = "name or claims" if before.crc32c == after.previous.crc32c else "body"
        self._broken(
            f"{after.name}: was written after a part with another {changed} than {before.name} has: one of the two was"
            " changed, swapped or renumbered",
            before.name,
            after.name,
        )

    def _broken(self, detail: str, *names: str) -> None:
        self._findings.add("chain_broken", detail, *names)
