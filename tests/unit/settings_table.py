"""The table of docs/settings.md, made from the settings themselves.

`python -m tests.unit.settings_table` writes it anew.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo
from tests.unit.commands import ANY_PROPERTY, settings

PAGE = Path(__file__).parents[2] / "docs/settings.md"
BEGIN, END = "<!-- made by `python -m tests.unit.settings_table` -->\n", "<!-- until here -->\n"


def table() -> str:
    """Every setting with its default, what it may be and what it does."""
    return "".join(f"| {' | '.join(row)} |\n" for row in _rows())


def page_with(table: str) -> str:
    """The page as it is, with this table in its place."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + table + END + rest.split(END)[1]


def _rows() -> Iterator[tuple[str, str, str, str]]:
    yield "variable", "default", "value", "what"
    yield "---", "---", "---", "---"
    for variable, model, name in settings():
        field = model.model_fields[name]
        says = (field.description or "").replace("|", "\\|")
        if variable == ANY_PROPERTY:
            yield f"`{variable}<PROPERTY>`", "", "text", says
        else:
            yield f"`{variable}`", f"`{field.default}`", _values(field), says


def _values(field: FieldInfo) -> str:
    choices = typing.get_args(field.annotation)
    if choices:
        return " or ".join(f"`{choice}`" for choice in choices)
    kind = {"int": "integer", "float": "number", "Path": "path"}.get(getattr(field.annotation, "__name__", ""), "text")
    return kind + "".join(map(_bound, field.metadata))


def _bound(rule: object) -> str:
    """In words. Raises ValueError for a rule that there are none for: the table must not be silent about one."""
    if isinstance(rule, Ge):
        return f", at least {rule.ge}"
    if isinstance(rule, Gt):
        return f", above {rule.gt}"
    if isinstance(rule, Le):
        return f", at most {rule.le}"
    if pattern := getattr(rule, "pattern", None):
        return f" like `{pattern}`"
    raise ValueError(f"no words for {rule!r}")


if __name__ == "__main__":
    PAGE.write_text(page_with(table()))
