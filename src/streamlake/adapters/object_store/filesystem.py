"""Objects as plain files below a folder, with a small sqlite catalog that decides who wrote what.

    root/raw/dataset=d/ingestion_date=2025-01-01/part-0001.json   the bodies, for DuckDB and people to glob
    root/.streamlake/objects.sqlite                               the catalog: generation, checksum, metadata
    root/.streamlake/staged/<unique>                              bodies on their way

A write has three steps, and a process may die between any two of them:

    1. stage   the body goes to a unique file and to the disk           died here: litter, swept after a day
    2. decide  one transaction puts the row, `placed` = 0; durable      died here: the object exists; step 3 is owed
    3. place   rename to the final name, `placed` = 1                   done by the writer, or by whoever sees the row

Step 3 runs inside a write transaction of its own that looks at the generation again, so a writer that slept between
its steps cannot put its old body over a newer one. It need not be durable: a row that says `placed` while a power cut
took the rename back still names its staged body, and is healed when the body is next looked for. A file deleted by hand
is a deleted object. Not for network file systems, and not for names that differ only in case on a file system that
ignores it.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import google_crc32c

from streamlake.domain.errors import (
    AccessDenied,
    AlreadyExists,
    BucketMissing,
    GenerationChanged,
    ObjectDamaged,
    ObjectMissing,
    OperatorFault,
    StoreUnavailable,
    StreamLakeError,
)
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore, StoreAdmin, check_name

HIDDEN = ".streamlake"
_PAGE = 1000
_LONGEST_SEGMENT = 255  # bytes; NAME_MAX of ext4, xfs and APFS
_LITTER_AGE_S = 86_400
# A reader that loses this many races in a row against replacing writers says so instead of looping for ever.
_READ_RACES = 100
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SQLITE_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}

# AUTOINCREMENT: a generation is never used twice, not even for a name deleted and written again.
_SCHEMA = """
CREATE TABLE objects (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    crc32c TEXT NOT NULL,
    content_type TEXT NOT NULL,
    metadata TEXT NOT NULL,
    staged TEXT NOT NULL,
    placed INTEGER NOT NULL DEFAULT 0
)
"""
_COLUMNS = "name, size, generation, crc32c, metadata, staged, placed"
_DECIDE = (
    "INSERT OR REPLACE INTO objects (name, size, crc32c, content_type, metadata, staged)"
    " VALUES (?, ?, ?, ?, ?, ?) RETURNING generation"
)


class _Row(NamedTuple):
    name: str
    size: int
    generation: int
    crc32c: str
    metadata: str
    staged: str
    placed: int

    def info(self) -> ObjectInfo:
        return ObjectInfo(self.name, self.size, self.generation, self.crc32c, json.loads(self.metadata))


def _written_ms(path: Path) -> int | None:
    """When the file was written; None where it is gone by now."""
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return None


class _Catalog:
    """One connection to the catalog, opened on first use, shared by the threads of one process."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None

    def rows(self, where: str, *values: object) -> list[_Row]:
        with self._lock:
            found = self._open().execute(f"SELECT {_COLUMNS} FROM objects WHERE {where}", values)  # noqa: S608 - `where` is ours
            return [_Row(*row) for row in found]

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Alone among all writers of all processes; committed at the end, rolled back on an exception."""
        with self._lock, self._open() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        connection = self._connection
        if connection is not None and not connection.in_transaction and _inode(self._path) != self._inode:
            self.close()  # the folder was deleted, and perhaps made anew: never write into the ghost of a file
        if self._connection is None:
            if not self._path.exists():
                self._make()
            self._connection = self._connect(self._path)
            self._inode = _inode(self._path)
        return self._connection

    def _make(self) -> None:
        # Switching a shared database to WAL is a race that sqlite's busy handler does not cover, so the file is made
        # ready elsewhere and linked into place: the first of several processes wins, the others use the winner's.
        draft = self._path.with_name(f"{uuid.uuid4().hex}.sqlite")
        with closing(self._connect(draft)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)
        with suppress(FileExistsError):
            self._path.hardlink_to(draft)
        draft.unlink()
        _fsync_folder(self._path.parent)

    def _connect(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False)


class FilesystemObjectStore(ObjectStore, StoreAdmin):
    """A folder as a bucket, shared by any number of processes of one machine and safe against kill -9 in all of them.

    The folder must exist, or be made by `create_bucket()`. Beyond `check_name`, a name may not begin with
    `.streamlake/`, no segment may be longer than 255 bytes, and no name may be a folder of another (`ValueError`).
    """

    def __init__(self, root: Path, *, busy_timeout_s: float = 10.0) -> None:
        self._root = root.absolute()
        self._staging = self._root / HIDDEN / "staged"
        self._busy_timeout_s = busy_timeout_s
        # By process id: a connection must not be used, nor even closed, on the other side of a fork.
        self._catalogs: dict[int, _Catalog] = {}

    def create(
        self, name: str, body: bytes, *, content_type: str, metadata: Mapping[str, str], crc32c: str | None = None
    ) -> ObjectInfo:
        return self._write(name, body, content_type, metadata, crc32c=crc32c, if_generation=None)

    def replace(self, name: str, body: bytes, *, content_type: str, if_generation: int) -> ObjectInfo:
        return self._write(name, body, content_type, {}, crc32c=None, if_generation=if_generation)

    def read(self, name: str) -> tuple[ObjectInfo, bytes]:
        path = self._path(name)
        with self._errors(name):
            for _ in range(_READ_RACES):
                row = self._require(name)
                try:
                    body = path.read_bytes()
                except FileNotFoundError:
                    continue  # deleted by hand just now: the next look says ObjectMissing
                if [again.generation for again in self._catalog().rows("name = ?", name)] != [row.generation]:
                    continue  # replaced meanwhile: the body may be either generation's
                if (len(body), _crc32c(body)) == (row.size, row.crc32c):
                    return row.info(), body
                if not self._place(row):
                    raise ObjectDamaged(f"{name}: the file is not what was written (CRC-32C {row.crc32c})")
        raise StoreUnavailable(f"{name}: replaced again and again while it was read")

    def describe(self, name: str) -> ObjectInfo:
        self._path(name)
        with self._errors(name):
            return self._require(name).info()

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        least = max(prefix, start)
        while page := self._page(least):
            for row in page:
                if not row.name.startswith(prefix):
                    return
                with self._errors(row.name):
                    alive = self._alive(row)
                    info = replace(row.info(), created_ms=_written_ms(self._path(row.name))) if alive else None
                if info is not None:
                    yield info
            least = page[-1].name + "\0"  # the very next name there could be

    def folders(self, prefix: str) -> Sequence[str]:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a folder's prefix ends in '/': {prefix!r}")
        found: list[str] = []
        start = prefix
        while (first := next(self.list(prefix, start=start), None)) is not None:
            segment, slash, _ = first.name[len(prefix) :].partition("/")
            if slash:
                found.append(segment)
            # Skip what lies below the folder: "0" is the character after "/".
            start = f"{prefix}{segment}0" if slash else f"{first.name}\0"
        return sorted(found)

    def close(self) -> None:
        catalog = self._catalogs.pop(os.getpid(), None)
        if catalog is not None:
            catalog.close()

    def bucket_exists(self) -> bool:
        with self._errors("the bucket", needs_bucket=False):
            return self._root.is_dir()

    def create_bucket(self) -> None:
        with self._errors("the bucket", needs_bucket=False):
            self._root.mkdir(parents=True, exist_ok=True)

    def _write(
        self,
        name: str,
        body: bytes,
        content_type: str,
        metadata: Mapping[str, str],
        *,
        crc32c: str | None,
        if_generation: int | None,
    ) -> ObjectInfo:
        path = self._path(name)
        actual = _crc32c(body)
        with self._errors(name):
            if crc32c not in (None, actual):
                raise StoreUnavailable(f"{name}: the body's CRC-32C is {actual}, not {crc32c}; nothing was written")
            catalog = self._catalog()
            staged = self._stage(body)
            values = (name, len(body), actual, content_type, json.dumps(dict(metadata)), staged.name)
            inserted = False
            try:
                with catalog.transaction(durable=True) as connection:
                    self._admit(name, path, staged, if_generation)
                    ((generation,),) = connection.execute(_DECIDE, values).fetchall()
                    inserted = True
            except (StreamLakeError, ValueError, OSError, sqlite3.Error):
                # A failed COMMIT may have been one: then the body stays, and the sweeper judges whether it is litter.
                if not inserted:
                    staged.unlink(missing_ok=True)
                raise
            row = _Row(name, len(body), generation, actual, values[4], staged.name, placed=0)
            self._place(row)
            return row.info()

    def _stage(self, body: bytes) -> Path:
        staged = self._staging / uuid.uuid4().hex
        try:
            with staged.open("xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            staged.unlink(missing_ok=True)  # a full disk must not be filled further by half bodies
            raise
        _fsync_folder(self._staging)  # a file is only durable once its name is
        return staged

    def _admit(self, name: str, path: Path, staged: Path, if_generation: int | None) -> None:
        """Inside the deciding transaction: raise unless this write may happen."""
        catalog = self._catalog()
        found = catalog.rows("name = ?", name)
        rows = [row for row in found if path.exists() or (self._staging / row.staged).exists()]
        if if_generation is None and rows:
            raise AlreadyExists(f"{name}: the object is there already")
        current = rows[0].generation if rows else 0
        if if_generation not in (None, current):
            raise GenerationChanged(f"{name}: the generation is {current}, not {if_generation}")
        if not staged.exists():
            raise StoreUnavailable(f"{name}: the staged body was swept away: this write took longer than a day")
        if rows:
            return
        above = [str(folder) for folder in Path(name).parents][:-1]
        marks = ", ".join("?" * len(above))
        crossing = f"name IN ({marks}) OR (name > ? AND name < ?) LIMIT 1"
        if catalog.rows(crossing, *above, f"{name}/", f"{name}0"):
            raise ValueError(f"{name}: a file cannot be a folder too, and this name or one above it would have to be")
        if os.path.lexists(path):
            raise OperatorFault(f"{name}: a file that this store did not write is in the way")

    def _place(self, row: _Row) -> bool:
        """Do the owed rename, unless another generation has come. True if there was anything to move."""
        staged, path = self._staging / row.staged, self._root / row.name
        with self._catalog().transaction(durable=False) as connection:
            if not self._catalog().rows("generation = ?", row.generation):
                staged.unlink(missing_ok=True)
                return True
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                staged.replace(path)
                moved = True
            except FileNotFoundError:
                moved = False  # done before a crash
            connection.execute("UPDATE objects SET placed = 1 WHERE generation = ?", (row.generation,))
            return moved

    def _alive(self, row: _Row) -> bool:
        """Whether the object's body exists, placing it first where that is owed."""
        path = self._root / row.name
        if row.placed and path.exists():
            return True
        if row.placed and not (self._staging / row.staged).exists():
            return False
        self._place(row)
        return path.exists()

    def _require(self, name: str) -> _Row:
        for row in self._catalog().rows("name = ?", name):
            if self._alive(row):
                return row
        raise ObjectMissing(f"{name}: there is no such object")

    def _page(self, least: str) -> Sequence[_Row]:
        with self._errors("list"):
            return self._catalog().rows(f"name >= ? ORDER BY name LIMIT {_PAGE}", least)

    def _path(self, name: str) -> Path:
        check_name(name)
        segments = name.split("/")
        if segments[0].casefold() == HIDDEN:
            raise ValueError(f"{HIDDEN}/ is the store's own folder: {name!r}")
        if any(len(segment.encode()) > _LONGEST_SEGMENT for segment in segments):
            raise ValueError(f"a file name has at most {_LONGEST_SEGMENT} bytes: {name!r}")
        return self._root / name

    def _catalog(self) -> _Catalog:
        if not self._staging.is_dir():
            self._staging.mkdir(parents=True, exist_ok=True)
            _fsync_folder(self._staging.parent)
            _fsync_folder(self._root)
        process = os.getpid()
        if process not in self._catalogs:
            catalog = _Catalog(self._staging.parent / "objects.sqlite", self._busy_timeout_s)
            if self._catalogs.setdefault(process, catalog) is catalog:
                self._sweep(catalog)
        return self._catalogs[process]

    def _sweep(self, catalog: _Catalog) -> None:
        """Remove staged bodies that writers left behind without a row, once they are a day old."""
        oldest = time.time() - _LITTER_AGE_S
        for path in self._staging.iterdir():
            with suppress(FileNotFoundError):  # placed by its writer just now
                if path.stat().st_mtime < oldest:
                    with catalog.transaction(durable=False):
                        if not catalog.rows("staged = ?", path.name):
                            path.unlink()

    @contextmanager
    def _errors(self, what: str, *, needs_bucket: bool = True) -> Iterator[None]:
        try:
            if needs_bucket and not self._root.is_dir():
                if self._root.exists():
                    raise OperatorFault(f"{self._root}: must be a folder, and is none")
                raise BucketMissing(
                    f"the folder {self._root} does not exist; `streamlake doctor --create-bucket` makes it"
                )
            yield
        except (OSError, sqlite3.Error) as error:
            raise translated(error, what) from error


def translated(error: OSError | sqlite3.Error, what: str) -> StreamLakeError:
    """The same fault in the words of the domain."""
    if isinstance(error, OSError):
        reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
        denied = error.errno in _DENIED
    else:
        reason = getattr(error, "sqlite_errorname", type(error).__name__)
        denied = getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DENIED
    return AccessDenied(f"{what}: {reason}") if denied else StoreUnavailable(f"{what}: {reason}")


def _crc32c(body: bytes) -> str:
    return base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode("ascii")


def _fsync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
