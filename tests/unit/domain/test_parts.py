"""What a part says of itself survives being custom metadata, and is believed only when it is whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake.domain.model.parts import (
    MAX_METADATA_BYTES,
    PartInfo,
    Predecessor,
    dump_claims,
    load_claims,
    metadata_bytes,
    parse_part_name,
    part_info,
    part_name,
    raw_prefix,
)
from streamlake.domain.model.positions import Lane, Offsets

NAME = "raw/dataset=orders/ingestion_date=2026-11-21/part-0001.json"
TEXT = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
OFFSETS = st.lists(st.tuples(st.integers(0, 2**62), st.integers(1, 50)), min_size=1, max_size=3).map(
    lambda pairs: Offsets((start, start + length) for start, length in pairs)
)
CLAIMS = st.dictionaries(st.builds(Lane, TEXT, st.integers(0, 300)), OFFSETS, min_size=1, max_size=4)
PREDECESSORS = st.none() | st.builds(Predecessor, TEXT, st.integers(1, 2**60), TEXT)
INFOS = st.builds(
    PartInfo,
    claims=CLAIMS,
    rows=st.none() | CLAIMS,
    records=st.integers(1, 10**9),
    crc32c=TEXT,
    writer=TEXT,
    first_timestamp=st.integers(0, 2**50),
    last_timestamp=st.integers(0, 2**50),
    replay_id=st.none() | TEXT,
    previous=PREDECESSORS,
)


def info(claims: dict[Lane, Offsets] | None = None, rows: dict[Lane, Offsets] | None = None) -> PartInfo:
    one = {Lane("t", 0): Offsets([(0, 5)])}
    return PartInfo(claims or one, rows or one, 5, "crc", "w", 1, 2, None, None)


def metadata(**changes: str | None) -> dict[str, str]:
    told = {**info().to_metadata(), **changes}
    return {name: value for name, value in told.items() if value is not None}


@given(INFOS)
def test_what_a_part_says_survives_being_custom_metadata(told: PartInfo) -> None:
    assert part_info(told.to_metadata()) == told


@given(CLAIMS)
def test_claims_are_canonical_whatever_order_they_came_in(claims: dict[Lane, Offsets]) -> None:
    backwards = dict(reversed(claims.items()))
    assert dump_claims(backwards) == dump_claims(claims)
    assert load_claims(dump_claims(claims)) == claims
    assert " " not in dump_claims(claims)


def test_claims_have_a_published_form() -> None:
    claims = {
        Lane("b", 10): Offsets([(1, 2)]),
        Lane("b", 9): Offsets([(0, 3), (5, 6)]),
        Lane("a", 0): Offsets([(7, 8)]),
    }
    assert dump_claims(claims) == '{"a":{"0":[[7,8]]},"b":{"10":[[1,2]],"9":[[0,3],[5,6]]}}'


def test_custom_metadata_is_text_by_text() -> None:
    assert all(isinstance(value, str) for value in info().to_metadata().values())


@given(INFOS, PREDECESSORS, TEXT)
def test_the_digest_rests_on_name_checksum_and_claims_alone(told: PartInfo, previous: Predecessor, other: str) -> None:
    copied = PartInfo(told.claims, None, told.records + 1, told.crc32c, other, 0, 0, None, previous)
    assert copied.digest(NAME) == told.digest(NAME)


def test_the_digest_changes_with_name_checksum_and_claims() -> None:
    wider = {Lane("t", 0): Offsets([(0, 6)])}
    other_body = PartInfo(info().claims, None, 5, "other", "w", 1, 2, None, None)
    digests = {info().digest(NAME), info().digest(NAME + "x"), info(wider).digest(NAME), other_body.digest(NAME)}
    assert len(digests) == 4


def test_a_list_of_rows_that_does_not_fit_gives_way_to_the_body() -> None:
    every_other = {Lane("t", 0): Offsets((offset, offset + 1) for offset in range(0, 2000, 2))}
    told = info({Lane("t", 0): Offsets([(0, 2000)])}, every_other).to_metadata()
    assert told["rows"] == "body"
    assert metadata_bytes(told) <= MAX_METADATA_BYTES
    assert part_info(told).rows is None


def test_a_list_of_rows_stays_as_long_as_it_fits() -> None:
    for count in range(1, 400):
        told = info(rows={Lane("t", 0): Offsets((at * 2, at * 2 + 1) for at in range(count))}).to_metadata()
        if told["rows"] == "body":
            longer = dump_claims({Lane("t", 0): Offsets((at * 2, at * 2 + 1) for at in range(count))})
            assert metadata_bytes({**told, "rows": longer}) > MAX_METADATA_BYTES
            return
        assert metadata_bytes(told) <= MAX_METADATA_BYTES
    pytest.fail("no list was too long")


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_metadata_is_counted_in_bytes_of_utf8(told: dict[str, str]) -> None:
    assert metadata_bytes(told) == len("".join(f"{name}{value}" for name, value in told.items()).encode())


@pytest.mark.parametrize("name", ["v", "kind", "records", "crc32c", "writer", "first_timestamp", "claims", "rows"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        part_info(metadata(**{name: None}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("records", "many"),
        ("records", ""),
        ("first_timestamp", "noon"),
        ("last_timestamp", "1.5"),
        ("claims", ""),
        ("claims", "{"),
        ("claims", "[]"),
        ("claims", "7"),
        ("claims", '{"t":[]}'),
        ("claims", '{"t":{"x":[[0,1]]}}'),
        ("claims", '{"t":{"0":[[0]]}}'),
        ("claims", '{"t":{"0":[[0,1,2]]}}'),
        ("claims", '{"t":{"0":[["0","1"]]}}'),
        ("claims", '{"t":{"0":[[0,1.5]]}}'),
        ("claims", '{"t":{"0":[[0,true]]}}'),
        ("claims", '{"t":{"0":[[5,1]]}}'),
        ("claims", '{"t":{"0":[[-5,1]]}}'),
        ("claims", '{"t":{"0":7}}'),
        ("claims", '{"t":{"0":[]}}'),
        ("claims", '{"t":{"0":[[0,NaN]]}}'),
        ("claims", "[" * 4000),
        ("rows", "nobody"),
        ("rows", "[]"),
    ],
)
def test_a_malformed_field_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        part_info(metadata(**{name: value}))


def test_a_predecessor_is_whole_or_absent() -> None:
    with pytest.raises(ValueError, match="prev_generation"):
        part_info(metadata(prev="x", prev_crc32c="y"))
    with pytest.raises(ValueError, match="prev_generation"):
        part_info(metadata(prev="x", prev_crc32c="y", prev_generation="z"))


def test_claims_of_a_later_version_are_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="version"):
        part_info(metadata(v="2"))


@pytest.mark.parametrize("changes", [{"kind": "replay"}, {"replay_id": "r"}, {"kind": "other"}])
def test_kind_and_replay_id_go_together(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="kind"):
        part_info(metadata(**changes))


@given(st.integers(1, 10**7), st.sampled_from(["json", "json.gz", "parquet"]))
def test_a_part_name_is_read_back(number: int, extension: str) -> None:
    assert parse_part_name(raw_prefix("orders", "2026-11-21") + part_name(number, extension)) == (number, extension)


@pytest.mark.parametrize(
    "name",
    ["_metadata.json", "part-1.json", "part-0001", "part-0001.", "part-0001.json/", "xpart-0001.json", "part-.json"],
)
def test_what_is_no_part_is_no_part(name: str) -> None:
    assert parse_part_name(f"raw/{name}") is None


def test_claims_survive_other_peoples_json() -> None:
    spaced = json.dumps(json.loads(dump_claims(info().claims)), indent=2)
    assert load_claims(spaced) == info().claims
