"""`python -m tests.unit.audit_schema`: writes the JSON Schema of audit reports anew from the model."""

from __future__ import annotations

import json
from pathlib import Path

from streamlake.domain.model.audit_report import json_schema

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "audit-report.v1.json"


def text() -> str:
    """The file as it should be."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text())
