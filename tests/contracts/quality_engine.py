"""What every quality engine promises: subclass `QualityEngineContract` and supply the fixture `engine`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.part_format import rows_of

from streamlake.adapters.part_format.ndjson import JsonPartFormat
from streamlake.domain.errors import PrefixDamaged
from streamlake.domain.model.columns import Column, DecimalType, ListType, Scalar, StructType
from streamlake.domain.model.quality_rules import (
    DUPLICATE_VALUES,
    EACH,
    INVALID_VALUES,
    MISSING_VALUES,
    NULL_VALUES,
    ROW_COUNT,
    Found,
    Measured,
    Measurement,
    Metric,
    NotMeasured,
    Place,
    Query,
    Threshold,
)
from streamlake.domain.ports.quality_engine import QualityEngine, QualityTables

ITEM = StructType((Column("sku", Scalar.TEXT), Column("n", Scalar.LONG)))
COLUMNS = [
    Column("a", Scalar.TEXT),
    Column("n", Scalar.INTEGER),
    Column("d", DecimalType(30, 10)),
    Column("f", Scalar.NUMBER),
    Column("at", Scalar.TIMESTAMP),
    Column("on", Scalar.DATE),
    Column("ok", Scalar.BOOLEAN),
    Column("in", StructType((Column("x", Scalar.TEXT),))),
    Column("items", ListType(ITEM)),
    Column("order-id", Scalar.TEXT),
]
ZERO = Threshold("mustBe", (0,))
PART = "part-0001.json"
HUGE = 10**37 + 1


def envelopes(payloads: Sequence[bytes], start: int = 0) -> Iterator[bytes]:
    """As a part gives them, all of `v1` and of partition 3."""
    form = JsonPartFormat()
    return form.envelopes(form.encode("orders", [rows_of(payloads, start=start)], None).body)


def metric(name: str, *path: str, **rest: Any) -> Metric:
    """A metric at one path."""
    return Metric(name, ZERO, (path,) if path else (), **rest)


def found(measured: Measurement) -> Found:
    """The number of a check that was carried out."""
    assert isinstance(measured, Measured), measured
    return measured.found


def offsets(measured: Measurement) -> list[int]:
    """The offenders' offsets."""
    assert isinstance(measured, Measured), measured
    return [place.offset for place in measured.offenders]


