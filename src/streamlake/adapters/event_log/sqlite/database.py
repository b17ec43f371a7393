"""The file: its tables, its connections, its transactions, and what sqlite's errors mean.

log        one row: a random id, part of every topic id, so that two files never share one
topic      name, config; its number is never used again (AUTOINCREMENT)
lane       one partition of one topic: the low watermark and the next offset, a counter that is stored and
           never derived from rows
record     place = lane << 40 | offset, so that a partition lies together in one B-tree
mark       per lane, at which offset the time was first so late: what a search by time starts from
member     of a group, with its last sign of life
owner      which member has which lane; no row: free
position   committed by a group
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from streamlake.domain.errors import AccessDenied, LogUnavailable, SettingsInvalid, StreamLakeError, TopicMissing
from streamlake.domain.model.positions import TopicPartition

APPLICATION_ID = 0x534C4B45
"""`SLKE`, in the file's header: this is a StreamLake log and no other program's database."""

VERSION = 1
"""The layout below."""

OFFSET_BITS = 40
"""2^40 records a partition (one million a second for twelve days), and 2^23 partitions."""

OFFSET_MASK = (1 << OFFSET_BITS) - 1

RETRY_S = 0.02
"""Between attempts to open a file that another process is creating: sqlite does not wait for that by itself."""

TURN_MS = 5
"""How long sqlite waits for the writer's turn at a stretch, which it does in steps of 1 and 2 ms."""

SCHEMA = (
    "CREATE TABLE log (id TEXT NOT NULL)",
    "CREATE TABLE topic (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, config TEXT NOT NULL)",
    """CREATE TABLE lane (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        topic INTEGER NOT NULL REFERENCES topic ON DELETE CASCADE,
        partition INTEGER NOT NULL,
        low INTEGER NOT NULL DEFAULT 0,
        next INTEGER NOT NULL DEFAULT 0,
        marked INTEGER NOT NULL DEFAULT -2000,
        UNIQUE (topic, partition))""",
    """CREATE TABLE record (
        place INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB)""",
    """CREATE TABLE mark (
        lane INTEGER NOT NULL REFERENCES lane ON DELETE CASCADE,
        timestamp INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        PRIMARY KEY (lane, timestamp)) WITHOUT ROWID""",
    """CREATE TABLE member (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        "group" TEXT NOT NULL,
        name TEXT NOT NULL,
        topics TEXT NOT NULL,
        heard REAL NOT NULL)""",
    """CREATE TABLE owner (
        "group" TEXT NOT NULL,
        lane INTEGER NOT NULL REFERENCES lane ON DELETE CASCADE,
        member INTEGER NOT NULL REFERENCES member ON DELETE CASCADE,
        PRIMARY KEY ("group", lane)) WITHOUT ROWID""",
    """CREATE TABLE position (
        "group" TEXT NOT NULL,
        lane INTEGER NOT NULL REFERENCES lane ON DELETE CASCADE,
        offset INTEGER NOT NULL,
        metadata TEXT NOT NULL,
        PRIMARY KEY ("group", lane)) WITHOUT ROWID""",
)

FAULTS: dict[int, type[StreamLakeError]] = {
    sqlite3.SQLITE_AUTH: AccessDenied,
    sqlite3.SQLITE_PERM: AccessDenied,
    sqlite3.SQLITE_READONLY: AccessDenied,
    sqlite3.SQLITE_NOTADB: SettingsInvalid,
    sqlite3.SQLITE_BUSY: LogUnavailable,
    sqlite3.SQLITE_CANTOPEN: LogUnavailable,
    sqlite3.SQLITE_CORRUPT: LogUnavailable,
    sqlite3.SQLITE_FULL: LogUnavailable,
    sqlite3.SQLITE_INTERRUPT: LogUnavailable,
    sqlite3.SQLITE_IOERR: LogUnavailable,
    sqlite3.SQLITE_LOCKED: LogUnavailable,
    sqlite3.SQLITE_NOMEM: LogUnavailable,
    sqlite3.SQLITE_PROTOCOL: LogUnavailable,
    sqlite3.SQLITE_SCHEMA: LogUnavailable,
}
"""Primary result codes that are somebody's fault. The others (constraint, misuse, range ...) are bugs of ours."""


class Lane(NamedTuple):
    """A partition as it lies in the file."""

    number: int
    low: int
    next: int

    @property
    def base(self) -> int:
        """The place of offset 0."""
        return self.number << OFFSET_BITS


