"""A letter is sent again once, whatever is killed, frozen, lost or repeated, and what still fails stays open."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.faults import Fault, FaultyStore
from tests.unit.domain.worlds import BAD, DATASET, DLQ, GOOD, NOW, RAW, T0, Catalog, contract
from tests.unit.entrypoints.redrives import (
    AGAIN,
    DLQ_ID,
    EVERYTHING,
    FAULT,
    RAW_ID,
    RUN,
    KilledError,
    Life,
    MortalWriter,
    Post,
)

from streamlake.domain.errors import GenerationChanged, NotStored, OutcomeUnknown, StoreUnavailable, TopicRecreated
from streamlake.domain.model.dead_letters import STAGE_CONSUMER, TRUNCATED_BYTES, LetterSource, dead_letter, truncated
from streamlake.domain.model.envelope import ingestion_id_of_record
from streamlake.domain.model.letter_selection import LetterSelection, offset_ranges
from streamlake.domain.model.letters import LetterId, Resolution
from streamlake.domain.model.positions import Lane, Offsets, TopicPartition
from streamlake.domain.model.records import AppendOutcome, Header, OutgoingRecord
from streamlake.domain.model.redrives import Mark, mark_of
from streamlake.domain.model.times import epoch_ms
from streamlake.domain.ports.event_log import TopicSpec
from streamlake.domain.use_cases.redrive_turns import LEASE_S, RENEW_S, Busy, RedriveTurns

OURS: list[Header] = [("schema_version", b"v1"), ("ingested_at", b"then"), ("ingestion_id", b"i-1")]


@pytest.fixture
def post() -> Post:
    return Post()


def test_a_letter_of_a_consumer_is_sent_as_it_was_and_resolved(post: Post) -> None:
    letter = post.fail(42, value=b'{"id": "x" }', key=b"key", headers=[("trace", None), *OURS, ("trace", b"\xff")])
    assert post.redrive().resolved == 1
    [(place, key, value, headers, timestamp)] = post.raw()
    assert (key, value, timestamp) == (b"key", b'{"id": "x" }', epoch_ms(post.clock.now()))
    assert headers[:-2] == [("trace", None), *OURS, ("trace", b"\xff")]
    assert headers[-2] == ("dlq_attempts", b"2")
    assert mark_of(headers) == Mark(RUN, letter, post.letter().place.partition)
    [made] = [entry for entry in post.entries() if isinstance(entry, Resolution)]
    assert (made.letter, made.outcome, made.by, made.redriven_to) == (letter, "redriven", "ann", place)
    assert post.ledger().standing(letter, {}) == "redriven"


def test_a_letter_of_the_api_keeps_its_id_and_gets_the_key_it_never_had(post: Post) -> None:
    post.reject(b'{"id":"o-7"}', OURS)
    post.redrive()
    [(_, key, value, headers, _)] = post.raw()
    assert (key, value, headers[:-2]) == (b"o-7", b'{"id":"o-7"}', OURS)


def test_a_record_that_had_no_envelope_gets_what_the_raw_zone_would_have_said_of_it(post: Post) -> None:
    post.fail(42, headers=[("other", b"x")])
    post.redrive()
    told = dict(post.raw()[0][3])
    assert told["ingestion_id"] == str(ingestion_id_of_record(RAW_ID, 0, 42)).encode()
    assert told["ingested_at"] == b"2026-11-21T10:33:00.000000Z"


def test_a_record_without_a_timestamp_gets_that_of_the_redrive(post: Post) -> None:
    post.fail(42, timestamp=-1)
    assert post.redrive().resolved == 1
    assert "ingested_at" not in dict(post.raw()[0][3])


def test_what_still_fails_stays_open_and_says_why(post: Post) -> None:
    bad, unkeyed = post.fail(1, value=BAD), post.fail(2, key=b"\xff")
    null, unknown = post.fail(3, value=None), post.fail(4, headers=[("schema_version", b"v9")])
    outcome = post.redrive()
    stays = {"malformed_json": 1, "key_not_utf8": 1, "null_value": 1, "unknown_schema_version": 1}
    assert (outcome.resolved, outcome.stays, post.raw()) == (0, stays, [])
    assert outcome.first["malformed_json"] == (str(bad), "orders.v1: document: must be JSON")
    assert {letter for letter, fault in post.told if fault} == {bad, unkeyed, null, unknown}
    assert post.ledger().redriven == {}


def test_a_letter_is_judged_by_the_contract_that_its_record_names(post: Post) -> None:
    post.fail(1, headers=[("schema_version", b"v2")])
    catalog = Catalog(contract(1), contract(2))
    assert post.run(catalog=catalog).redrive(EVERYTHING, max_attempts=5, rate=None).resolved == 1


def test_what_is_resolved_is_not_sent_again(post: Post) -> None:
    for offset in range(250):
        post.fail(offset)
    post.fail(249)
    assert post.redrive().resolved == 250
    assert post.redrive(AGAIN).resolved == 0
    assert set(post.sent().values()) == {1}
    assert len(post.raw()) == 250


def test_void_letters_and_those_of_replays_are_never_sent(post: Post) -> None:
    void, open_letter = post.fail(5), post.fail(6)
    post.fail(7, replay_id="r1")
    post.land(4, 5)
    outcome = post.redrive()
    assert (outcome.resolved, outcome.void) == (1, 1)
    assert [letter for letter, _ in post.told] == [open_letter]
    assert void not in [letter for letter, _ in post.told]


def test_a_discarded_letter_is_closed_with_who_and_why_and_still_there(post: Post) -> None:
    letter = post.fail(5)
    post.fail(6)
    selection = LetterSelection(letters=frozenset([letter]))
    assert post.run().discard(selection, "a test of theirs").resolved == 1
    [made] = [entry for entry in post.entries() if isinstance(entry, Resolution)]
    assert (made.letter, made.outcome, made.by, made.reason) == (letter, "discarded", "ann", "a test of theirs")
    assert made.at == "2026-11-21T10:33:00.000000Z"
    assert post.redrive(AGAIN).resolved == 1
    assert len(post.entries()) == 4


def test_a_dry_run_says_what_would_happen_and_writes_nothing(post: Post) -> None:
    good, bad = post.fail(1), post.fail(2, value=BAD)
    before = post.entries()
    outcome = post.run().dry_run(EVERYTHING, max_attempts=5)
    assert (outcome.resolved, outcome.stays) == (1, {"malformed_json": 1})
    assert [(letter, fault is None) for letter, fault in post.told] == [(good, True), (bad, False)]
    assert (post.entries(), post.raw(), list(post.store.list(""))) == (before, [], [])


def test_only_the_letters_selected_are_sent(post: Post) -> None:
    post.fail(1)
    wanted = post.fail(1, partition=1)
    post.fail(5, partition=1)
    selection = LetterSelection(source_offsets=offset_ranges(["1:0-5"]))
    post.redrive(selection=selection)
    assert [letter for letter, _ in post.told] == [wanted]


def test_attempts_add_up_over_redrives_until_the_cap(post: Post) -> None:
    """A redriven record that fails again is a new letter; what the first redrive added is not kept twice."""
    post.fail(1, headers=OURS)
    post.redrive()
    [(place, key, value, headers, _)] = post.raw()
    post.fail(place.offset, partition=place.partition, key=key, value=value, headers=headers)
    assert post.redrive(AGAIN, max_attempts=2).stays == {"too_many_attempts": 1}
    assert post.redrive(AGAIN, max_attempts=3).resolved == 1
    again = post.raw()[-1][3]
    assert again[:-2] == OURS
    assert again[-2] == ("dlq_attempts", b"3")


def test_headers_of_another_producer_that_look_a_little_like_ours_are_kept(post: Post) -> None:
    theirs: list[Header] = [("dlq_attempts", b"many"), ("dlq_redrive", b"yes"), ("dlq_resolution", b"redriven")]
    post.fail(1, headers=theirs)
    post.redrive()
    assert post.raw()[0][3][:3] == theirs


def test_a_truncated_letter_is_sent_whole_while_the_raw_topic_has_it(post: Post) -> None:
    whole = b'{"id":"' + b"x" * TRUNCATED_BYTES + b'"}'
    post.append(OutgoingRecord(RAW, b"k", whole, (), T0, 0))
    source = LetterSource(RAW, RAW_ID, 0, 0, T0)
    post.append(truncated(dead_letter(DATASET, STAGE_CONSUMER, FAULT, b"k", whole, [], NOW, source=source)))
    assert post.redrive().resolved == 1
    assert [value for _, _, value, _, _ in post.raw()] == [whole, whole]


@pytest.mark.parametrize("lost", ["trimmed", "changed"])
def test_a_truncated_letter_without_its_original_stays_open(post: Post, lost: str) -> None:
    whole = b'{"id":"' + b"x" * TRUNCATED_BYTES + b'"}'
    post.append(OutgoingRecord(RAW, b"k", whole if lost == "trimmed" else whole.replace(b"x", b"y"), (), T0, 0))
    source = LetterSource(RAW, RAW_ID, 0, 0, T0)
    post.append(truncated(dead_letter(DATASET, STAGE_CONSUMER, FAULT, b"k", whole, [], NOW, source=source)))
    if lost == "trimmed":
        post.append(OutgoingRecord(RAW, b"k", GOOD, (), T0, 0))
        post.log.trim(TopicPartition(RAW, 0), 1)
    assert post.redrive().stays == {"truncated": 1}


def test_a_letter_of_a_recreated_topic_is_sent_to_the_topic_of_today(post: Post) -> None:
    """The event never landed; its id is that of the position it had."""
    letter = post.fail(42, topic_id="an-older-one")
    assert post.redrive().resolved == 1
    assert dict(post.raw()[0][3])["ingestion_id"] == str(ingestion_id_of_record("an-older-one", 0, 42)).encode()
    assert post.ledger().standing(letter, {}) == "redriven"


def test_a_topic_recreated_under_a_redrive_stops_it_before_anything_is_resolved(post: Post) -> None:
    post.fail(1)
    parts = post.parts()

    def recreate(record: OutgoingRecord) -> AppendOutcome | None:
        if record.topic == RAW:
            post.log.delete_topic(RAW)
            post.log.admin().create_topic(TopicSpec(RAW, 2, 1))
        return None

    writer_of(parts).hook = recreate
    with pytest.raises(TopicRecreated, match="memory-1, it is memory-3 now"):
        post.run(parts=parts).redrive(EVERYTHING, max_attempts=5, rate=None)
    assert post.ledger().redriven == {}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), st.lists(st.integers(0, 300), max_size=4))
def test_killed_at_any_step_and_run_again_each_letter_is_sent_once(letters: int, lives: list[int]) -> None:
    """Between the raw record and its resolution too: the next one finds what was sent."""
    post = Post()
    for offset in range(letters):
        post.fail(offset)
    for number, steps in enumerate(lives):
        with suppress(KilledError):
            run = post.run(f"{number:032x}", life=Life(steps))
            run.redrive(EVERYTHING, max_attempts=5, rate=None)
    post.redrive(AGAIN)
    assert post.sent() == Counter({str(ingestion_id_of_record(RAW_ID, 0, offset)): 1 for offset in range(letters)})
    assert sum(isinstance(entry, Resolution) for entry in post.entries()) == letters
    ledger = post.ledger()
    assert ledger.redriven == {Lane(RAW_ID, 0): Offsets([(0, letters)])}
    assert ledger.redriven_twice == {}
    assert sum(map(len, ledger.redriven_to.values())) == letters


@pytest.mark.parametrize("stored", [True, False])
def test_a_lost_answer_is_looked_up_by_the_next_run(post: Post, stored: bool) -> None:
    post.fail(1)
    parts = post.parts()

    def lose(record: OutgoingRecord) -> AppendOutcome | None:
        if stored and record.topic == RAW:
            post.append(record._replace(partition=0))
        return OutcomeUnknown("no answer")

    writer_of(parts).hook = lose
    with pytest.raises(OutcomeUnknown):
        post.run(parts=parts).redrive(EVERYTHING, max_attempts=5, rate=None)
    outcome = post.redrive(AGAIN)
    assert (outcome.recovered, outcome.resolved) == ((1, 0) if stored else (0, 1))
    assert len(post.raw()) == 1


def test_what_was_acknowledged_beside_a_failure_is_resolved(post: Post) -> None:
    for offset in range(3):
        post.fail(offset)
    parts = post.parts()
    writer_of(parts).hook = lambda record: NotStored("full") if post.raw() and record.topic == RAW else None
    with pytest.raises(NotStored):
        post.run(parts=parts).redrive(EVERYTHING, max_attempts=5, rate=None)
    assert len(post.ledger().redriven[Lane(RAW_ID, 0)]) == 1
    assert post.redrive(AGAIN).resolved == 2
    assert set(post.sent().values()) == {1}


def test_a_mark_that_a_producer_made_up_resolves_nothing(post: Post) -> None:
    letter = post.fail(1)
    with suppress(KilledError):
        post.run(life=Life(1)).redrive(EVERYTHING, max_attempts=5, rate=None)
    post.append(OutgoingRecord(RAW, b"k", GOOD, [Mark("ef" * 16, letter, 0).to_header()], T0, 0))
    outcome = post.redrive(AGAIN)
    assert (outcome.recovered, outcome.resolved) == (0, 1)


def test_two_redrives_take_turns(post: Post) -> None:
    post.fail(1)
    first = post.parts()
    turn = first.turns.take(RUN, "ann", "then", post.clock.monotonic())
    assert not isinstance(turn, Busy)
    second = post.parts()

    def beat(seconds: float) -> None:
        post.clock.advance(seconds)
        first.turns.keep(turn, post.clock.monotonic())

    object.__setattr__(second, "wait", beat)
    with pytest.raises(GenerationChanged, match="by ann is under way since then"):
        post.run(AGAIN, parts=second).redrive(EVERYTHING, max_attempts=5, rate=None)
    assert post.raw() == []
    first.turns.end(turn, settled=True)
    assert post.redrive(AGAIN).resolved == 1


def test_the_turn_of_a_dead_process_is_taken_over_after_the_lease(post: Post) -> None:
    post.fail(1)
    post.parts().turns.take(RUN, "ann", "then", 0)
    began = post.clock.monotonic()
    assert post.redrive(AGAIN).resolved == 1
    assert post.clock.monotonic() - began == pytest.approx(LEASE_S)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_a_renewal_whose_answer_is_lost_does_not_end_the_turn(post: Post, fault: Fault, again: bool) -> None:
    store = FaultyStore(post.store)
    turns = RedriveTurns(DATASET, store, post.log.admin())
    turn = turns.take(RUN, "ann", "then", 0)
    assert not isinstance(turn, Busy)
    store.script = {len(store.calls) + 1: fault}
    turn = turns.keep(turn, RENEW_S)
    if again:
        turn = turns.keep(turn, 2 * RENEW_S)
    turns.end(turn, settled=True)
    assert not isinstance(post.parts().turns.take(AGAIN, "bob", "later", 0), Busy)


def test_a_turn_that_cannot_be_renewed_ends_before_others_can_take_it(post: Post) -> None:
    store = FaultyStore(post.store)
    turns = RedriveTurns(DATASET, store, post.log.admin())
    turn = turns.take(RUN, "ann", "then", 0)
    assert not isinstance(turn, Busy)
    store.script = dict.fromkeys(range(1, 50), Fault.BEFORE)
    with pytest.raises(StoreUnavailable):
        turns.keep(turn, LEASE_S / 2)


def test_who_was_frozen_for_longer_than_the_lease_sends_nothing_more(post: Post) -> None:
    for offset in range(250):
        post.fail(offset)
    frozen = post.parts()
    thawed: list[int] = []

    def freeze(record: OutgoingRecord) -> AppendOutcome | None:
        if record.topic == DLQ and not thawed:
            post.clock.advance(RENEW_S)
            thawed.append(post.redrive(AGAIN).resolved)
        return None

    writer_of(frozen).hook = freeze
    with pytest.raises(GenerationChanged, match="taken over"):
        post.run(parts=frozen).redrive(EVERYTHING, max_attempts=5, rate=None)
    assert thawed == [150], "what the frozen one had sent is found, and not sent again"
    assert set(post.sent().values()) == {1}
    assert post.ledger().redriven_twice == {}


def test_a_letter_sent_to_two_places_is_named(post: Post) -> None:
    """Two processes that both held the turn to be theirs: the ledger knows it from the two resolutions."""
    letter = post.fail(1)
    stale = post.parts()
    turn = stale.turns.take(RUN, "ann", "then", 0)
    assert not isinstance(turn, Busy)
    record = stale.redrive.judge(post.letter(), RUN, T0, max_attempts=5)
    post.redrive(AGAIN)
    stale.redrive.send([(post.letter(), record)], turn, "ann", ("later", T0))
    assert post.ledger().redriven_twice == {letter.lane: Offsets([(1, 2)])}


def test_a_rate_is_kept(post: Post) -> None:
    for offset in range(50):
        post.fail(offset)
    began = post.clock.monotonic()
    post.run().redrive(EVERYTHING, max_attempts=5, rate=10)
    assert post.clock.monotonic() - began == pytest.approx(5)


def test_a_record_that_the_raw_topic_does_not_take_stays_open(post: Post) -> None:
    post.log.admin().configure_topic(RAW, {"max.message.bytes": "500"})
    post.fail(1, value=b'{"id":"' + b"x" * 1000 + b'"}')
    post.fail(2)
    outcome = post.redrive()
    assert (outcome.resolved, outcome.stays) == (1, {"too_large": 1})
    assert post.ledger().redriven == {Lane(RAW_ID, 0): Offsets([(2, 3)])}


def test_the_ids_of_the_letters_of_the_api_are_their_own_places(post: Post) -> None:
    post.reject()
    post.redrive()
    assert [letter for letter, _ in post.told] == [LetterId(DLQ_ID, post.letter().place.partition, 0)]


def writer_of(parts: object) -> MortalWriter:
    """The writer within."""
    writer = parts.redrive._writer  # type: ignore[attr-defined]
    assert isinstance(writer, MortalWriter)
    return writer
