"""Log lines: one JSON object a line, whatever is in it, and never a value of a payload."""

from __future__ import annotations

import io
import json
import logging

import structlog

from streamlake.domain.errors import LogUnavailable
from streamlake.entrypoints.telemetry import configure_logging


def test_our_lines_and_the_librarys_have_one_form(log_lines: io.StringIO) -> None:
    structlog.get_logger().warning("ours", dataset="orders")
    logging.getLogger("uvicorn.error").warning("theirs %s", "too")

    ours, theirs = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert (ours["event"], ours["level"], ours["dataset"]) == ("ours", "warning", "orders")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("theirs too", "warning", "uvicorn.error")
    assert all(line["timestamp"].endswith("Z") for line in (ours, theirs))


def test_what_is_below_the_level_is_not_there(log_lines: io.StringIO) -> None:
    structlog.get_logger().debug("ours")
    logging.getLogger("any").debug("theirs")

    assert log_lines.getvalue() == ""


def test_line_breaks_cannot_forge_a_line(log_lines: io.StringIO) -> None:
    forged = 'x\r\n{"event":"forged"}\u2028\x1b[31m'
    structlog.get_logger().warning(forged, header=forged)
    configure_logging("info", json=False, stream=log_lines)
    structlog.get_logger().warning(forged, header=forged)
    logging.getLogger("any").warning(forged)

    written = log_lines.getvalue()
    assert len(written.splitlines()) == 3
    assert "\x1b" not in written


def test_an_exception_is_told_by_class_and_place_and_only_our_own_by_message(log_lines: io.StringIO) -> None:
    for error in (ValueError("s3cret"), LogUnavailable("broker 3 did not answer")):
        try:
            raise error
        except Exception:
            structlog.get_logger().exception("failed")
            logging.getLogger("any").exception("failed")

    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [line["error_class"] for line in lines] == ["ValueError"] * 2 + ["LogUnavailable"] * 2
    assert [line.get("error") for line in lines] == [None] * 2 + ["broker 3 did not answer"] * 2
    assert "test_logging.py" in lines[0]["trace"][-1]
    assert "s3cret" not in log_lines.getvalue()
