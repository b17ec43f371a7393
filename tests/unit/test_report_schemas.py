"""The published JSON Schemas of status and summary are those of their models."""

from __future__ import annotations

from tests.unit.report_schemas import FOLDER, texts


def test_the_published_schemas_are_those_of_the_models() -> None:
    """`python -m tests.unit.report_schemas` writes them."""
    assert {name: (FOLDER / name).read_text() for name in texts()} == texts()
