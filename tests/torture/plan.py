"""What a seed does to a world, and when: drawn before anything starts, so that a run can be told and told again.

Every lane is one victim, whose steps never overlap; lanes do. Each run has every deed of `DEEDS` and every class of
fault of the store at least once, whatever its length (from about 40 s on) and seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from tests.services.faults import DENIED, Fault

CONSUMERS = 3
LONGEST_STOP_S = 40.0
SHORTEST_STOP_S = 3.0
STORE_SLOT_S = 7.0
"""About how long one storm lasts in a long run; a short one has less for each."""


@dataclass(frozen=True, slots=True)
class Step:
    """One deed at one time, in seconds from the start. `length` is how long the victim is left like that."""

    at: float
    deed: str
    length: float = 0.0
    chance: float = 1.0

    @property
    def end(self) -> float:
        """When the victim has its peace again."""
        return self.at + self.length


Plan = Mapping[str, Sequence[Step]]
"""Lane (`consumer-1`, `api`, `broker`, `topic`, `store`) -> its steps, by time."""

CONSUMER_DEEDS = ("kill", "stop", "stop-beyond-session", "term")
API_DEEDS = ("kill", "stop")
BROKER_DEEDS: Mapping[int, Sequence[str]] = {1: ("kill", "stop"), 3: ("kill-leader", "stop-leader", "kill-coordinator")}
TOPIC_DEEDS = ("grow", "poison")


def draw(seed: int, seconds: float, brokers: int, session_s: float) -> Plan:
    """The plan of a seed."""
    dice = random.Random(seed)
    plan: dict[str, Sequence[Step]] = {}
    deck = dice.sample(CONSUMER_DEEDS, len(CONSUMER_DEEDS))
    for number in range(CONSUMERS):
        mine = deck[number::CONSUMERS]
        plan[f"consumer-{number + 1}"] = _lane(
            dice, seconds, mine, CONSUMER_DEEDS, lambda deed: _stop(dice, deed, seconds, session_s)
        )
    longest = max(1.0, min(6.0, seconds / 12))

    def down(_deed: str) -> float:
        return dice.uniform(1.0, longest)

    plan["api"] = _lane(dice, seconds, dice.sample(API_DEEDS, 2), API_DEEDS, down, rest=(8, 25))
    deeds = BROKER_DEEDS[brokers]
    plan["broker"] = _lane(dice, seconds, dice.sample(deeds, len(deeds)), deeds, down, rest=(seconds / 6, seconds / 4))
    plan["topic"] = _topic(dice, seconds)
    plan["store"] = _storms(dice, seconds)
    return plan


def _stop(dice: random.Random, deed: str, seconds: float, session_s: float) -> float:
    if deed == "stop":
        return dice.uniform(min(SHORTEST_STOP_S, session_s * 0.5), session_s * 0.8)
    if deed == "stop-beyond-session":
        return dice.uniform(session_s * 1.5, max(session_s * 2, min(LONGEST_STOP_S, seconds * 0.4)))
    return dice.uniform(0.0, 3.0)


def _lane(
    dice: random.Random,
    seconds: float,
    due: Sequence[str],
    deeds: Sequence[str],
    length: Callable[[str], float],
    rest: tuple[float, float] = (6, 16),
) -> list[Step]:
    """The due deeds first, then any, with rests between; what would outlast the run only where it is due."""
    steps: list[Step] = []
    waiting = list(due)
    at = dice.uniform(1, min(rest[1], seconds / 6))
    while waiting or at < seconds * 0.9:
        must = bool(waiting)
        deed = waiting.pop(0) if must else dice.choice(deeds)
        step = Step(at, deed, length(deed))
        if must or step.end < seconds:
            steps.append(step)
        at = step.end + dice.uniform(*rest)
    return steps


def _topic(dice: random.Random, seconds: float) -> list[Step]:
    poisons = [Step(dice.uniform(2, seconds * 0.9), "poison") for _ in range(max(2, round(seconds / 20)))]
    return sorted([Step(dice.uniform(0.2, 0.7) * seconds, "grow"), *poisons], key=lambda step: step.at)


def _storms(dice: random.Random, seconds: float) -> list[Step]:
    """One class of fault after the other, and sometimes two. Denials last for one request each, and come early: whom
    they befall looks again only after half a minute."""
    steps = [Step(dice.uniform(0.1, 0.5) * seconds, fault.value) for fault in DENIED]
    passing = [fault for fault in Fault if fault not in DENIED]
    rounds = max(1, int(seconds / STORE_SLOT_S / len(passing)))
    deck = [fault for _ in range(rounds) for fault in dice.sample(passing, len(passing))]
    slot = (seconds - 2) / len(deck)
    lengths = cycle((0.5, 0.8, 1.4))
    for number, fault in enumerate(deck):
        length = slot * next(lengths)
        steps.append(Step(1 + number * slot, fault.value, length, dice.choice((0.3, 0.6, 1.0))))
    return sorted(steps, key=lambda step: step.at)
