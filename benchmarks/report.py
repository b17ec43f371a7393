"""`python -m benchmarks.report`: puts what was measured into docs/performance.md, between its markers.

Each table stands between `<!-- name -->` and `<!-- /name -->` and is made of one JSON file of benchmarks/results/, so
that no figure is ever typed. Files that are not there leave their tables as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import http, profile
from benchmarks.figures import RESULTS, Point, load_landing, shapes_table, table
from benchmarks.quiet import Quiet

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def main() -> int:
    """Rewrite the page."""
    page = PAGE.read_text()
    replaced = []
    for name, text in sections(RESULTS):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin not in page or end not in page:
            print(f"report: {PAGE.name} has no markers for {name}", file=sys.stderr)
            return 1
        before, after = page.partition(begin)[0], page.partition(end)[2]
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
        replaced.append(name)
    PAGE.write_text(page)
    print(f"report: {PAGE.name}: {', '.join(replaced) or 'nothing measured yet'}")
    return 0


def sections(results: Path) -> Iterator[tuple[str, str]]:
    """Name and Markdown of each table that there are figures for."""
    if (path := results / "landing.json").exists():
        landing = load_landing(path)
        yield "landing", f"{landing.records:,} records, {landing.rounds} rounds.\n\n{table(landing)}"
        yield "machine", _about(landing.about)
    if (path := results / "profile.json").exists():
        told = json.loads(path.read_text())
        where = f"{told['records']:,} records as {told['format']}, commit {told['about']['commit']}."
        yield "stages", f"{where}\n\n{profile.tables(told)}"
    if (path := results / "http.json").exists():
        yield "http", http.table(http.load_http(path))
    if (path := results / "shapes.json").exists():
        told = json.loads(path.read_text())
        yield "shapes", shapes_table([Point(**point) for point in told["points"]])
        if told["quiet"]:
            yield "quiet", str(Quiet(**told["quiet"])) + "."


def _about(about: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in about.items())])


if __name__ == "__main__":
    sys.exit(main())
