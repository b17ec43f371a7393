"""`python -m tests.measured --torture FILE --memory FILE --mutants --simulate FILE`: figures for docs/reliability.md.

Torture runs come from the JSON lines of `make torture OUT=FILE`, memory from those of `make memory OUT=FILE`, mutants
from the seeds that the tests keep, the simulation from the last line of `make simulate`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.pages import filled
from tests.simulation.mutants import MUTANTS
from tests.simulation.registry import names

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
KILLED_AT = Path(__file__).parent / "simulation" / "killed_at.json"

Run = Mapping[str, Any]
"""One line of `make torture OUT=FILE`: the fields of `tests.torture.report.Report`, and `passed`."""


def main() -> int:
    """0: the page is written; 1: it has no place for a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.measured", description=__doc__)
    parser.add_argument("--torture", type=Path, help="JSON lines of torture runs")
    parser.add_argument("--memory", type=Path, help="JSON lines of make memory")
    parser.add_argument("--mutants", action="store_true", help="the mutants and the seeds that kill them")
    parser.add_argument("--simulate", type=Path, help="the output of make simulate")
    chosen = parser.parse_args()
    tables: dict[str, str] = {}
    if chosen.torture:
        tables["torture"] = torture_table([json.loads(line) for line in chosen.torture.read_text().splitlines()])
    if chosen.memory:
        tables["memory"] = memory_table([json.loads(line) for line in chosen.memory.read_text().splitlines()])
    if chosen.mutants:
        tables["mutants"] = mutants_table(json.loads(KILLED_AT.read_text()))
    if chosen.simulate:
        tables["simulation"] = f"`{chosen.simulate.read_text().strip().splitlines()[-1]}`"
    try:
        PAGE.write_text(filled(PAGE.read_text(), tables))
    except ValueError as lacking:
        print(f"measured: {PAGE.name}: {lacking}", file=sys.stderr)
        return 1
    print(f"measured: {PAGE.name}: {', '.join(tables) or 'nothing was given'}")
    return 0


def torture_table(runs: Sequence[Run]) -> str:
    """A row for each run, by brokers and seed, after a line that sums them up."""
    passed = sum(run["passed"] for run in runs)
    total = (
        f"{passed} of {len(runs)} runs passed: {_sum(runs, 'records'):,} records, {_sum(runs, 'kills')} kills,"
        f" {_sum(runs, 'stops')} stops, {_sum(runs, 'terms')} SIGTERMs, {_sum(runs, 'broker_faults')} broker faults,"
        f" {sum(sum(run['store_faults'].values()) for run in runs):,} storage faults;"
        f" {_sum(runs, 'duplicates')} duplicates, {_sum(runs, 'missing')} missing."
        f" Recovery (lag 0 after the faults end): {_spread(run['recovery_s'] for run in runs)}."
        f" Take-over after kill -9: {_spread(s for run in runs for s in run['takeover_s'])}."
        f" SIGTERM to exit: {_spread(s for run in runs for s in run['exit_s'])}."
        f" Largest consumer: {max((run['rss_mb'] for run in runs), default=0)} MB."
    )
    head = (
        "| seed | brokers | s | records | letters | kills | stops | SIGTERMs | broker faults | storage faults |"
        " duplicates | missing | recovery | passed |\n|" + "---|" * 14
    )
    ordered = sorted(runs, key=lambda run: (run["brokers"], run["seed"]))
    return "\n".join([total, "", head, *(_row(run) for run in ordered)])


def memory_table(runs: Sequence[Run]) -> str:
    """A row for each run: the consumer's RSS over time, in MB."""
    head = (
        "| run | MB in | s without storage | buffered | RSS before | at 1/4 | at 1/2 | at 3/4 | at its end |"
        " most of the whole run | in the end | audit | passed |\n|" + "---|" * 13
    )
    rows = [
        [
            run["story"],
            f"{run['written_mb']:,}",
            f"{run['outage_s']:.0f}",
            *(run["buffered_mb"], run["before"], *run["during"], run["most"], run["after"], run["audit"]),
            "yes" if run["passed"] else "**no**",
        ]
        for run in runs
    ]
    return "\n".join([head, *(f"| {' | '.join(map(str, cells))} |" for cells in rows)])


def mutants_table(killed_at: Mapping[str, int]) -> str:
    """A row for each mutant: what it does wrong, and the first seed that finds it out."""
    rows = [f"| {name} | {MUTANTS[name].breaks} | {killed_at.get(name, 'survives')} |" for name in names()]
    dead = sum(name in killed_at for name in names())
    head = f"{dead} of {len(rows)} mutants die.\n\n| mutant | what it does | killed by seed |\n|---|---|---|"
    return "\n".join([head, *rows])


def _row(run: Run) -> str:
    recovery = "never" if run["recovery_s"] is None else f"{run['recovery_s']:.1f} s"
    cells = [
        run["seed"],
        run["brokers"],
        f"{run['seconds']:.0f}",
        f"{run['records']:,}",
        *(run[name] for name in ("letters", "kills", "stops", "terms", "broker_faults")),
        sum(run["store_faults"].values()),
        run["duplicates"],
        run["missing"],
        recovery,
        "yes" if run["passed"] else "**no**",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _sum(runs: Iterable[Run], name: str) -> int:
    return sum(int(run[name]) for run in runs)


def _spread(seconds: Iterable[float | None]) -> str:
    found = sorted(s for s in seconds if s is not None)
    return f"median {median(found):.1f} s, longest {found[-1]:.1f} s of {len(found)}" if found else "none"


if __name__ == "__main__":
    sys.exit(main())
