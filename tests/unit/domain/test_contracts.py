"""Names, and the key of a document."""

from __future__ import annotations

import pytest
from tests.unit.domain.worlds import contract

from streamlake.domain.errors import ContractViolation
from streamlake.domain.model.contracts import consumer_group, dlq_topic, raw_topic


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a.b", "a" * 64, "a\n", "ä"])
def test_a_dataset_name_that_would_collide_or_climb_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="dataset"):
        contract(dataset=name)


@pytest.mark.parametrize(("major", "partitions"), [(0, 1), (1, 0)])
def test_versions_and_partitions_start_at_one(major: int, partitions: int) -> None:
    with pytest.raises(ValueError, match=">= 1"):
        contract(major, partitions=partitions)


def test_a_contract_is_named_by_dataset_and_major_version() -> None:
    assert (contract(2).version, contract(2).name) == ("v2", "orders.v2")


def test_topics_and_group_are_named_after_the_dataset() -> None:
    assert raw_topic("a") == "streamlake.a.raw"
    assert dlq_topic("a") == "streamlake.a.dlq"
    assert consumer_group("a") == "streamlake-consumer-a"


@pytest.mark.parametrize(
    ("value", "key"),
    [("a", b"a"), ("", b""), ("ä", "ä".encode()), (7, b"7"), (-(2**80), b"-1208925819614629174706176")],
)
def test_text_and_integers_are_keys(value: object, key: bytes) -> None:
    assert contract().record_key({"id": value}) == key


@pytest.mark.parametrize("value", [None, True, 1.0, [], {}, "\ud800", 10**5000], ids=lambda value: type(value).__name__)
def test_nothing_else_is_a_key(value: object) -> None:
    with pytest.raises(ContractViolation, match="/id"):
        contract().record_key({"id": value})


def test_a_document_without_the_key_is_a_violation() -> None:
    with pytest.raises(ContractViolation, match="/id"):
        contract().record_key({})
