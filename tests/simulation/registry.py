"""All mutants, and `python -m tests.simulation.registry [--write]`: the table of what kills them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.simulation import wrong_consumers, wrong_landing
from tests.simulation.mutants import MUTANTS, killed_at

SEEDS = range(1000)


def names() -> list[str]:
    """Every mutant there is."""
    assert wrong_landing is not wrong_consumers  # imported for what they register
    return list(MUTANTS)


def main() -> int:
    """Print the table; with `--write` keep the seeds for the test."""
    found: dict[str, int] = {}
    for name in names():
        killed = killed_at(name, SEEDS)
        seed, verdict = killed if killed is not None else ("-", "SURVIVES")
        print(f"{name:34} {seed:>4}  {verdict[:60]:60}  {MUTANTS[name].breaks}", flush=True)
        if killed is not None:
            found[name] = killed[0]
    if "--write" in sys.argv:
        (Path(__file__).parent / "killed_at.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"mutants: {len(found)} of {len(names())} killed within {len(SEEDS)} seeds")
    return 0 if len(found) == len(names()) else 1


if __name__ == "__main__":
    sys.exit(main())
