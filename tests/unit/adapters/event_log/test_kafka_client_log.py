"""librdkafka's lines are told once in a while, not twenty times a second."""

from __future__ import annotations

import logging

from streamlake.adapters.event_log.kafka.client_log import AGAIN_S, OnceInAWhile


def line(port: int, message: str = "Connect to 127.0.0.1:%d failed (after %dms)") -> logging.LogRecord:
    return logging.LogRecord("streamlake.kafka", logging.ERROR, "", 0, f"FAIL [c#1] {message}", (port, port), None)


def test_lines_that_differ_in_numbers_only_are_told_once_in_a_while_and_counted() -> None:
    now = 0.0
    told = OnceInAWhile(lambda: now)
    passed = [told.filter(line(port)) for port in range(200)]
    assert passed == [True] + [False] * 199
    now = AGAIN_S
    later = line(7)
    assert told.filter(later)
    assert later.getMessage() == "FAIL [c#1] Connect to 127.0.0.1:7 failed (after 7ms) (199 more like it)"


def test_another_line_is_told_at_once() -> None:
    told = OnceInAWhile(lambda: 0.0)
    assert told.filter(line(1))
    assert told.filter(line(1, "SASL authentication failed on %d %d"))


def test_a_lost_connection_is_a_warning() -> None:
    record = line(1)
    assert OnceInAWhile(lambda: 0.0).filter(record)
    assert (record.levelno, record.levelname) == (logging.WARNING, "WARNING")
