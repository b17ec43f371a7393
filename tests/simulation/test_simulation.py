"""A slice of the simulation for every check; `make simulate SEEDS=50000` is the long one."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from tests.simulation.choices import Choices
from tests.simulation.play import play
from tests.simulation.world import World

SLICE = range(500)
ONCE_FAILED: tuple[int, ...] = (14, 50, 56, 67, 115, 137, 160, 202, 406, 476, 4525, 4573, 4677, 17567)
"""Seeds that have found something. (A change of the world changes what a seed means; the mutants keep the finds.)"""

MUST_HAPPEN = [
    "crashes",
    "stalls",
    "double owners",
    "failed",
    "lost",
    "late",
    "late applied",
    "denied",
    "conflicts",
    "letters",
    "void letters",
    "recreated topics",
    "replays",
    "regressed commits",
    "expired groups",
    "resets back",
    "resets ahead",
    "accepted gaps",
    "trims",
]


def test_every_seed_ends_well_and_every_kind_of_trouble_was_had() -> None:
    """A simulation that does not exercise a fault proves nothing about it."""
    counts: Counter[str] = Counter()
    for seed in chain(SLICE, ONCE_FAILED):
        played = play(seed)
        assert played.verdict, f"seed {seed}: {played.verdict}; `python -m tests.simulation --seed {seed}` tells it"
        counts.update(played.counts)
    assert {what: counts[what] for what in MUST_HAPPEN if not counts[what]} == {}


def test_a_topic_of_the_same_length_is_noticed_too() -> None:
    """Made anew with exactly as many records as an idle consumer had read of the old one."""
    assert play(2026).verdict


def test_a_seed_is_the_same_world_every_time() -> None:
    """Else a failing seed could not be told."""
    first, second = play(7, tell=True), play(7, tell=True)
    assert first.story == second.story
    assert first.counts == second.counts


def test_a_world_is_as_large_as_it_should_be() -> None:
    world = World(Choices(1))
    world.run()
    assert world.steps >= 150
    assert sum(len(lane.kinds) for lane in world.facts.lanes.values()) >= 60
