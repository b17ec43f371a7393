"""Playing one seed: its verdict, its figures, and of a failed one the shortest story that still fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.simulation.choices import Choices
from tests.simulation.verdict import Verdict
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a world."""

    seed: int
    verdict: Verdict
    steps: int
    counts: Mapping[str, int]
    story: Sequence[str] = ()
    script: Sequence[float] = ()


def play(seed: int, script: Sequence[float] | None = None, *, tell: bool = False, record: bool = False) -> Played:
    """Run a seed's world, or one whose decisions are given. Deterministic."""
    story: list[str] | None = [] if tell else None
    choices = Choices(seed, script, record=record)
    world = World(choices, told=story)
    try:
        found = world.run()
    except Exception as surprise:  # noqa: BLE001 - a process that dies of a surprise is a verdict too
        found = Verdict(broken=f"a process died: {surprise!r}")
    return Played(seed, found, world.steps, world.facts.counts, story or (), choices.script)


def shrink(seed: int, *, tries: int = 400) -> Played:
    """The story of a failed seed with as many decisions made tame as possible: halves, quarters ... single ones."""
    script = list(play(seed, record=True).script)
    chunk = len(script) // 2
    while chunk and tries:
        at = 0
        while at < len(script) and tries:
            if any(script[at : at + chunk]):
                tries -= 1
                tamed = [*script[:at], *[0.0] * len(script[at : at + chunk]), *script[at + chunk :]]
                if not play(seed, tamed).verdict:
                    script = tamed
            at += chunk
        chunk //= 2
    return play(seed, script, tell=True)
