"""Is the cost flat? `python -m benchmarks.shapes [--records N] [--rounds N] [--format json.gz] [--out FOLDER]`.

StreamLake lands topics of different shapes: 1 to 64 partitions, 1 to 5 dates interleaved, events of 100 bytes to
100 KB, 10 to 10,000 parts already in the prefix, little and much lag. CPU per record (per byte where sizes differ) is
what is compared. Then a quiet topic: what an idle consumer costs, and how soon after its max age an event is landed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

from tests.services.kafka import KafkaService, ServiceUnavailable, kafka

from benchmarks.events import EVENT_BYTES, load
from benchmarks.figures import RESULTS, Point, about, shapes_table
from benchmarks.landing import UNAVAILABLE, say
from benchmarks.plot import plot_shapes
from benchmarks.prefixes import fill_prefix
from benchmarks.processes import Run
from benchmarks.quiet import Quiet, quiet
from benchmarks.stage import Stage, empty_bucket
from benchmarks.systems import streamlake

PARTITIONS = (1, 4, 16, 64)
DATES = (1, 2, 5)
SIZES = (100, EVENT_BYTES, 1_000, 10_000, 100_000)
PARTS = (0, 10, 100, 1_000, 10_000)
LAGS = (0.5, 1, 5, 25)


@dataclass(frozen=True, slots=True)
class Shape:
    """A topic to land."""

    name: str
    at: str
    records: int
    size: int = EVENT_BYTES
    partitions: int = 4
    dates: int = 1
    parts: int = 0


def shapes(records: int) -> list[Shape]:
    """All of them, each beside the others of its kind."""
    total = records * EVENT_BYTES
    return [
        *(Shape("partitions", str(n), records, partitions=n) for n in PARTITIONS),
        *(Shape("dates interleaved", str(n), records, dates=n) for n in DATES),
        *(Shape("bytes per event", f"{size:,}", min(2 * records, total // size), size=size) for size in SIZES),
        *(Shape("parts already there", f"{n:,}", records, parts=n) for n in PARTS),
        *(Shape("lag", f"{int(records * share):,}", int(records * share)) for share in LAGS),
    ]


def main(arguments: Iterable[str]) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("--records", type=int, default=400_000, help="records of a usual topic (default: 400000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is landed (default: 3)")
    parser.add_argument("--format", default="json.gz", help="part format (default: json.gz)")
    parser.add_argument("--only", default="", help="only shapes whose name contains this; `quiet` for the quiet topic")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON and the plot go")
    chosen = parser.parse_args(list(arguments))
    points: list[Point] = []
    still: Quiet | None = None
    try:
        with kafka() as service, tempfile.TemporaryDirectory(prefix="streamlake-bench-") as name:
            wanted = [shape for shape in shapes(chosen.records) if chosen.only in shape.name]
            for _, group in groupby(wanted, lambda shape: shape.name):
                kind = list(group)
                points += _measure(kind, len(points), service, Path(name), chosen.format, chosen.rounds)
            if chosen.only in "quiet":
                still = quiet(Stage(Path(name), service.bootstrap, dataset="quiet"), Path(name), chosen.format)
    except ServiceUnavailable as e:
        say(e)
        return UNAVAILABLE
    chosen.out.mkdir(parents=True, exist_ok=True)
    told = {"about": about(), "format": chosen.format, "points": [asdict(p) for p in points]}
    told["quiet"] = None if still is None else asdict(still)
    (chosen.out / "shapes.json").write_text(json.dumps(told, indent=2) + "\n")
    if points:
        plot_shapes(points, chosen.out / "shapes.png")
        print(shapes_table(points))
    if still:
        print(still)
    print(f"shapes: {conclusion(points)}")
    return 0


def _measure(
    kind: Sequence[Shape], first: int, service: KafkaService, folder: Path, part_format: str, rounds: int
) -> list[Point]:
    """Load the topics of one kind of shape, then land them in turn: they share the machine's good and bad minutes."""
    stages = [_loaded(shape, first + n, service, folder) for n, shape in enumerate(kind)]
    runs: list[list[Run]] = [[] for _ in kind]
    for _ in range(rounds):
        for shape, stage, theirs in zip(kind, stages, runs, strict=True):
            with empty_bucket() as bucket:
                fill_prefix(bucket, stage.dataset, int(time.time()) // 86_400 - 1, shape.parts, part_format)
                theirs.append(streamlake(stage, part_format, shape.records, folder, bucket=bucket))
    for stage in stages:
        stage.delete_topic()
    points = [_point(shape, theirs) for shape, theirs in zip(kind, runs, strict=True)]
    for point in points:
        say(f"{point.shape:20} {point.at:>10}  {point.cost:7.1f} {point.unit}  {point.records_per_s:>9,.0f} records/s")
    return points


def _loaded(shape: Shape, number: int, service: KafkaService, folder: Path) -> Stage:
    stage = Stage(folder, service.bootstrap, dataset=f"shape-{number}", partitions=shape.partitions)
    days = [1] if shape.dates == 1 else list(range(1, shape.dates + 1))
    load(service.bootstrap, shape.records, size=shape.size, dataset=stage.dataset, days=days)
    return stage


def _point(shape: Shape, runs: Sequence[Run]) -> Point:
    def middle(of: Callable[[Run], float]) -> float:
        return median(map(of, runs))

    return Point(
        shape.name,
        shape.at,
        shape.records,
        shape.size,
        middle(lambda run: run.cpu_per_million),
        middle(lambda run: run.records_per_s),
        middle(lambda run: run.rss_mib),
        middle(lambda run: run.start_s),
    )


def conclusion(points: Sequence[Point]) -> str:
    """The dearest point of each shape over its cheapest."""
    told = []
    for shape in dict.fromkeys(point.shape for point in points):
        costs = [point.cost for point in points if point.shape == shape]
        told.append(f"{shape} {max(costs) / min(costs):.2f}")
    return "CPU, dearest over cheapest: " + ", ".join(told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
