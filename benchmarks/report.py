"""`python -m benchmarks.report`: puts what was measured into docs/performance.md and README.md, between their markers.

Each table is made of one JSON file of benchmarks/results/. Files that are not there leave their tables as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.pages import filled

from benchmarks import http, profile
from benchmarks.figures import RESULTS, Point, load_landing, shapes_table, table
from benchmarks.quiet import Quiet
from benchmarks.shapes import conclusion

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"


def main() -> int:
    """Rewrite both pages."""
    tables = dict(sections(RESULTS))
    readme = README.read_text()
    of_readme = {name: text for name, text in tables.items() if f"<!-- {name} -->" in readme}
    try:
        PAGE.write_text(filled(PAGE.read_text(), tables))
        README.write_text(filled(readme, of_readme))
    except ValueError as lacking:
        print(f"report: {lacking}", file=sys.stderr)
        return 1
    print(f"report: {', '.join(tables) or 'nothing measured yet'}")
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
        loads, flooded = http.load_http(path)
        yield "http", http.table(loads)
        yield "overload", f"{flooded}."
    if (path := results / "shapes.json").exists():
        told = json.loads(path.read_text())
        points = [Point(**point) for point in told["points"]]
        yield "shapes", f"{shapes_table(points)}\n\n{conclusion(points)}."
        if told["quiet"]:
            yield "quiet", str(Quiet(**told["quiet"])) + "."


def _about(about: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in about.items())])


if __name__ == "__main__":
    sys.exit(main())
