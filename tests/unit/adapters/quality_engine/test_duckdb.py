"""DuckDB keeps the promises of the quality engine port, and its memory and time in bounds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from tests.contracts.quality_engine import COLUMNS, ZERO, QualityEngineContract, envelopes, found, metric

from streamlake.adapters.quality_engine.duckdb import DuckDbQualityEngine
from streamlake.adapters.quality_engine.duckdb_rows import ROWS_AT_ONCE
from streamlake.domain.model.quality_rules import DUPLICATE_VALUES, NULL_VALUES, NotMeasured, Query
from streamlake.domain.ports.quality_engine import QualityEngine


class TestDuckDb(QualityEngineContract):
    """With the port's whole promise."""

    @pytest.fixture
    def engine(self) -> QualityEngine:
        return DuckDbQualityEngine(memory_mb=64, timeout_s=60)


def test_a_query_that_takes_too_long_is_given_up_and_the_next_runs() -> None:
    tables = DuckDbQualityEngine(memory_mb=64, timeout_s=2).tables("orders", {"v1": COLUMNS})
    try:
        tables.load("part-0001.json", envelopes([b"{}"]))
        endless = "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE a.range % 7 = b.range % 11"
        measured = tables.measure("v1", Query(endless, ZERO), 0)
        assert isinstance(measured, NotMeasured)
        assert "STREAMLAKE_QUALITY__TIMEOUT_S" in measured.reason
        assert found(tables.measure("v1", Query("SELECT count(*) FROM orders", ZERO), 0)) == 1
    finally:
        tables.close()


def test_a_part_larger_than_a_batch_is_loaded_whole() -> None:
    tables = DuckDbQualityEngine(memory_mb=64, timeout_s=60).tables("orders", {"v1": COLUMNS})
    try:
        many = ROWS_AT_ONCE + 10
        assert tables.load("part-0001.json", envelopes([b'{"a": "%d"}' % n for n in range(many)])) == many
        assert found(tables.measure("v1", metric(NULL_VALUES, "a"), 0)) == 0
        assert found(tables.measure("v1", metric(DUPLICATE_VALUES, "a"), 0)) == 0
    finally:
        tables.close()


def test_nothing_is_left_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tables = DuckDbQualityEngine(memory_mb=64, timeout_s=60).tables("orders", {"v1": COLUMNS})
    tables.load("part-0001.json", envelopes([b"{}"]))
    assert list(tmp_path.iterdir())
    tables.close()
    assert list(tmp_path.iterdir()) == []
