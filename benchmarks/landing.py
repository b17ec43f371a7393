"""Landing side by side: `python -m benchmarks.landing [--records N] [--rounds N] [--formats ...] [--out FOLDER]`.

A topic on a real Kafka is loaded once; then, in turn and several rounds over, each system lands it on an empty
bucket as a process of its own: consume() alone, the bare loop, StreamLake per part format, two StreamLakes on one
group, and every peer that is found. Prints the figures, and writes them with a plot.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console
from tests.services.kafka import ServiceUnavailable, kafka

from benchmarks.events import EVENT_BYTES, load
from benchmarks.figures import ALONE, BARE, RESULTS, Landing, about, ours, table, verdict
from benchmarks.peers import peers
from benchmarks.plot import plot_landing
from benchmarks.processes import Run
from benchmarks.stage import Stage
from benchmarks.systems import streamlake, yardstick
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import Settings

UNAVAILABLE = 3
System = Callable[[], Run]

say = Console(stderr=True, highlight=False, soft_wrap=True).print


def main(arguments: Iterable[str]) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.landing", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="records of the topic (default: 1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each system lands it (default: 3)")
    parser.add_argument("--formats", default="json.gz,json,parquet", help="part formats (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON and the plot go")
    chosen = parser.parse_args(list(arguments))
    landing = Landing(chosen.records, chosen.rounds, about())
    try:
        with kafka() as service, tempfile.TemporaryDirectory(prefix="streamlake-bench-") as folder:
            stage = Stage(Path(folder), service.bootstrap)
            say(f"loading {chosen.records:,} records of {EVENT_BYTES} bytes ...")
            load(service.bootstrap, chosen.records)
            measure(landing, systems(landing, stage, chosen.formats.split(","), Path(folder)))
    except ServiceUnavailable as e:
        say(e)
        return UNAVAILABLE
    landing.save(chosen.out / "landing.json")
    plot_landing(landing, chosen.out / "landing.png")
    print(table(landing))
    print(conclusion(landing))
    return 0


def systems(landing: Landing, stage: Stage, formats: Iterable[str], folder: Path) -> Mapping[str, System]:
    """Every system that can be measured here; `landing.absent` gets the others."""
    records = landing.records
    found: dict[str, System] = {
        ALONE: lambda: yardstick("consume", stage, records, folder),
        BARE: lambda: yardstick("bare", stage, records, folder),
    }
    known = [name for name in formats if name in _known_formats()]
    for name in formats:
        if name in known:
            found[ours(name)] = lambda name=name: streamlake(stage, name, records, folder)  # type: ignore[misc]
        else:
            landing.absent[ours(name)] = "not built yet"
    if known:
        found[ours(known[0], 2)] = lambda: streamlake(stage, known[0], records, folder, processes=2)
    for peer in peers():
        if peer.missing is None:
            found[peer.name] = lambda peer=peer: peer.run(stage, records, folder)  # type: ignore[misc]
        else:
            landing.absent[peer.name] = peer.missing
    return found


def measure(landing: Landing, found: Mapping[str, System]) -> None:
    """Round by round, so that what disturbs the machine for a while disturbs all of them."""
    for number in range(landing.rounds):
        for name, run_once in found.items():
            run = run_once()
            landing.runs.setdefault(name, []).append(run)
            say(
                f"round {number + 1}  {name:36} {run.records_per_s:>9,.0f} records/s"
                f"  {run.cpu_per_million:5.1f} CPU s per million  {run.rss_mib:5.0f} MiB"
            )


def conclusion(landing: Landing) -> str:
    """The last line: the issue's yardsticks."""
    main_format = ours("json.gz")
    if main_format not in landing.runs:
        return "bench: done"
    return verdict(
        landing,
        [
            ("records/s", landing.figure(main_format, lambda run: run.records_per_s)[1], ">=", 120_000),
            ("of consume() alone", landing.ratio(main_format, ALONE, lambda run: run.records_per_s), ">=", 0.35),
            ("CPU of the bare loop's", landing.ratio(main_format, BARE, lambda run: run.cpu_per_million), "<=", 1.3),
            ("peak RSS, MiB", landing.figure(main_format, lambda run: run.rss_mib)[2], "<=", 400),
        ],
    )


def _known_formats() -> frozenset[str]:
    """The part formats that this StreamLake is built with."""
    return frozenset(Container(settings=Settings()).part_formats())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
