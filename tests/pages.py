"""Pages whose tables are measured, never typed: each stands between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

from collections.abc import Mapping


def filled(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table between its markers. Raises ValueError where there are none."""
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"there are no markers for {name}")
        page = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return page
