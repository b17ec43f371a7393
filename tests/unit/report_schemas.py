"""`python -m tests.unit.report_schemas`: writes the JSON Schemas of status and summary anew from their models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from streamlake.domain.model.day_summary import summary_schema
from streamlake.domain.model.status_report import status_schema

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def texts() -> Mapping[str, str]:
    """File name -> the file as it should be."""
    schemas = {"status.v1.json": status_schema(), "summary.v1.json": summary_schema()}
    return {name: json.dumps(schema, indent=2) + "\n" for name, schema in schemas.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
