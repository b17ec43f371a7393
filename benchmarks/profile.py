"""Where the time goes: `python -m benchmarks.profile [--records N] [--format json.gz] [--out FOLDER]`.

StreamLake lands a loaded topic under a sampler (`benchmarks/sampler.py`); prints CPU seconds per million records by
stage, by thread and by source line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.services.kafka import ServiceUnavailable, kafka

from benchmarks.events import load
from benchmarks.figures import RESULTS, about
from benchmarks.prefixes import fill_prefix
from benchmarks.stage import Stage, empty_bucket
from benchmarks.systems import streamlake

UNAVAILABLE = 3
SHOWN_LINES = 15


def main(arguments: Iterable[str]) -> int:
    """Land, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--records", type=int, default=500_000, help="records of the topic (default: 500000)")
    parser.add_argument("--format", default="json.gz", help="part format (default: json.gz)")
    parser.add_argument("--parts", type=int, default=0, help="parts already in the prefix (default: 0)")
    parser.add_argument("--dates", type=int, default=1, help="dates the records are of, in turn (default: 1)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    chosen = parser.parse_args(list(arguments))
    try:
        with kafka() as service, tempfile.TemporaryDirectory(prefix="streamlake-bench-") as name:
            folder = Path(name)
            stage = Stage(folder, service.bootstrap)
            load(service.bootstrap, chosen.records, days=range(chosen.dates))
            samples = folder / "samples.json"
            command = [sys.executable, "-m", "benchmarks.sampler", str(samples)]
            with empty_bucket() as bucket:
                fill_prefix(bucket, stage.dataset, int(time.time()) // 86_400, chosen.parts, chosen.format)
                run = streamlake(stage, chosen.format, chosen.records, folder, command=command, bucket=bucket)
            found = json.loads(samples.read_text())
    except ServiceUnavailable as e:
        print(e, file=sys.stderr)
        return UNAVAILABLE
    result = {"about": about(), "records": chosen.records, "format": chosen.format, "seconds": run.seconds} | found
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "profile.json").write_text(json.dumps(result, indent=2) + "\n")
    print(tables(result))
    total = sum(result["stages"].values())
    print(f"profile: {total / chosen.records * 1e6:.1f} CPU s per million records, {chosen.format}")
    return 0


def tables(result: Mapping[str, Any]) -> str:
    """Stages, threads and lines as Markdown."""
    stages, millions, seconds = result["stages"], result["records"] / 1e6, result["seconds"]
    total = sum(stages.values())
    lines = ["| stage | CPU s per million | share |", "|---|---|---|"]
    lines += [f"| {stage} | {used / millions:.2f} | {used / total:.0%} |" for stage, used in stages.items()]
    lines += ["", "| thread | CPU s per million | of a core |", "|---|---|---|"]
    lines += [f"| {name} | {used / millions:.2f} | {used / seconds:.0%} |" for name, used in result["threads"].items()]
    lines += ["", "| line | CPU s per million |", "|---|---|"]
    dearest = list(result["lines"].items())[:SHOWN_LINES]
    lines += [f"| `{line.replace('|', '¦')}` | {used / millions:.2f} |" for line, used in dearest]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
