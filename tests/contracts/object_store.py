"""What every object store promises: subclass `ObjectStoreContract` and supply the fixture `open_store`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Full, Queue
from threading import Barrier
from typing import Protocol, TypeVar

import google_crc32c
import pytest

from streamlake.domain.errors import (
    AlreadyExists,
    BucketMissing,
    GenerationChanged,
    ObjectMissing,
    StoreUnavailable,
)
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore, StoreAdmin

T = TypeVar("T")

JSON_LINES = "application/x-ndjson"
RACERS = 20
ODD_NAMES = [
    "raw/dataset=flights/ingestion_date=2013-01-01/part-0001.json",
    "with space/and  two.json",
    "per%cent/%2F/%00.json",
    "plus+and&and?query#fragment.json",
    "quote'\"back\\slash.json",
    "gr\u00fc\u00dfe/\u65e5\u672c\u8a9e/\U0001f30a.json",
    "colon:star*[brackets]{braces}|pipe~tilde.json",
    ".hidden/..two-dots/three...dots",
]
BAD_NAMES = ["", "/", "/absolute", "folder/", "a//b", "..", "../up", "a/../b", "a/./b", ".", "nul\0", "cr\r", "lf\n"]
BAD_NAMES += ["x" * 1025, "lone surrogate \ud800"]


class Store(ObjectStore, StoreAdmin, Protocol):
    """Both roles of a store: what the suite needs to make its own bucket."""


OpenStore = Callable[[str], Store]


def crc32c(body: bytes) -> str:
    """The checksum as GCS writes it."""
    return base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode("ascii")


def put(store: ObjectStore, name: str, body: bytes = b"{}\n", metadata: Mapping[str, str] | None = None) -> ObjectInfo:
    """Create an object as landing does, checksum and all."""
    return store.create(name, body, content_type=JSON_LINES, metadata=metadata or {}, crc32c=crc32c(body))


def names(infos: Iterator[ObjectInfo]) -> list[str]:
    """Only the names of a list."""
    return [info.name for info in infos]


def race(attempt: Callable[[int], T], lost: type[Exception]) -> tuple[list[T], int]:
    """Run `attempt` in twenty threads at once: what the winners got, and how many lost."""
    barrier = Barrier(RACERS)

    def run(racer: int) -> T | None:
        barrier.wait()
        try:
            return attempt(racer)
        except lost:
            return None

    with ThreadPoolExecutor(RACERS) as pool:
        outcomes = list(pool.map(run, range(RACERS)))
    won = [outcome for outcome in outcomes if outcome is not None]
    return won, RACERS - len(won)


class ObjectStoreContract:
    """The guarantees of `ObjectStore` and `StoreAdmin`, one test each."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """A function that opens the bucket of a name, which does not exist yet; the same name, the same bucket."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Store:
        store = open_store("lake")
        store.create_bucket()
        return store

    # -- create

    def test_an_object_is_read_back_as_it_was_created(self, store: Store) -> None:
        """Body, size, checksum, generation and metadata of the answer are those of the object."""
        created = put(store, "a/b.json", b"hello\n", {"kind": "live"})
        assert (created.name, created.size, created.crc32c) == ("a/b.json", 6, crc32c(b"hello\n"))
        assert created.metadata == {"kind": "live"}
        assert created.generation > 0
        assert store.read("a/b.json") == (created, b"hello\n")

    def test_a_name_is_created_once(self, store: Store) -> None:
        """The second create is refused and changes nothing, even with the same body."""
        created = put(store, "once", b"first", {"by": "first"})
        for body in (b"first", b"second"):
            with pytest.raises(AlreadyExists):
                put(store, "once", body, {"by": "second"})
        assert store.read("once") == (created, b"first")

    def test_exactly_one_of_many_concurrent_creates_succeeds(self, store: Store) -> None:
        """Twenty threads, one name: one winner, nineteen `AlreadyExists`, the winner's body and metadata."""
        for round_ in range(5):
            name = f"race/{round_}"

            def create(racer: int, name: str = name) -> ObjectInfo:
                return put(store, name, b"%d" % racer * 1000, {"racer": str(racer)})

            won, lost = race(create, AlreadyExists)
            assert (len(won), lost) == (1, RACERS - 1)
            info, body = store.read(name)
            assert info == won[0]
            assert body == info.metadata["racer"].encode() * 1000

    def test_the_loser_of_a_create_sees_the_winners_metadata_at_once(self, store: Store) -> None:
        """`AlreadyExists` means that describe and list show the winner, complete, from now on."""

        def create(racer: int) -> str:
            with suppress(AlreadyExists):
                put(store, "slot/part-0001", b"body of %d" % racer, {"racer": str(racer)})
            described = store.describe("slot/part-0001")
            assert list(store.list("slot/")) == [described]
            return described.metadata["racer"]

        seen, _ = race(create, AlreadyExists)
        assert len(seen) == RACERS
        assert len(set(seen)) == 1

    def test_a_body_and_its_metadata_become_visible_together(self, store: Store) -> None:
        """Whoever sees an object in a list can read the whole of it, metadata included, while others are written."""

        def write() -> None:
            for number in range(60):
                body = b"%d\n" % number * 5000
                put(store, f"together/{number:04}", body, {"crc32c": crc32c(body)})

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            seen: set[str] = set()
            while len(seen) < 60 and not (writing.done() and writing.exception()):
                for listed in store.list("together/"):
                    if listed.name not in seen:
                        info, body = store.read(listed.name)
                        assert info == listed
                        assert listed.metadata == {"crc32c": crc32c(body)}
                        assert listed.size == len(body)
                        seen.add(listed.name)
            writing.result()

    def test_a_body_that_does_not_fit_its_checksum_is_not_written(self, store: Store) -> None:
        """It is the world's fault (damaged on the way), and the name stays free."""
        with pytest.raises(StoreUnavailable):
            store.create("damaged", b"body", content_type=JSON_LINES, metadata={}, crc32c=crc32c(b"another body"))
        with pytest.raises(ObjectMissing):
            store.describe("damaged")
        assert put(store, "damaged", b"body").size == 4

    def test_a_checksum_is_optional(self, store: Store) -> None:
        """Without one the object gets its checksum all the same."""
        info = store.create("unchecked", b"body", content_type=JSON_LINES, metadata={})
        assert info.crc32c == crc32c(b"body")

    def test_a_body_may_be_empty(self, store: Store) -> None:
        """Zero bytes are an object like any other."""
        created = put(store, "empty", b"", {"records": "0"})
        assert created.size == 0
        assert store.read("empty") == (created, b"")

    def test_a_body_of_eight_mebibytes_and_more_arrives_whole(self, store: Store) -> None:
        """The default largest part, and one above it."""
        body = bytes(range(256)) * (8 * 4096) + b"and more"
        put(store, "large", body)
        assert store.read("large")[1] == body

    def test_a_body_may_hold_any_bytes(self, store: Store) -> None:
        """Gzip is not unpacked, newlines are not touched, what looks like a multipart boundary is only bytes."""
        for number, body in enumerate(
            [b"\x1f\x8b\x08\x00" + bytes(range(256)), b"\r\n--boundary--\r\n", b"\xff\xfe\0"]
        ):
            put(store, f"any/{number}", body)
            assert store.read(f"any/{number}")[1] == body

    def test_metadata_of_three_thousand_bytes_of_json_comes_back_exactly(self, store: Store) -> None:
        """Claims are JSON text: quotes, braces, newlines, unicode and all."""
        claims = json.dumps({f"topic\u00fc{n}": [[n, n + 10], '"quoted"\n\t\\'] for n in range(60)}, ensure_ascii=False)
        metadata = {"claims": claims[:2900], "kind": "live", "empty": "", "replay_id": "a=b&c %20"}
        created = put(store, "claimed", b"{}", metadata)
        assert created.metadata == metadata
        assert store.describe("claimed").metadata == metadata
        assert [info.metadata for info in store.list("claimed")] == [metadata]

    def test_metadata_is_copied(self, store: Store) -> None:
        """What the caller does to its own mapping afterwards does not reach the store."""
        metadata = {"kind": "live"}
        put(store, "copied", metadata=metadata)
        metadata["kind"] = "replay"
        assert store.describe("copied").metadata == {"kind": "live"}

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_a_name_may_hold_odd_characters(self, store: Store, name: str) -> None:
        """Such an object is created, described, read and listed under exactly this name."""
        created = put(store, name, name.encode())
        assert store.describe(name) == created
        assert store.read(name) == (created, name.encode())
        assert list(store.list(name)) == [created]
        assert list(store.list("")) == [created]

    @pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:10]))
    def test_a_name_that_no_store_could_hold_is_refused(self, store: Store, name: str) -> None:
        """Empty segments, climbing out, control characters, too long: `ValueError` by every method."""
        for call in (
            lambda: put(store, name),
            lambda: store.replace(name, b"", content_type=JSON_LINES, if_generation=0),
            lambda: store.read(name),
            lambda: store.describe(name),
        ):
            with pytest.raises(ValueError):
                call()

    def test_a_name_may_be_a_folder_of_others_too(self, store: Store) -> None:
        """To an object store a slash is a character like any other."""
        put(store, "a")
        put(store, "a/b")
        assert names(store.list("")) == ["a", "a/b"]

    # -- replace

    def test_replace_with_generation_zero_creates(self, store: Store) -> None:
        """Zero says 'there is none'."""
        written = store.replace("roll-up", b"one", content_type="application/json", if_generation=0)
        assert store.read("roll-up") == (written, b"one")

    def test_replace_with_generation_zero_is_refused_where_the_object_exists(self, store: Store) -> None:
        """Nothing is written then."""
        created = put(store, "roll-up", b"one")
        with pytest.raises(GenerationChanged):
            store.replace("roll-up", b"two", content_type="application/json", if_generation=0)
        assert store.read("roll-up") == (created, b"one")

    def test_replace_writes_a_new_generation(self, store: Store) -> None:
        """The generation changes with every write, the old metadata are gone, the checksum is new."""
        created = put(store, "roll-up", b"one", {"kind": "live"})
        second = store.replace("roll-up", b"two!", content_type="application/json", if_generation=created.generation)
        third = store.replace("roll-up", b"two!", content_type="application/json", if_generation=second.generation)
        assert len({created.generation, second.generation, third.generation}) == 3
        assert (third.size, third.crc32c, third.metadata) == (4, crc32c(b"two!"), {})
        assert store.read("roll-up") == (third, b"two!")
        assert list(store.list("")) == [third]

    def test_replace_is_refused_where_somebody_wrote_in_between(self, store: Store) -> None:
        """The update of the other is not lost."""
        created = put(store, "roll-up", b"one")
        other = store.replace("roll-up", b"two", content_type="application/json", if_generation=created.generation)
        with pytest.raises(GenerationChanged):
            store.replace("roll-up", b"mine", content_type="application/json", if_generation=created.generation)
        assert store.read("roll-up") == (other, b"two")

    def test_replace_is_refused_where_the_object_is_gone(self, store: Store) -> None:
        """A generation that is not there cannot be replaced."""
        with pytest.raises(GenerationChanged):
            store.replace("never", b"one", content_type="application/json", if_generation=7)
        with pytest.raises(ObjectMissing):
            store.describe("never")

    def test_exactly_one_of_many_concurrent_replaces_of_a_generation_succeeds(self, store: Store) -> None:
        """Twenty threads that have all read the same generation: no lost update."""
        generation = put(store, "contended", b"start").generation
        for _ in range(5):

            def replace(racer: int, generation: int = generation) -> ObjectInfo:
                return store.replace(
                    "contended", b"%d" % racer, content_type="application/json", if_generation=generation
                )

            won, lost = race(replace, GenerationChanged)
            assert (len(won), lost) == (1, RACERS - 1)
            assert store.describe("contended") == won[0]
            generation = won[0].generation

    def test_read_gives_one_generation_never_a_mixture(self, store: Store) -> None:
        """Readers of an object that is replaced again and again see info and body of the same write."""
        first = put(store, "moving", b"0" * 1000)
        # A reader who loses every race may give up: so no more than three writes fall into one read.
        turns = Queue[None](maxsize=2)

        def write() -> None:
            generation = first.generation
            for number in range(1, 60):
                turns.get(timeout=30)
                body = b"%d" % (number % 10) * (1000 + number)
                generation = store.replace(
                    "moving", body, content_type="application/json", if_generation=generation
                ).generation

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not writing.done():
                with suppress(Full):
                    turns.put_nowait(None)
                    turns.put_nowait(None)
                info, body = store.read("moving")
                assert (info.size, info.crc32c) == (len(body), crc32c(body))
                assert set(body) == {body[0]}
            writing.result()

    # -- read, describe, list

    def test_reading_what_is_not_there_says_object_missing(self, store: Store) -> None:
        """By read and by describe, also where only the folder of that name exists."""
        put(store, "folder/object")
        for name in ("nothing", "folder", "folder/object/below", "folder/objec"):
            with pytest.raises(ObjectMissing):
                store.read(name)
            with pytest.raises(ObjectMissing):
                store.describe(name)

    def test_read_describe_and_list_tell_the_same(self, store: Store) -> None:
        """There is one truth about an object."""
        created = put(store, "same/one", b"body", {"a": "b"})
        assert store.read("same/one")[0] == store.describe("same/one") == created
        assert list(store.list("same/")) == [created]

    def test_a_second_handle_sees_every_write_at_once(self, store: Store, open_store: OpenStore) -> None:
        """Another process, so to say: list and read after write."""
        other = open_store("lake")
        for number in range(10):
            created = put(store, f"seen/{number}", b"%d" % number)
            assert other.describe(f"seen/{number}") == created
            assert len(list(other.list("seen/"))) == number + 1
            assert other.read(f"seen/{number}") == (created, b"%d" % number)

    def test_a_list_is_ascending_by_utf8_bytes(self, store: Store) -> None:
        """Not by locale, not by case, not by UTF-16: an emoji comes after the last of the basic plane."""
        unordered = ["b", "a", "B", "a-b", "a0", "\u00e4", "z", "\uff5e", "\U0001f30a", "part-10000", "part-9999"]
        for name in unordered:
            put(store, name)
        assert names(store.list("")) == sorted(unordered, key=str.encode)

    def test_a_list_holds_exactly_the_names_with_its_prefix(self, store: Store) -> None:
        """The prefix is text, not a folder; the empty one is everything."""
        for name in ("raw/a/1", "raw/a/2", "raw/ab/1", "raw/b/1", "ops/1"):
            put(store, name)
        assert names(store.list("raw/a")) == ["raw/a/1", "raw/a/2", "raw/ab/1"]
        assert names(store.list("raw/a/")) == ["raw/a/1", "raw/a/2"]
        assert names(store.list("raw/c")) == []
        assert len(names(store.list(""))) == 5

    def test_a_list_begins_at_its_start(self, store: Store) -> None:
        """Inclusive; a start before the prefix, between names or beyond the end is fine."""
        for number in range(1, 6):
            put(store, f"log/part-{number:04}.json")
        put(store, "other/part-0009.json")
        assert names(store.list("log/part-", start="log/part-0004.json")) == [
            "log/part-0004.json",
            "log/part-0005.json",
        ]
        assert names(store.list("log/part-", start="log/part-0004.k")) == ["log/part-0005.json"]
        assert len(names(store.list("log/part-", start="a"))) == 5
        assert names(store.list("log/part-", start="log/part-9999")) == []
        assert names(store.list("log/part-", start="zzz")) == []

    def test_a_list_of_more_than_a_page_is_complete(self, store: Store) -> None:
        """GCS gives at most 1,000 objects a page: more come with their metadata, in order, once each."""
        expected = [f"many/part-{number:05}.json" for number in range(1, 1006)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: put(store, name, b"x", {"name": name}), expected))
        listed = list(store.list("many/"))
        assert [info.name for info in listed] == expected
        assert all(info.metadata == {"name": info.name} for info in listed)
        assert names(store.list("many/", start=expected[3])) == expected[3:]

    def test_folders_are_the_next_segments_that_hold_objects(self, store: Store) -> None:
        """Distinct, ascending, without slashes; an object directly below is not a folder."""
        for name in (
            "raw/dataset=a/ingestion_date=2025-01-02/part-0001.json",
            "raw/dataset=a/ingestion_date=2025-01-02/part-0002.json",
            "raw/dataset=a/ingestion_date=2025-01-01/part-0001.json",
            "raw/dataset=a/_metadata.json",
            "raw/dataset=a-b/ingestion_date=2025-01-01/part-0001.json",
            "raw/dataset=\u00fc/part-0001.json",
            "ops/report.json",
        ):
            put(store, name)
        assert list(store.folders("raw/")) == ["dataset=a", "dataset=a-b", "dataset=\u00fc"]
        assert list(store.folders("raw/dataset=a/")) == ["ingestion_date=2025-01-01", "ingestion_date=2025-01-02"]
        assert list(store.folders("raw/dataset=a/ingestion_date=2025-01-01/")) == []
        assert list(store.folders("nothing/")) == []
        assert list(store.folders("")) == ["ops", "raw"]

    def test_folders_of_a_prefix_without_a_slash_is_refused(self, store: Store) -> None:
        """It would mean half a name."""
        with pytest.raises(ValueError):
            store.folders("raw")

    # -- the bucket

    def test_a_bucket_that_is_not_there_is_said_by_every_method(self, open_store: OpenStore) -> None:
        """`BucketMissing`, never `ObjectMissing` or an empty list, and nothing is created silently."""
        store = open_store("never-made")
        calls: Sequence[Callable[[], object]] = (
            lambda: put(store, "a"),
            lambda: store.replace("a", b"", content_type=JSON_LINES, if_generation=0),
            lambda: store.read("a"),
            lambda: store.describe("a"),
            lambda: list(store.list("")),
            lambda: store.folders("a/"),
        )
        for call in calls:
            with pytest.raises(BucketMissing):
                call()
        assert store.bucket_exists() is False

    def test_create_bucket_makes_it_and_is_idempotent(self, open_store: OpenStore) -> None:
        """A second time it does nothing, and what is in the bucket stays."""
        store = open_store("made")
        store.create_bucket()
        assert store.bucket_exists() is True
        put(store, "a")
        store.create_bucket()
        assert names(store.list("")) == ["a"]

    def test_close_is_idempotent(self, store: Store) -> None:
        """Closing twice is closing once."""
        put(store, "a")
        store.close()
        store.close()
