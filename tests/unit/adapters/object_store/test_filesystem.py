"""The file store keeps the object store's contract, between processes and across their deaths."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from tests.contracts.object_store import JSON_LINES, ObjectStoreContract, OpenStore, Store, crc32c, names, put

from streamlake.adapters.object_store.filesystem import FilesystemObjectStore, translated
from streamlake.domain.errors import (
    AccessDenied,
    AlreadyExists,
    BucketMissing,
    ObjectDamaged,
    ObjectMissing,
    OperatorFault,
    StoreUnavailable,
)

NAME = "raw/dataset=a/ingestion_date=2025-01-01/part-0001.json"
# Forked children inherit the store as it is: what a server that forks its workers does.
FORK = multiprocessing.get_context("fork")


class TestFilesystemObjectStore(ObjectStoreContract):
    """One folder is one bucket; every handle is like another process."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda bucket: FilesystemObjectStore(tmp_path / bucket)

    @pytest.mark.xfail(strict=True, raises=ValueError, reason="a plain file cannot be a folder too: refused instead")
    def test_a_name_may_be_a_folder_of_others_too(self, store: Store) -> None:
        super().test_a_name_may_be_a_folder_of_others_too(store)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def store(root: Path) -> FilesystemObjectStore:
    return FilesystemObjectStore(root)


class DiesBeforePlacing(FilesystemObjectStore):
    """Its process ends, without any clean-up, once the row of a write is durable."""

    def _place(self, row: object) -> NoReturn:
        os._exit(9)


def in_a_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process and give its exit code."""
    child = FORK.Process(target=work)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def staged(root: Path) -> list[Path]:
    return list((root / ".streamlake" / "staged").iterdir())


# -- what users see


def test_objects_are_plain_files_below_the_root(root: Path, store: FilesystemObjectStore) -> None:
    """DuckDB can glob them, and everything else is in one hidden folder."""
    put(store, NAME, b'{"a":1}\n')
    assert (root / NAME).read_bytes() == b'{"a":1}\n'
    assert sorted(path.name for path in root.iterdir()) == [".streamlake", "raw"]
    assert staged(root) == []


def test_the_hidden_folder_and_overlong_segments_are_refused(store: FilesystemObjectStore) -> None:
    """What a file system cannot hold is said before anything happens."""
    for name in (".streamlake/objects.sqlite", ".StreamLake/x", "a/" + "x" * 256):
        with pytest.raises(ValueError):
            put(store, name)


def test_a_file_deleted_by_hand_is_a_deleted_object(root: Path, store: FilesystemObjectStore) -> None:
    """It leaves lists and folders, and its name is free again, for another generation."""
    created = put(store, NAME, b"one")
    (root / NAME).unlink()
    assert names(store.list("")) == []
    assert store.folders("raw/") == []
    with pytest.raises(ObjectMissing):
        store.read(NAME)
    assert put(store, NAME, b"two").generation != created.generation
    assert store.read(NAME)[1] == b"two"


def test_a_file_of_somebody_else_is_never_overwritten(root: Path, store: FilesystemObjectStore) -> None:
    """It is the operator's to move away."""
    (root / "raw").mkdir()
    (root / "raw" / "precious").write_bytes(b"precious")
    with pytest.raises(OperatorFault):
        put(store, "raw/precious")
    assert (root / "raw" / "precious").read_bytes() == b"precious"
    assert names(store.list("")) == []
    assert staged(root) == []


def test_a_file_changed_by_hand_is_not_given_out(root: Path, store: FilesystemObjectStore) -> None:
    """Read verifies the checksum."""
    put(store, NAME, b"one")
    (root / NAME).write_bytes(b"two")
    with pytest.raises(ObjectDamaged, match=NAME):
        store.read(NAME)


def test_a_root_deleted_under_a_living_store_is_a_missing_bucket(root: Path, store: FilesystemObjectStore) -> None:
    """And made anew it is an empty one: nothing goes to the ghost of the old catalog."""
    put(store, "old")
    shutil.rmtree(root)
    with pytest.raises(BucketMissing):
        put(store, "lost")
    store.create_bucket()
    put(store, "new")
    assert names(FilesystemObjectStore(root).list("")) == ["new"]


# -- several processes


def test_exactly_one_of_many_processes_creates_a_name(root: Path) -> None:
    """Six processes, forty names, a new folder: each name has one winner, and losers see the winner's object."""
    results = FORK.SimpleQueue()
    start = FORK.Barrier(6)

    def compete(racer: int) -> None:
        store = FilesystemObjectStore(root)
        start.wait()
        for number in range(40):
            try:
                put(store, f"race/{number:02}", b"%d" % racer * 100, {"racer": str(racer)})
                results.put((number, racer))
            except AlreadyExists:
                info, body = store.read(f"race/{number:02}")
                assert body == info.metadata["racer"].encode() * 100

    racers = [FORK.Process(target=compete, args=(racer,)) for racer in range(6)]
    for process in racers:
        process.start()
    for process in racers:
        process.join()
    assert [process.exitcode for process in racers] == [0] * 6
    won: dict[int, int] = {}
    while not results.empty():
        number, racer = results.get()
        assert number not in won
        won[number] = racer
    store = FilesystemObjectStore(root)
    assert {int(info.name[-2:]): int(info.metadata["racer"]) for info in store.list("race/")} == won
    assert len(won) == 40


