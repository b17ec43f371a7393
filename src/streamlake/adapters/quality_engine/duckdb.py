"""Quality rules measured by DuckDB. Needs `streamlake[quality]`.

Rows are loaded into a database file in a temporary folder, so that a day of any size needs little memory. Then the
database is closed to the world (`enable_external_access`, `lock_configuration`, no extensions, no Python variables),
and only then is anything run that a contract says: its SQL reads its own rows and nothing of the machine.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory

import duckdb
import msgspec

from streamlake.adapters.quality_engine.duckdb_metrics import (
    Inexpressible,
    clash,
    clash_within,
    column_of,
    counted,
    quoted,
    repeats_within,
    sql_type,
    text,
    value_at,
)
from streamlake.adapters.quality_engine.duckdb_rows import PayloadColumns, chunks
from streamlake.domain.errors import PrefixDamaged, StoreUnavailable
from streamlake.domain.model.columns import Column
from streamlake.domain.model.quality_rules import (
    DUPLICATE_VALUES,
    EACH,
    ROW_COUNT,
    Found,
    Measured,
    Measurement,
    Metric,
    NotMeasured,
    Path,
    Place,
    Query,
)
from streamlake.domain.ports.quality_engine import QualityEngine, QualityTables

THREADS = 2
PERCENT_DIGITS = 6
"""Behind the point: as datacontract-cli rounds before it compares."""

_OF_THE_QUERY = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException)
"""Errors that tell of the query's text alone: any other message may quote a value."""


@dataclass(slots=True)
class _Table:
    """One version's rows: `name` is the table's."""

    name: str
    columns: Sequence[Column]
    reader: PayloadColumns
    rows: int = 0


class DuckDbQualityEngine(QualityEngine):
    """`memory_mb` bounds DuckDB's own memory; `timeout_s` one query of a contract."""

    def __init__(self, *, memory_mb: int, timeout_s: float) -> None:
        self._memory_mb = memory_mb
        self._timeout_s = timeout_s

    def tables(self, dataset: str, versions: Mapping[str, Sequence[Column]]) -> QualityTables:
        return _Tables(dataset, versions, self._memory_mb, self._timeout_s)


