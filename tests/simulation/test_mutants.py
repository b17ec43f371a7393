"""Each wrong protocol is killed by a seed that is known to do it. `make mutants` looks for the seeds anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.simulation.mutants import MUTANTS, in_force
from tests.simulation.play import play
from tests.simulation.registry import names

KILLED_AT: dict[str, int] = json.loads((Path(__file__).parent / "killed_at.json").read_text())


@pytest.mark.parametrize("name", names())
def test_the_simulation_kills_it(name: str) -> None:
    """And the right protocol passes the same seed."""
    seed = KILLED_AT[name]
    with in_force(name):
        assert not play(seed).verdict, f"{name}: {MUTANTS[name].breaks}"
    assert play(seed).verdict


def test_there_are_enough_of_them() -> None:
    assert len(names()) >= 25
    assert max(KILLED_AT.values()) < 1000