def test_a_store_may_be_used_on_both_sides_of_a_fork(root: Path, store: FilesystemObjectStore) -> None:
    """The child opens its own connection; closing it leaves the parent's alone."""
    put(store, "before")

    def child() -> None:
        put(store, "child")
        store.close()

    assert in_a_child(child) == 0
    put(store, "after")
    assert names(store.list("")) == ["after", "before", "child"]


def test_a_replacing_process_and_a_reading_one_never_mix_generations(root: Path, store: FilesystemObjectStore) -> None:
    """Row and file are two things; a reader in another process still sees one."""
    generation = put(store, "moving", b"0" * 500).generation

    def write() -> None:
        current = generation
        for number in range(200):
            body = b"%d" % (number % 10) * (500 + number)
            current = store.replace("moving", body, content_type=JSON_LINES, if_generation=current).generation

    writer = FORK.Process(target=write)
    writer.start()
    while writer.is_alive():
        info, body = store.read("moving")
        assert (info.size, info.crc32c) == (len(body), crc32c(body))
    writer.join()
    assert writer.exitcode == 0
    assert store.read("moving")[1] == b"9" * 699


# -- dying between the steps


@pytest.mark.parametrize("look", ["read", "describe", "list", "folders", "create"])
def test_a_crash_between_deciding_and_placing_is_completed_by_whoever_looks_next(root: Path, look: str) -> None:
    """The row is durable, the rename is owed: the object exists, and the file is put in its place."""
    assert in_a_child(lambda: put(DiesBeforePlacing(root), NAME, b"body", {"kind": "live"})) == 9
    assert not (root / NAME).exists()
    store = FilesystemObjectStore(root)
    if look == "read":
        assert store.read(NAME)[1] == b"body"
    elif look == "describe":
        assert store.describe(NAME).metadata == {"kind": "live"}
    elif look == "list":
        assert names(store.list("raw/")) == [NAME]
    elif look == "folders":
        assert store.folders("raw/") == ["dataset=a"]
    else:
        with pytest.raises(AlreadyExists):
            put(store, NAME, b"another")
        assert store.read(NAME)[1] == b"body"
    assert (root / NAME).read_bytes() == b"body"
    assert staged(root) == []


def test_a_crashed_replace_is_completed_too(root: Path, store: FilesystemObjectStore) -> None:
    """Readers see the new generation, although the old file is still in its place."""
    generation = put(store, NAME, b"old").generation
    dying = DiesBeforePlacing(root)
    assert in_a_child(lambda: dying.replace(NAME, b"new", content_type=JSON_LINES, if_generation=generation)) == 9
    assert (root / NAME).read_bytes() == b"old"
    assert store.read(NAME)[1] == b"new"
    assert (root / NAME).read_bytes() == b"new"


def test_a_crash_between_the_rename_and_its_note_changes_nothing(root: Path, store: FilesystemObjectStore) -> None:
    """The row still says `placed` = 0, the file is there already."""
    created = put(store, NAME, b"body")
    with sqlite3.connect(root / ".streamlake" / "objects.sqlite") as catalog:
        catalog.execute("UPDATE objects SET placed = 0")
    catalog.close()
    assert store.read(NAME) == (created, b"body")
    assert list(store.list("")) == [created]


def test_a_rename_lost_in_a_power_cut_is_done_again(root: Path, store: FilesystemObjectStore) -> None:
    """The row says `placed`, the disk has the body under its staged name only."""
    created = put(store, NAME, b"body")
    with sqlite3.connect(root / ".streamlake" / "objects.sqlite") as catalog:
        ((name,),) = catalog.execute("SELECT staged FROM objects")
    catalog.close()
    (root / NAME).rename(root / ".streamlake" / "staged" / name)
    assert store.read(NAME) == (created, b"body")
    assert (root / NAME).read_bytes() == b"body"


def test_a_replace_whose_rename_was_lost_in_a_power_cut_is_done_again(root: Path, store: FilesystemObjectStore) -> None:
    """Then even the older body is in its place: the checksum tells."""
    generation = put(store, NAME, b"old").generation
    replaced = store.replace(NAME, b"new", content_type=JSON_LINES, if_generation=generation)
    with sqlite3.connect(root / ".streamlake" / "objects.sqlite") as catalog:
        ((name,),) = catalog.execute("SELECT staged FROM objects")
    catalog.close()
    (root / NAME).rename(root / ".streamlake" / "staged" / name)
    (root / NAME).write_bytes(b"old")
    assert store.read(NAME) == (replaced, b"new")


