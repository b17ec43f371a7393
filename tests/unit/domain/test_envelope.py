"""Record headers become the envelope's fields, and nothing of them is lost."""

from __future__ import annotations

from collections import Counter
from uuid import NAMESPACE_URL, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake.domain.errors import RecordRefused
from streamlake.domain.model.envelope import (
    ENVELOPE_HEADERS,
    INGESTION_NAMESPACE,
    envelope_of,
    ingestion_id_of_record,
    ingestion_id_of_request,
    ingestion_ids_of_batch,
)
from streamlake.domain.model.records import Header

NAMES = st.sampled_from([*sorted(ENVELOPE_HEADERS), "trace", "x"])
TEXTS = st.one_of(st.none(), st.sampled_from([b"orders", b"flights", b"v1", "ä".encode()]))


@given(st.lists(st.tuples(NAMES, TEXTS)))
def test_every_header_is_a_field_or_among_the_others(headers: list[Header]) -> None:
    fields, others = envelope_of(headers, "orders")
    kept = Counter(others) + Counter((name, text.encode()) for name, text in fields.items())
    assert kept == Counter(headers)


@given(st.lists(st.tuples(NAMES, TEXTS)))
def test_the_others_keep_their_order(headers: list[Header]) -> None:
    _, others = envelope_of(headers, "orders")
    rest = iter(headers)
    assert all(other in rest for other in others)


def test_of_a_repeated_header_the_last_counts_and_the_first_stays_among_the_others() -> None:
    fields, others = envelope_of([("ingestion_id", b"1"), ("ingestion_id", b"2")], "orders")
    assert fields == {"ingestion_id": "2"}
    assert others == [("ingestion_id", b"1")]


def test_a_dataset_that_is_not_this_one_stays_among_the_others() -> None:
    assert envelope_of([("dataset", b"flights")], "orders") == ({}, [("dataset", b"flights")])


def test_an_envelope_header_without_a_value_stays_among_the_others() -> None:
    assert envelope_of([("producer_service", None)], "orders") == ({}, [("producer_service", None)])


@pytest.mark.parametrize("name", sorted(ENVELOPE_HEADERS))
def test_an_envelope_header_that_is_not_utf8_is_refused_by_name_and_not_by_value(name: str) -> None:
    with pytest.raises(RecordRefused, match=name) as refused:
        envelope_of([(name, b"CANARY\xff")], "orders")
    assert refused.value.rule == "header_not_utf8"
    assert "CANARY" not in str(refused.value)


def test_any_other_header_may_be_any_bytes() -> None:
    assert envelope_of([("trace", b"\xff")], "orders") == ({}, [("trace", b"\xff")])


def test_the_namespace_of_ingestion_ids_is_the_published_one() -> None:
    assert uuid5(NAMESPACE_URL, "urn:streamlake:ingestion-id") == INGESTION_NAMESPACE


def test_a_request_retried_has_the_same_ids() -> None:
    assert ingestion_id_of_request("s", "d", "t", 3) == ingestion_id_of_request("s", "d", "t", 3)


def test_ingestion_ids_are_the_published_uuid5() -> None:
    name = "schöp\norders\nt-1"
    assert ingestion_id_of_request("schöp", "orders", "t-1") == str(uuid5(INGESTION_NAMESPACE, name))
    expected = [str(uuid5(INGESTION_NAMESPACE, f"{name}\n{index}")) for index in range(1000)]
    assert ingestion_ids_of_batch("schöp", "orders", "t-1", 1000) == expected
    assert ingestion_ids_of_batch("schöp", "orders", "t-1", 300, 600) == expected[600:900]
    assert [ingestion_id_of_request("schöp", "orders", "t-1", index) for index in range(1000)] == expected


def test_ingestion_ids_differ_by_service_dataset_token_and_index() -> None:
    told = [("s", "d", "t", None), ("x", "d", "t", None), ("s", "x", "t", None), ("s", "d", "x", None)]
    in_batches = [("s", "d", "t", 0), ("s", "d", "t", 1)]
    made = {ingestion_id_of_request(*each) for each in [*told, *in_batches]}
    assert len(made) == 6


def test_a_record_without_an_id_has_one_by_its_place() -> None:
    places = [("a", 0, 1), ("a", 0, 2), ("a", 1, 1), ("b", 0, 1)]
    assert len({ingestion_id_of_record(*place) for place in places}) == len(places)
    assert ingestion_id_of_record("a", 0, 1) == ingestion_id_of_record("a", 0, 1)
