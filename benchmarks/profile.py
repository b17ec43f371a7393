"""Where the time goes: `python -m benchmarks.profile [--records N] [--format json.gz] [--out FOLDER]`.

StreamLake lands a loaded topic under a sampler (`benchmarks/sampler.py`); prints CPU seconds per million records by
stage, by thread and by source line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.services.kafka import ServiceUnavailable, kafka

from benchmarks.events import load
from benchmarks.figures import RESULTS, about
from benchmarks.stage import Stage
from benchmarks.systems import streamlake

UNAVAILABLE = 3
SHOWN_LINES = 15


def main(arguments: Iterable[str]) -> int:
    """Land, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--records", type=int, default=500_000, help="records of the topic (default: 500000)")
    parser.add_argument("--format", default="json.gz", help="part format (default: json.gz)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    chosen = parser.parse_args(list(arguments))
    try:
        with kafka() as service, tempfile.TemporaryDirectory(prefix="streamlake-bench-") as name:
            folder = Path(name)
            stage = Stage(folder, service.bootstrap)
            load(service.bootstrap, chosen.records)
            samples = folder / "samples.json"
            command = [sys.executable, "-m", "benchmarks.sampler", str(samples)]
            run = streamlake(stage, chosen.format, chosen.records, folder, command=command)
            found = json.loads(samples.read_text())
    except ServiceUnavailable as e:
        print(e, file=sys.stderr)
        return UNAVAILABLE
    result = {"about": about(), "records": chosen.records, "format": chosen.format, "seconds": run.seconds} | found
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "profile.json").write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))
    print("\n| thread | CPU s per million | busy |\n|---|---|---|")
    for thread, used in result["threads"].items():
        print(f"| {thread} | {used / chosen.records * 1e6:.2f} | {used / run.seconds:.0%} of a core |")
    print("\n| line | CPU s per million |\n|---|---|")
    for line, used in list(result["lines"].items())[:SHOWN_LINES]:
        print(f"| `{line}` | {used / chosen.records * 1e6:.2f} |")
    total = sum(result["stages"].values())
    print(f"profile: {total / chosen.records * 1e6:.1f} CPU s per million records, {chosen.format}")
    return 0


def table(result: Mapping[str, dict[str, float]]) -> str:
    """The stages as Markdown."""
    stages, records = result["stages"], float(str(result["records"]))
    total = sum(stages.values())
    lines = ["| stage | CPU s per million | share |", "|---|---|---|"]
    lines += [f"| {stage} | {used / records * 1e6:.2f} | {used / total:.0%} |" for stage, used in stages.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