class QualityEngineContract:
    """Every promise of the port, one test each."""

    @pytest.fixture
    def tables(self, engine: QualityEngine) -> Iterator[QualityTables]:
        tables = engine.tables("orders", {"v1": COLUMNS})
        yield tables
        tables.close()

    def loaded(self, tables: QualityTables, *documents: object) -> QualityTables:
        """The tables with these documents in one part; bytes are taken as they are."""
        tables.load(PART, envelopes([d if isinstance(d, bytes) else json.dumps(d).encode() for d in documents]))
        return tables

    def sql(self, tables: QualityTables, text: str) -> Measurement:
        """A query of a contract."""
        return tables.measure("v1", Query(text, ZERO), 10)

    def test_rows_are_counted_per_version_those_without_a_table_too(self, tables: QualityTables) -> None:
        strange = next(envelopes([b"{}"])).replace(b'"v1"', b'"v9"')
        assert tables.load(PART, [*envelopes([b"{}", b"{}"]), strange]) == 3
        assert tables.rows() == {"v1": 2, "v9": 1}
        assert found(tables.measure("v1", metric(ROW_COUNT), 0)) == 2

    def test_null_and_absent_are_the_same_and_the_last_of_a_repeated_key_counts(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "x"}, {"a": None}, {}, b'{"a": null, "a": "x"}', b'{"a": "x", "a": null}')
        measured = tables.measure("v1", metric(NULL_VALUES, "a"), 10)
        assert (found(measured), offsets(measured)) == (3, [1, 2, 4])

    def test_offenders_are_places_in_order_and_no_more_than_asked_for(self, tables: QualityTables) -> None:
        tables.load("part-0002.json", envelopes([b"{}"] * 3, start=5))
        tables.load(PART, envelopes([b"{}"] * 3))
        measured = tables.measure("v1", metric(NULL_VALUES, "a"), 4)
        assert measured == Measured(
            6, (Place(PART, 3, 0), Place(PART, 3, 1), Place(PART, 3, 2), Place("part-0002.json", 3, 5))
        )
        assert tables.measure("v1", metric(NULL_VALUES, "a"), 0) == Measured(6)

    def test_percent_is_of_all_rows_and_nothing_of_nothing_is_zero(self, tables: QualityTables) -> None:
        share = metric(NULL_VALUES, "a", percent=True)
        assert found(tables.measure("v1", share, 0)) == 0

    def test_percent_has_six_digits_behind_the_point(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "x"}, {"a": "x"}, {})
        assert found(tables.measure("v1", metric(NULL_VALUES, "a", percent=True), 0)) == Decimal("33.333333")

    def test_missing_values_are_null_and_the_listed_ones(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "", "n": 0}, {"a": "n/a", "n": 1}, {"a": "it's"}, {"a": "x", "n": 2}, {})
        texts = tables.measure("v1", metric(MISSING_VALUES, "a", missing=(None, "", "n/a", "it's", 3, True)), 10)
        assert offsets(texts) == [0, 1, 2, 4]
        numbers = tables.measure("v1", metric(MISSING_VALUES, "n", missing=(0, 1.0, "2", 2.5)), 10)
        assert offsets(numbers) == [0, 1, 2, 4]

    def test_invalid_values_are_neither_null_nor_listed(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "x"}, {"a": "X"}, {"a": None}, {"a": "y"})
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, "a", valid=("x", "y", None)), 10)) == [1]
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, "a", valid=()), 10)) == [0, 1, 3]

    def test_a_pattern_is_searched_for_and_must_agree_with_the_valid_values(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "ab", "n": 12}, {"a": "ba", "n": 3}, {"a": "c'"}, {})
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, "a", pattern="b"), 10)) == [2]
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, "a", pattern="^b"), 10)) == [0, 2]
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, "a", pattern="b", valid=("ab",)), 10)) == [1, 2]
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, "n", pattern="^[0-9]$"), 10)) == [0]

    def test_a_pattern_that_is_none_is_told_and_not_counted(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "x"})
        measured = tables.measure("v1", metric(INVALID_VALUES, "a", pattern="("), 10)
        assert isinstance(measured, NotMeasured)
        assert "pattern" in measured.reason

    def test_duplicates_are_values_that_are_there_more_than_once_and_never_null(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "x"}, {"a": "y"}, {"a": "x"}, {"a": "x"}, {}, {}, {"a": "z"})
        measured = tables.measure("v1", metric(DUPLICATE_VALUES, "a"), 10)
        assert (found(measured), offsets(measured)) == (1, [0, 2, 3])

    def test_duplicates_of_several_properties_are_of_them_together(self, tables: QualityTables) -> None:
        both = Metric(DUPLICATE_VALUES, ZERO, (("a",), ("n",)))
        self.loaded(tables, {"a": "x", "n": 1}, {"a": "x", "n": 2}, {"a": "x", "n": 1}, {"a": "x"}, {"a": "x"})
        measured = tables.measure("v1", both, 10)
        assert (found(measured), offsets(measured)) == (1, [0, 2])

    def test_numbers_and_moments_are_compared_by_what_they_are(self, tables: QualityTables) -> None:
        self.loaded(
            tables,
            b'{"d": 1.50, "at": "2026-01-01T00:00:00Z"}',
            b'{"d": 1.5, "at": "2026-01-01t01:00:00+01:00"}',
            b'{"d": 15e-1, "at": "2026-01-01T00:00:00.000001Z"}',
        )
        assert offsets(tables.measure("v1", metric(DUPLICATE_VALUES, "d"), 10)) == [0, 1, 2]
        assert offsets(tables.measure("v1", metric(DUPLICATE_VALUES, "at"), 10)) == [0, 1]

    def test_big_integers_and_decimals_are_exact(self, tables: QualityTables) -> None:
        digits = "12345678901234567890.0123456789"
        self.loaded(tables, b'{"n": %d, "d": %s}' % (HUGE, digits.encode()), b'{"n": %d, "d": 0.1}' % (HUGE - 1))
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, "n", valid=(HUGE,)), 10)) == [1]
        assert found(tables.measure("v1", metric(DUPLICATE_VALUES, "n"), 0)) == 0
        assert found(self.sql(tables, "SELECT sum(n) FROM orders")) == 2 * HUGE - 1
        assert found(self.sql(tables, "SELECT sum(d) FROM orders")) == Decimal("12345678901234567890.1123456789")

    def test_a_value_in_an_object_counts_where_the_object_is(self, tables: QualityTables) -> None:
        self.loaded(tables, {"in": {"x": "1"}}, {"in": {}}, {"in": None}, {}, {"in": {"x": "1"}})
        assert offsets(tables.measure("v1", metric(NULL_VALUES, "in", "x"), 10)) == [1]
        assert offsets(tables.measure("v1", metric(DUPLICATE_VALUES, "in", "x"), 10)) == [0, 4]

    def test_a_row_counts_once_where_any_element_does(self, tables: QualityTables) -> None:
        self.loaded(
            tables,
            {"items": [{"sku": "a"}, {"n": 1}, {"n": 2}]},
            {"items": [{"sku": "a"}, {"sku": "a"}]},
            {"items": []},
            {},
            {"items": [None, {"sku": "b"}]},
        )
        at = ("items", EACH, "sku")
        assert offsets(tables.measure("v1", metric(NULL_VALUES, *at), 10)) == [0]
        assert offsets(tables.measure("v1", metric(INVALID_VALUES, *at, valid=("a",)), 10)) == [4]
        assert offsets(tables.measure("v1", metric(NULL_VALUES, "items", EACH), 10)) == [4]

    def test_duplicates_in_an_array_are_within_it(self, tables: QualityTables) -> None:
        self.loaded(
            tables,
            {"items": [{"sku": "a"}, {"sku": "b"}]},
            {"items": [{"sku": "a"}, {"sku": "a"}]},
            {"items": [{"n": 1}, {"n": 1}]},
        )
        assert offsets(tables.measure("v1", metric(DUPLICATE_VALUES, "items", EACH, "sku"), 10)) == [1]

    def test_a_value_of_another_type_leaves_its_column_unmeasured_and_no_other(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": 1, "n": 1}, {"a": "x", "n": 1}, b"[1]")
        assert isinstance(tables.measure("v1", metric(NULL_VALUES, "a"), 10), NotMeasured)
        assert found(tables.measure("v1", metric(ROW_COUNT), 10)) == 3
        assert isinstance(self.sql(tables, "SELECT count(*) FROM orders"), NotMeasured)

    @pytest.mark.parametrize("payload", [b'{"n": %d}' % 10**38, b'{"d": 1e25}', b'{"d": 0.00000000001}'])
    def test_a_number_that_does_not_fit_is_told_and_not_rounded(self, tables: QualityTables, payload: bytes) -> None:
        self.loaded(tables, payload, b"{}")
        column = payload[2:3].decode()
        assert isinstance(tables.measure("v1", metric(NULL_VALUES, column), 10), NotMeasured)
        assert found(tables.measure("v1", metric(NULL_VALUES, "a"), 10)) == 2

    def test_a_property_that_is_not_there_is_told(self, tables: QualityTables) -> None:
        for path in (("b",), ("a", "b"), ("items", "sku"), ("a", EACH)):
            assert isinstance(tables.measure("v1", metric(NULL_VALUES, *path), 10), NotMeasured)

    def test_sql_sees_the_properties_as_columns_of_a_table_named_like_the_dataset(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "x", "f": 1.5, "ok": True, "order-id": "o"}, {"f": 2.5, "on": "2026-01-31"})
        assert found(self.sql(tables, "SELECT count(*) FROM orders WHERE \"order-id\" = 'o' AND ok")) == 1
        assert found(self.sql(tables, "SELECT avg(f) FROM ORDERS")) == 2
        assert found(self.sql(tables, "SELECT bool_and(ok) FROM orders")) is True
        assert found(self.sql(tables, "SELECT count(*) FROM orders WHERE \"on\" = DATE '2026-01-31'")) == 1
        assert found(self.sql(tables, "SELECT max(f) FROM orders WHERE false")) is None
        assert found(self.sql(tables, "SELECT f FROM orders WHERE false")) is None
        assert found(self.sql(tables, "WITH x AS (SELECT * FROM orders) SELECT count(*) FROM x;")) == 2

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT 1 FROM read_text('{file}')",
            "SELECT count(*) FROM '{file}'",
            "COPY orders TO '{file}.copy'",
            "ATTACH '{file}.db'",
            "DROP VIEW orders",
            "CREATE TABLE mine AS SELECT 1",
            "SET threads = 1",
            "SET enable_external_access = true",
            "RESET lock_configuration",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SELECT count(*) FROM read_csv('http://127.0.0.1:9/x.csv')",
            "SELECT 1; SELECT 0",
            "SELECT 0, 1",
            "SELECT unnest([0, 0])",
            "SELECT 'text'",
            "SELECT * FROM payload",
            "SELECT * FROM text",
            "SELEKT 1",
            "",
        ],
    )
    def test_sql_that_does_anything_else_is_told_and_does_nothing(
        self, tables: QualityTables, text: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "secret.csv"
        file.write_text("0\n")
        self.loaded(tables, {})
        assert isinstance(self.sql(tables, text.format(file=file)), NotMeasured)
        assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
        assert found(self.sql(tables, "SELECT count(*) FROM orders")) == 1

    def test_an_error_quotes_no_value(self, tables: QualityTables) -> None:
        self.loaded(tables, {"a": "s3cret"})
        measured = self.sql(tables, "SELECT sum(CAST(a AS INTEGER)) FROM orders")
        assert isinstance(measured, NotMeasured)
        assert "s3cret" not in measured.reason

    def test_without_rows_there_is_no_newest_moment(self, tables: QualityTables) -> None:
        assert found(tables.newest("v1", None)) is None
        assert found(tables.newest("v1", ("at",))) is None

    def test_the_newest_moment_is_in_milliseconds(self, tables: QualityTables) -> None:
        self.loaded(tables, {"at": "1970-01-01T01:00:00.0015+01:00", "on": "1970-01-02"}, {})
        assert found(tables.newest("v1", ("at",))) == 1
        assert found(tables.newest("v1", ("on",))) == 86_400_000
        assert found(tables.newest("v1", None)) == 1_700_000_000_001
        assert isinstance(tables.newest("v1", ("b",)), NotMeasured)

    def test_what_is_no_envelope_is_damage_and_is_not_quoted(self, tables: QualityTables) -> None:
        with pytest.raises(PrefixDamaged, match=PART) as raised:
            tables.load(PART, [b'{"partition": "s3cret"}'])
        assert "s3cret" not in str(raised.value)

    def test_names_that_differ_in_case_only_are_kept_apart_and_hidden_from_sql(self, engine: QualityEngine) -> None:
        columns = [Column("a", Scalar.TEXT), Column("A", Scalar.TEXT)]
        tables = self.loaded(engine.tables("orders", {"v1": columns}), {"a": "x"}, {"A": "y"}, {"A": "z"})
        try:
            assert offsets(tables.measure("v1", metric(NULL_VALUES, "a"), 10)) == [1, 2]
            assert offsets(tables.measure("v1", metric(NULL_VALUES, "A"), 10)) == [0]
            assert isinstance(self.sql(tables, "SELECT count(*) FROM orders"), NotMeasured)
        finally:
            tables.close()

    def test_closing_twice_is_closing(self, engine: QualityEngine) -> None:
        tables = engine.tables("orders", {"v1": COLUMNS})
        tables.close()
        tables.close()
