"""`python -m tests.unit.audit_words`: the tables of docs/audit.md, made from the model."""

from __future__ import annotations

from collections.abc import Mapping

from streamlake.domain.model.audit_report import FINDINGS, NOTES


def table(words: Mapping[str, str]) -> str:
    """Kind and meaning, a line each."""
    lines = [f"| `{kind}` | {meaning} |" for kind, meaning in words.items()]
    return "\n".join(["| kind | meaning |", "|---|---|", *lines])


if __name__ == "__main__":
    print(table(FINDINGS), table(NOTES), sep="\n\n")