def test_a_writer_that_slept_cannot_place_its_body_over_a_newer_one(root: Path, store: FilesystemObjectStore) -> None:
    """The rename looks at the generation again."""

    class Sleeper(FilesystemObjectStore):
        def _place(self, row: object) -> bool:
            current = store.describe("contended").generation
            store.replace("contended", b"newer", content_type=JSON_LINES, if_generation=current)
            return super()._place(row)  # type: ignore[arg-type]  # the row's type is the store's own

    put(Sleeper(root), "contended", b"older")
    assert store.read("contended")[1] == b"newer"
    assert (root / "contended").read_bytes() == b"newer"
    assert staged(root) == []


@pytest.mark.parametrize("acknowledged", [1, 7, 23, 60])
def test_kill_9_loses_nothing_acknowledged_and_leaves_nothing_torn(root: Path, acknowledged: int) -> None:
    """A process that creates as fast as it can is killed: what it was told is there, what is there is whole."""
    told, tell = FORK.Pipe(duplex=False)

    def create_for_ever() -> None:
        store = FilesystemObjectStore(root)
        number = 0
        while True:
            body = b"%d\n" % number * 20_000
            put(store, f"raw/part-{number:05}", body, {"crc32c": crc32c(body)})
            tell.send(number)
            number += 1

    child = FORK.Process(target=create_for_ever)
    child.start()
    tell.close()
    while told.recv() < acknowledged:
        pass
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    last = acknowledged
    while told.poll():
        try:
            last = told.recv()
        except EOFError:
            break
    store = FilesystemObjectStore(root)
    found = names(store.list("raw/"))
    assert len(found) in (last + 1, last + 2)
    for name in found:
        info, body = store.read(name)
        assert info.metadata == {"crc32c": crc32c(body)}
        assert (root / name).read_bytes() == body
    put(store, f"raw/part-{len(found):05}")


def test_litter_is_swept_after_a_day(root: Path, store: FilesystemObjectStore) -> None:
    """A body without a row is what a writer that died before deciding left; young ones may still be decided."""
    put(store, NAME)
    folder = root / ".streamlake" / "staged"
    for name in ("old", "young"):
        (folder / name).write_bytes(b"half a bo")
    os.utime(folder / "old", (time.time() - 90_000,) * 2)
    put(FilesystemObjectStore(root), "another")
    assert [path.name for path in staged(root)] == ["young"]


def test_a_staged_body_that_is_owed_a_rename_is_never_swept(root: Path) -> None:
    """However old it is."""
    assert in_a_child(lambda: put(DiesBeforePlacing(root), NAME, b"body")) == 9
    (body,) = staged(root)
    os.utime(body, (time.time() - 90_000,) * 2)
    assert FilesystemObjectStore(root).read(NAME)[1] == b"body"


# -- faults


def test_a_locked_catalog_is_the_worlds_fault(root: Path) -> None:
    """Another writer holds the lock for longer than we wait: nothing is written, nothing is left behind."""
    store = FilesystemObjectStore(root, busy_timeout_s=0.05)
    put(store, "before")
    holder = sqlite3.connect(root / ".streamlake" / "objects.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
        put(store, "while locked")
    assert names(store.list("")) == ["before"]
    assert staged(root) == []
    holder.close()
    put(store, "while locked")


def test_a_full_disk_is_the_worlds_fault_and_leaves_no_half_body(root: Path, store: FilesystemObjectStore) -> None:
    """A limit on the size of files stands in for the disk: the kernel refuses in the middle of the body."""
    put(store, "before")

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        with pytest.raises(StoreUnavailable, match="EFBIG"):
            put(store, "large", bytes(2_000_000))

    assert in_a_child(child) == 0
    assert staged(root) == []
    assert names(store.list("")) == ["before"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (PermissionError(errno.EACCES, "no"), AccessDenied),
        (PermissionError(errno.EPERM, "no"), AccessDenied),
        (OSError(errno.EROFS, "read-only"), AccessDenied),
        (OSError(errno.ENOSPC, "full"), StoreUnavailable),
        (OSError(errno.EDQUOT, "quota"), StoreUnavailable),
        (OSError(errno.EIO, "broken"), StoreUnavailable),
        (OSError(errno.EMFILE, "too many files"), StoreUnavailable),
        (OSError("without a number"), StoreUnavailable),
        (sqlite3.DatabaseError("malformed"), StoreUnavailable),
    ],
    ids=repr,
)
def test_faults_of_the_system_become_faults_of_the_domain(fault: OSError, expected: type[Exception]) -> None:
    """Permissions are the operator's, everything else passes."""
    error = translated(fault, NAME)
    assert type(error) is expected
    assert str(error).startswith(f"{NAME}: ")


def test_a_catalog_that_may_not_be_written_is_access_denied(root: Path, store: FilesystemObjectStore) -> None:
    """Sqlite has a word of its own for it."""
    put(store, NAME)
    readonly = sqlite3.connect(f"file:{root}/.streamlake/objects.sqlite?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as refused:
        readonly.execute("DELETE FROM objects")
    readonly.close()
    assert type(translated(refused.value, NAME)) is AccessDenied
