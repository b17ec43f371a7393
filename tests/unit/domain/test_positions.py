"""`Offsets` is a set of integers, whatever the order it was filled in."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake.domain.model.positions import Offsets, Position, TopicPartition

TOP = 40
INTERVALS = st.lists(
    st.tuples(st.integers(0, TOP), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=12
)
CUT = st.integers(0, TOP + 8)


def plain(intervals: list[tuple[int, int]]) -> set[int]:
    return {offset for start, end in intervals for offset in range(start, end)}


def members(offsets: Offsets) -> set[int]:
    return plain(list(offsets))


@given(INTERVALS)
def test_adding_in_any_order_is_the_union(intervals: list[tuple[int, int]]) -> None:
    made, wanted = Offsets(intervals), plain(intervals)
    assert {offset for offset in range(TOP + 10) if offset in made} == wanted
    assert len(made) == len(wanted)
    assert bool(made) == bool(wanted)


@given(INTERVALS)
def test_intervals_are_sorted_disjoint_and_never_touch(intervals: list[tuple[int, int]]) -> None:
    kept = list(Offsets(intervals))
    assert all(start < end for start, end in kept)
    assert all(before[1] < after[0] for before, after in pairwise(kept))


@given(INTERVALS, st.integers())
def test_equality_is_of_the_sets_and_not_of_how_they_were_made(intervals: list[tuple[int, int]], seed: int) -> None:
    one_by_one = list(plain(intervals))
    Random(seed).shuffle(one_by_one)
    assert Offsets(intervals) == Offsets.of(one_by_one)


@given(INTERVALS, INTERVALS)
def test_different_sets_are_not_equal(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    assert (Offsets(one) == Offsets(other)) == (plain(one) == plain(other))
    assert Offsets(one) != list(one)


@given(INTERVALS, INTERVALS)
def test_update_is_the_union(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    made = Offsets(one)
    made.update(Offsets(other))
    assert members(made) == plain(one) | plain(other)


@given(INTERVALS, CUT)
def test_before_and_since_cut_the_set_in_two(intervals: list[tuple[int, int]], cut: int) -> None:
    made, wanted = Offsets(intervals), plain(intervals)
    assert members(made.before(cut)) == {offset for offset in wanted if offset < cut}
    assert members(made.since(cut)) == {offset for offset in wanted if offset >= cut}


@given(INTERVALS, CUT, CUT)
def test_gaps_are_what_is_not_there(intervals: list[tuple[int, int]], one: int, other: int) -> None:
    start, end = sorted((one, other))
    assert plain(Offsets(intervals).gaps(start, end)) == set(range(start, end)) - plain(intervals)


@given(INTERVALS, CUT, CUT)
def test_overlaps_tells_a_common_offset(intervals: list[tuple[int, int]], one: int, other: int) -> None:
    start, end = sorted((one, other))
    assert Offsets(intervals).overlaps(start, end) == bool(plain(intervals) & set(range(start, end)))


@given(INTERVALS, CUT)
def test_the_run_from_a_place_ends_at_the_first_offset_missing(intervals: list[tuple[int, int]], start: int) -> None:
    wanted = plain(intervals)
    end = start
    while end in wanted:
        end += 1
    assert Offsets(intervals).end_of_run_from(start) == end


@pytest.mark.parametrize(("start", "end"), [(3, 2), (-1, 2), (-2, -1)])
def test_a_backward_or_negative_interval_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="interval"):
        Offsets([(start, end)])


def test_the_empty_interval_adds_nothing() -> None:
    assert list(Offsets([(3, 3)])) == []


def test_a_set_of_offsets_is_no_dictionary_key() -> None:
    with pytest.raises(TypeError):
        hash(Offsets())


def test_a_set_of_offsets_prints_its_intervals() -> None:
    assert repr(Offsets([(0, 2), (5, 6)])) == "Offsets([0,2) [5,6))"


def test_a_negative_position_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        Position(-1)


def test_a_partition_prints_as_kafka_tools_do() -> None:
    assert str(TopicPartition("t", 3)) == "t[3]"
