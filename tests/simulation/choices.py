"""Every decision of a simulated world comes from here: one number after the other, and zero is always the tame one.

A world that failed is shrunk by setting numbers to zero while it still fails; what is left is the story.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


class Choices:
    """A stream of decisions, of a seed or of a script; after the end of a script every choice is the tame one."""

    def __init__(self, seed: int, script: Sequence[float] | None = None, *, record: bool = False) -> None:
        self.seed = seed
        self.script: list[float] = list(script or ())
        self._at = 0
        if script is not None:
            self.draw = self._replay
        elif record:
            self._random = random.Random(seed)
            self.draw = self._record
        else:
            self.draw = random.Random(seed).random

    def below(self, count: int) -> int:
        """A number in `[0, count)`; 0 is the tame one."""
        return int(self.draw() * count)

    def chance(self, probability: float) -> bool:
        """True with this probability; False is the tame one."""
        return self.draw() >= 1.0 - probability

    def _record(self) -> float:
        number = self._random.random()
        self.script.append(number)
        return number

    def _replay(self) -> float:
        self._at += 1
        return self.script[self._at - 1] if self._at <= len(self.script) else 0.0