class Database:
    """One log file. Opens connections; holds none."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s

    def connect(self) -> sqlite3.Connection:
        """A new connection, usable by any thread but by one at a time. Creates the file and its folder if need be."""
        deadline = time.monotonic() + self._busy_timeout_s
        with self.faults():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    return self._open(self.path)
                except sqlite3.OperationalError as error:
                    if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                time.sleep(RETRY_S)

    def is_there(self) -> bool:
        """Has anybody created the file yet?"""
        with self.faults():
            return self.path.exists()

    def nothing(self) -> sqlite3.Connection:
        """A log without a topic, in memory: what a file that is not there is to those who only look."""
        return self._open(":memory:")

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Say in the domain's words what sqlite and the file system have against it."""
        try:
            yield
        except sqlite3.Error as error:
            fault = FAULTS.get(primary_code(error))
            if fault is None:
                raise
            raise fault(f"event log {self.path}: {error.sqlite_errorname}: {error}") from error
        except PermissionError as error:
            raise AccessDenied(f"event log {self.path}: {error.strerror}") from error
        except OSError as error:
            raise LogUnavailable(f"event log {self.path}: {error.strerror}") from error

    @contextmanager
    def snapshot(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Reads that see one moment of the file."""
        with self.faults():
            connection.execute("BEGIN")
            with _transaction(connection):
                yield

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Reads and writes that happen together, durably, or not at all. Writers take turns."""
        with self.faults():
            self._wait_for_the_turn(connection)
            with _transaction(connection):
                yield

    def _wait_for_the_turn(self, connection: sqlite3.Connection) -> None:
        """BEGIN IMMEDIATE, asking every few milliseconds. sqlite itself asks ever more seldom, up to every 100 ms, and
        hardly ever meets the gap between two transactions of a busy writer: commits took up to seconds."""
        deadline = time.monotonic() + self._busy_timeout_s
        connection.execute(f"PRAGMA busy_timeout = {TURN_MS}")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")

    def _open(self, path: Path | str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            # A checkpoint syncs the whole file: at every 16 MiB of log rather than at every 4.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("BEGIN")  # or another process creates it between two looks, and it is neither
            with _transaction(connection):
                version = self._version(connection)
            if version == 0:
                self._create(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _version(self, connection: sqlite3.Connection) -> int:
        """The layout of the file; 0 for an empty one. Raises SettingsInvalid for what is no log of ours."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (application, version) == (APPLICATION_ID, VERSION):
            return VERSION
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            return 0
        if application == APPLICATION_ID:
            raise SettingsInvalid(f"event log {self.path}: layout {version} is not {VERSION}, which is read here")
        raise SettingsInvalid(f"event log {self.path}: a sqlite file of another program")

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        self._wait_for_the_turn(connection)
        with _transaction(connection):
            if self._version(connection) == VERSION:
                return  # another process was faster
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO log VALUES (?)", (secrets.token_hex(8),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")


class Connections:
    """A connection for every thread that asks, opened in the process that uses it.

    sqlite must not be carried over a fork, so what a parent opened is left alone here: not used and not closed either.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[tuple[int, int], sqlite3.Connection] = {}

    def mine(self) -> sqlite3.Connection:
        """The connection of this thread in this process."""
        # A thread's number is given again after its end, and its connection with it: never more than threads at once.
        me = (os.getpid(), threading.get_ident())
        if me not in self._open:
            self._open[me] = self._database.connect()
        return self._open[me]

    @contextmanager
    def looking(self) -> Iterator[sqlite3.Connection]:
        """The same for those who only look: they create no file. Where there is none they see a log without a topic."""
        if self._database.is_there():
            yield self.mine()
            return
        with closing(self._database.nothing()) as nothing:
            yield nothing

    def close(self) -> None:
        """Close what this process opened. Whoever asks again gets a new one."""
        for key in [key for key in self._open if key[0] == os.getpid()]:
            self._open.pop(key).close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """The transaction that has begun, committed; rolled back where that, or what is done in it, fails."""
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def primary_code(error: sqlite3.Error) -> int:
    """sqlite's result code without its details; -1 for an error that the Python module made itself."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else code


def lane_of(connection: sqlite3.Connection, place: TopicPartition) -> Lane:
    """The partition in the file. Raises TopicMissing."""
    query = """SELECT lane.number, low, next FROM lane JOIN topic ON topic = topic.number
               WHERE name = ? AND partition = ?"""
    row = connection.execute(query, place).fetchone()
    if row is None:
        raise TopicMissing(f"{place}: the log has no such topic or partition")
    return Lane(*row)


def topic_number(connection: sqlite3.Connection, name: str) -> int:
    """The topic in the file. Raises TopicMissing."""
    row = connection.execute("SELECT number FROM topic WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise TopicMissing(f"topic {name} does not exist")
    number: int = row[0]
    return number
