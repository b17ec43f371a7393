"""Signals that end the demo, at the moments that were found to hurt: where an exception is lost, and while it ends."""

from __future__ import annotations

import signal
import weakref

import pytest

from streamlake.entrypoints.demo.interrupts import interruptible

ENDING = (signal.SIGINT, signal.SIGTERM)
BOTH = pytest.mark.parametrize("number", ENDING)


class Referred:
    """Something to have a weak reference to."""


@BOTH
def test_a_signal_is_heard_that_falls_where_an_exception_is_lost(number: signal.Signals) -> None:
    with interruptible() as hear:
        referred = Referred()
        reference = weakref.ref(referred, lambda _: signal.raise_signal(number))
        del referred
        assert reference() is None
        with pytest.raises(KeyboardInterrupt):
            hear()


@BOTH
def test_what_is_between_two_looks_is_done_first(number: signal.Signals) -> None:
    done = []
    with interruptible() as hear:
        hear()
        signal.raise_signal(number)
        done.append("started, and known")
        with pytest.raises(KeyboardInterrupt):
            hear()
    assert done


@BOTH
def test_it_does_not_end_well_with_a_signal_unheard(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)


@BOTH
def test_a_second_signal_cuts_the_ending_short(number: signal.Signals) -> None:
    with interruptible() as hear:
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            hear()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_afterwards_the_signals_mean_what_they_meant() -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with interruptible():
        assert [signal.getsignal(number) for number in ENDING] != before
    assert [signal.getsignal(number) for number in ENDING] == before
