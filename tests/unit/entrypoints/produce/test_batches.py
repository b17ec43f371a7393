"""A file is cut into the same batches wherever reading begins, and a checkpoint never passes a gap."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake.domain.errors import SettingsInvalid
from streamlake.entrypoints.produce.batches import MAX_BATCH_BYTES, START, batches
from streamlake.entrypoints.produce.checkpoint import Checkpoint, Job, head_of, load

JOB = Job("orders", "me", "t", 2, "0:x")


@given(st.lists(st.sampled_from([b"{}", b"", b" ", b'{"a":1}', b"x" * 50]), max_size=12), st.integers(1, 4))
def test_beginning_anew_where_a_batch_ended_gives_the_same_batches(lines: list[bytes], size: int) -> None:
    content = b"\r\n".join(lines)
    whole = list(batches(io.BytesIO(content), size))
    assert [event for batch in whole for event in batch.events] == [line for line in lines if line.strip()]
    assert all(1 <= len(batch.events) <= size for batch in whole)
    for number, batch in enumerate(whole):
        rest = io.BytesIO(content)
        rest.seek(batch.place.offset)
        assert list(batches(rest, size, batch.place)) == whole[number:]
        assert [content.split(b"\n")[line - 1].rstrip(b"\r") for line in batch.lines] == batch.events


def test_a_batch_is_bounded_in_bytes_and_a_longer_line_goes_alone() -> None:
    long = b"x" * (MAX_BATCH_BYTES + 1)
    sizes = [len(batch.events) for batch in batches(io.BytesIO(b"\n".join([b"a", long, b"b", b"c"])), 100)]
    assert sizes == [1, 1, 2]


@given(st.permutations(range(6)))
def test_a_checkpoint_moves_over_what_is_settled_without_a_gap(order: list[int]) -> None:
    cut = list(batches(io.BytesIO(b"a\n" * 6), 1))
    checkpoint = Checkpoint(None, JOB)
    settled: set[int] = set()
    for number in order:
        checkpoint.settle(cut[number].place, cut[number].after)
        settled.add(number)
        first_missing = min(set(range(7)) - settled)
        assert checkpoint.place == ([*(batch.place for batch in cut), cut[-1].after][first_missing])


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "cp.json"
    assert load(path) is None
    (batch,) = batches(io.BytesIO(b"a\n"), 1)
    checkpoint = Checkpoint(path, JOB)
    checkpoint.settle(START, batch.after)
    checkpoint.save()
    assert load(path) == (JOB, batch.after)
    assert [each.name for each in tmp_path.iterdir()] == ["cp.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"v":2}', '{"v":1,"batch":0}'])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "cp.json").write_text(content)
    with pytest.raises(SettingsInvalid, match=r"cp\.json: is not a checkpoint"):
        load(tmp_path / "cp.json")


def test_a_file_that_has_grown_has_the_same_head_and_another_one_has_not(tmp_path: Path) -> None:
    file = tmp_path / "events"
    file.write_bytes(b"abc")
    head = head_of(file)
    file.write_bytes(b"abcdef")
    assert head_of(file, 3) == head
    file.write_bytes(b"abX")
    assert head_of(file, 3) != head