class _Tables(QualityTables):
    def __init__(
        self, dataset: str, versions: Mapping[str, Sequence[Column]], memory_mb: int, timeout_s: float
    ) -> None:
        self._dataset = dataset
        self._timeout_s = timeout_s
        self._parts: list[str] = []
        self._unknown: Counter[str] = Counter()
        self._sealed = False
        self._folder = TemporaryDirectory(prefix="streamlake-quality-")
        self._connection = _connect(FilePath(self._folder.name), memory_mb)
        self._connection.execute("CREATE SCHEMA landed")
        self._tables = {
            version: self._create(f"landed.t{number}", columns)
            for number, (version, columns) in zip(count(), versions.items(), strict=False)
        }

    def _create(self, name: str, columns: Sequence[Column]) -> _Table:
        # What SQL cannot tell apart is left out; a rule about it is not measured.
        kept = [column for column in columns if clash_within(column.type) is None]
        typed = ["n INTEGER, p INTEGER, o BIGINT, t BIGINT"]
        typed += [f"c{index} {sql_type(column.type)}" for index, column in enumerate(kept)]
        self._connection.execute(f"CREATE TABLE {name} ({', '.join(typed)})")
        return _Table(name, kept, PayloadColumns(kept))

    def load(self, part: str, envelopes: Iterable[bytes]) -> int:
        self._parts.append(part)
        loaded = 0
        try:
            for chunk in chunks(envelopes):
                for version, rows in chunk.items():
                    loaded += len(rows)
                    table = self._tables.get(version)
                    if table is None:
                        self._unknown[version] += len(rows)
                        continue
                    batch = table.reader.table(len(self._parts) - 1, rows)
                    self._connection.register("batch", batch)
                    self._connection.execute(f"INSERT INTO {table.name} SELECT * FROM batch")
                    self._connection.unregister("batch")
                    table.rows += len(rows)
        except msgspec.MsgspecError:  # without its text, which could quote the payload
            raise PrefixDamaged(f"{part}: holds a row that is no envelope") from None
        except duckdb.IOException as full:
            raise StoreUnavailable(f"the local disk does not take the rows to check: {_first_line(full)}") from None
        return loaded

    def rows(self) -> Mapping[str, int]:
        return {version: table.rows for version, table in self._tables.items()} | dict(self._unknown)

    def measure(self, version: str, check: Metric | Query, samples: int) -> Measurement:
        self._seal()
        table = self._tables[version]
        try:
            if isinstance(check, Query):
                return self._query(table, check.sql)
            return self._metric(table, check, samples)
        except Inexpressible as reason:
            return NotMeasured(str(reason))
        except duckdb.Error as error:
            return NotMeasured(_reason(error))

    def newest(self, version: str, path: Path | None) -> Measurement:
        self._seal()
        table = self._tables[version]
        try:
            value = "t"
            if path is not None:
                self._check_fits(table, [path])
                value = f"epoch_ms(CAST({value_at(path, table.columns)[0]} AS TIMESTAMP))"
            return Measured(self._one(f"SELECT max({value}) FROM {table.name}"))
        except Inexpressible as reason:
            return NotMeasured(str(reason))
        except duckdb.Error as error:
            return NotMeasured(_reason(error))

    def close(self) -> None:
        self._connection.close()
        self._folder.cleanup()

    def _seal(self) -> None:
        """From here on nothing can be read or written but the database itself, and nobody can change that."""
        if not self._sealed:
            self._connection.execute("SET enable_external_access = false")
            self._connection.execute("SET lock_configuration = true")
            self._sealed = True

    def _metric(self, table: _Table, metric: Metric, samples: int) -> Measurement:
        if metric.metric == ROW_COUNT:
            return Measured(table.rows)
        self._check_fits(table, metric.paths)
        if metric.pattern is not None:
            self._check_pattern(metric.pattern)
        if metric.metric == DUPLICATE_VALUES and not any(EACH in path for path in metric.paths):
            return self._duplicates(table, metric, samples)
        if metric.metric == DUPLICATE_VALUES:
            condition = repeats_within(metric, table.columns)
        else:
            condition = counted(metric, table.columns)
        found = self._one(f"SELECT count(*) FROM {table.name} WHERE {condition}")
        return self._told(table, metric, found, condition, samples)

    def _duplicates(self, table: _Table, metric: Metric, samples: int) -> Measurement:
        keys = [value_at(path, table.columns)[0] for path in metric.paths]
        there = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        named = ", ".join(f"{key} AS k{index}" for index, key in enumerate(keys))
        by = ", ".join(f"k{index}" for index in range(len(keys)))
        twice = f"SELECT {by} FROM (SELECT {named} FROM {table.name} WHERE {there}) GROUP BY {by} HAVING count(*) > 1"
        found = self._one(f"SELECT count(*) FROM ({twice})")
        condition = (
            f"{there} AND ({', '.join(keys)}) IN (SELECT {'(' + by + ')' if len(keys) > 1 else by} FROM ({twice}))"
        )
        return self._told(table, metric, found, condition, samples)

    def _told(self, table: _Table, metric: Metric, found: int, condition: str, samples: int) -> Measurement:
        offenders = self._places(table, condition, samples) if found and samples else ()
        if not metric.percent:
            return Measured(found, offenders)
        percent = round(Decimal(found) * 100 / table.rows, PERCENT_DIGITS) if table.rows else Decimal(0)
        return Measured(percent, offenders)

    def _places(self, table: _Table, condition: str, samples: int) -> tuple[Place, ...]:
        asked = f"SELECT n, p, o FROM {table.name} WHERE {condition} ORDER BY p, o, n LIMIT {samples}"
        return tuple(Place(self._parts[n], p, o) for n, p, o in self._connection.execute(asked).fetchall())

    def _query(self, table: _Table, sql: str) -> Measurement:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            return NotMeasured("it must be a single query that only reads")
        name = clash(table.columns)
        if name is not None:
            return NotMeasured(f"property {name}: there is another that differs in case only, which is one to SQL")
        if table.reader.misfits.total():
            return NotMeasured(f"{table.reader.misfits.total()} values are not of their contract's type")
        listed = ", ".join(f"c{index} AS {quoted(column.name)}" for index, column in enumerate(table.columns))
        self._connection.execute(f"CREATE OR REPLACE VIEW {quoted(self._dataset)} AS SELECT {listed} FROM {table.name}")
        with self._reading():
            answers = self._connection.execute(sql).fetchmany(2)
        return _answer(answers)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A transaction that cannot write, and is interrupted when its time is over."""
        self._connection.execute("BEGIN TRANSACTION READ ONLY")
        timer = threading.Timer(self._timeout_s, self._connection.interrupt)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            self._connection.execute("ROLLBACK")

    def _one(self, sql: str) -> int:
        [answer] = self._connection.execute(sql).fetchall()
        found: int = answer[0]
        return found

    def _check_fits(self, table: _Table, paths: Sequence[Path]) -> None:
        for path in paths:
            misfits = table.reader.misfits[column_of(table.columns, path)]
            if misfits:
                raise Inexpressible(f"{misfits} values of {path[0]} are not of their contract's type")

    def _check_pattern(self, pattern: str) -> None:
        try:
            self._connection.execute(f"SELECT regexp_matches('', {text(pattern)})")
        except duckdb.Error as error:  # of the contract's text alone
            raise Inexpressible(f"pattern: {_first_line(error)}") from None


def _connect(folder: FilePath, memory_mb: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        str(folder / "rows.duckdb"),
        config={
            "threads": THREADS,
            "memory_limit": f"{memory_mb}MiB",
            "temp_directory": str(folder / "spilled"),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _answer(answers: Sequence[Sequence[object]]) -> Measurement:
    if not answers:
        return Measured(None)
    if len(answers) > 1 or len(answers[0]) > 1:
        return NotMeasured("its query must answer with one value, not with several")
    value = answers[0][0]
    found: Found
    if value is None or isinstance(value, (bool, int, Decimal)):
        found = value
    elif isinstance(value, float):
        found = Decimal(repr(value))
    else:
        return NotMeasured(f"its query must answer with a number, true or false, not with a {type(value).__name__}")
    return Measured(found)


def _reason(error: duckdb.Error) -> str:
    if isinstance(error, _OF_THE_QUERY):
        return _first_line(error)
    if isinstance(error, duckdb.InterruptException):
        return "it took too long (STREAMLAKE_QUALITY__TIMEOUT_S)"
    if isinstance(error, duckdb.OutOfMemoryException):
        return "it needs more memory than STREAMLAKE_QUALITY__MEMORY_MB"
    return f"DuckDB could not run it: {type(error).__name__} (its text could quote a payload)"


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
