"""Topic ids stand in paths and in the ids of letters."""

from __future__ import annotations

import base64

import pytest
from confluent_kafka import Uuid

from streamlake.adapters.event_log.kafka.admin import spelled
from streamlake.domain.model.letters import LetterId


@pytest.mark.parametrize(("high", "low"), [(-1, -1), (0x0FFF_FFFF_FFFF_FFFF, -5), (1, 2), (-(2**62), 2**61 + 7)])
def test_a_topic_id_is_spelled_as_kafka_spells_it(high: int, low: int) -> None:
    """As org.apache.kafka.common.Uuid does: URL-safe base64 without padding."""
    both = high.to_bytes(8, "big", signed=True) + low.to_bytes(8, "big", signed=True)
    assert spelled(Uuid(high, low)) == base64.urlsafe_b64encode(both).rstrip(b"=").decode()


def test_a_letter_of_any_topic_is_found_by_its_id() -> None:
    letter = LetterId(spelled(Uuid(-1, -1)), 2, 0, "r1")
    assert LetterId.parse(str(letter)) == letter
