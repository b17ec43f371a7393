"""What is committed beside a position."""

from __future__ import annotations

import json

import pytest
from tests.unit.domain.worlds import L0, P0

from streamlake.domain.model.positions import Offsets
from streamlake.domain.model.snapshots import Snapshot, Span, commit_metadata, committed_topic_id


def test_a_commit_names_the_topic_id_whose_offsets_these_are() -> None:
    assert json.loads(commit_metadata("abc")) == {"v": 1, "topic_id": "abc", "replay": None}
    assert committed_topic_id(commit_metadata("abc")) == "abc"


@pytest.mark.parametrize(
    "metadata",
    ["", "{", "null", "[]", "7", '"text"', "{}", '{"v":2,"topic_id":"a"}', '{"v":1}', '{"v":1,"topic_id":7}'],
)
def test_a_commit_of_another_tool_names_no_topic_id(metadata: str) -> None:
    assert committed_topic_id(metadata) is None


def test_a_snapshot_claims_what_it_spans() -> None:
    snapshot = Snapshot(0, {P0: Span(L0.topic_id, 3, 9, 1)})
    assert snapshot.claims() == {L0: Offsets([(3, 9)])}
