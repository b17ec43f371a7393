"""The published schema of audit reports is the model's, and reports keep to it."""

from __future__ import annotations

import json

import jsonschema
from tests.unit.audit_schema import SCHEMA, text
from tests.unit.audit_words import table
from tests.unit.domain.audited import sound_world
from tests.unit.domain.worlds import PREFIX

from streamlake.domain.model.audit_report import FINDINGS, NOTES, AuditReport, audit_report
from streamlake.domain.use_cases.audit_reports import AuditReports


def test_the_schema_is_the_models() -> None:
    assert SCHEMA.read_text() == text(), "python -m tests.unit.audit_schema writes it"


def test_the_page_tells_every_kind_of_finding_and_note() -> None:
    page = (SCHEMA.parents[1] / "audit.md").read_text()
    for words in (FINDINGS, NOTES):
        assert table(words) in page, "python -m tests.unit.audit_words prints it"


def test_reports_keep_to_the_schema_and_can_be_read_back() -> None:
    world = sound_world()
    sound = world.audit()
    world.delete(f"{PREFIX}part-0002.json")
    damaged = world.audit(date="2026-11-21")
    for report in (sound, damaged):
        jsonschema.validate(json.loads(report.to_json()), json.loads(SCHEMA.read_text()))
        assert audit_report(report.to_json()) == report


def test_the_last_report_kept_is_the_last_one() -> None:
    world = sound_world()
    reports = AuditReports("orders", world.store)
    assert reports.last() is None
    first: AuditReport = world.audit()
    name = reports.keep(first)
    assert name == "ops/audit/dataset=orders/date=2026-11-21/103300.000000Z-1.json"
    assert reports.last() == (name, first)
    world.delete(f"{PREFIX}part-0002.json")
    second = reports.keep(world.audit())
    assert second.endswith("Z-2.json")
    last = reports.last()
    assert last is not None
    assert (last[0], last[1].verdict) == (second, "findings")
    assert reports.last(lambda report: report.verdict == "clean") == (name, first)
