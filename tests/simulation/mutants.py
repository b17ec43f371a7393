"""Wrong protocols, each one patch away from the right one. The simulation must tell every one of them from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.simulation.play import play


class Patches:
    """Replaces attributes, and puts them back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute of a class or a module."""
        self._undo.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a function by one made from it."""
        self.set(owner, name, make(vars(owner)[name]))

    def undo(self) -> None:
        """Put everything back."""
        while self._undo:
            setattr(*self._undo.pop())


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong protocol: what it does wrong, in a sentence, and how to make it."""

    name: str
    breaks: str
    patch: Callable[[Patches], None]


MUTANTS: dict[str, Mutant] = {}


def mutant(breaks: str) -> Callable[[Callable[[Patches], None]], Callable[[Patches], None]]:
    """Register a patch as a mutant, under its own name."""

    def register(patch: Callable[[Patches], None]) -> Callable[[Patches], None]:
        name = patch.__name__.replace("_", " ")
        MUTANTS[name] = Mutant(name, breaks, patch)
        return patch

    return register


@contextmanager
def in_force(name: str) -> Iterator[None]:
    """Everything is wrong in this way, for a while."""
    patches = Patches()
    try:
        MUTANTS[name].patch(patches)
        yield
    finally:
        patches.undo()


def killed_at(name: str, seeds: range) -> tuple[int, str] | None:
    """The first seed that tells a mutant from the right protocol, and the verdict; None where it survives."""
    with in_force(name):
        for seed in seeds:
            found = play(seed).verdict
            if not found:
                return seed, str(found)
    return None
