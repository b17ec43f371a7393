"""Tables of the reliability page are made from figures, never typed."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from tests.measured import PAGE, memory_table, mutants_table, torture_table
from tests.pages import filled
from tests.simulation.registry import names
from tests.torture.memory import Sizes
from tests.torture.report import Report


def test_runs_are_summed_up_and_a_failed_one_is_marked() -> None:
    good = Report(2, 90, 1, records=1000, kills=3, store_faults={"503": 4}, recovery_s=2.0, takeover_s=[7.0])
    bad = Report(1, 90, 1, broken=["missing"], missing=1)
    table = torture_table([asdict(run) | {"passed": run.passed} for run in (good, bad)])
    assert table.startswith("1 of 2 runs passed: 1,000 records, 3 kills,")
    assert "1 missing. Recovery (lag 0 after the faults end): median 2.0 s, longest 2.0 s of 1." in table
    rows = table.splitlines()[-2:]
    assert rows[0].startswith("| 1 | 1 | 90 |")
    assert rows[0].endswith("| never | **no** |")
    assert rows[1].endswith("| 4 | 0 | 0 | 2.0 s | yes |")


def test_a_consumer_that_grows_or_is_too_large_or_has_not_landed_everything_has_failed() -> None:
    small = Sizes("outage", 60, 1500, 268, 150, [300, 420, 425, 430], 550, 500, audit=0)
    growing = replace(small, during=[300, 400, 425, 430])
    assert [small.passed, growing.passed, replace(small, most=600).passed, replace(small, audit=1).passed] == [
        True,
        False,
        False,
        False,
    ]
    rows = memory_table([asdict(run) | {"passed": run.passed} for run in (small, growing)]).splitlines()[-2:]
    assert rows[0] == "| outage | 1,500 | 60 | 268 | 150 | 300 | 420 | 425 | 430 | 550 | 500 | 0 | yes |"
    assert rows[1].endswith("| **no** |")


def test_a_mutant_that_nothing_kills_is_said_to_survive() -> None:
    first, *others = names()
    table = mutants_table(dict.fromkeys(others, 0))
    assert f"{len(others)} of {len(others) + 1} mutants die." in table
    assert next(line for line in table.splitlines() if line.startswith(f"| {first} |")).endswith("| survives |")


def test_the_page_has_a_place_for_every_table_and_keeps_the_rest() -> None:
    page = PAGE.read_text()
    once = filled(page, dict.fromkeys(("torture", "memory", "mutants", "simulation"), "TABLE"))
    assert once.count("TABLE") == 4
    assert filled(once, {"torture": "TABLE"}) == once
    with pytest.raises(ValueError, match="no markers"):
        filled(page, {"nonsense": ""})
