"""Newline-delimited JSON, plain and gzipped, keeps the contract of part formats."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.contracts.part_format import PartFormatContract, rows_of

from streamlake.adapters.part_format.ndjson import GzipJsonPartFormat, JsonPartFormat
from streamlake.domain.ports.part_format import PartFormat

ROWS = rows_of([b'{"a":1}', b'{"a":\n2}', b'{"a":3}'])


class TestJson(PartFormatContract):
    """Plain."""

    @pytest.fixture
    def form(self) -> PartFormat:
        return JsonPartFormat()


class TestGzipJson(PartFormatContract):
    """Gzipped."""

    @pytest.fixture
    def form(self) -> PartFormat:
        return GzipJsonPartFormat()


def test_the_names_are_the_published_ones() -> None:
    assert (JsonPartFormat().name, JsonPartFormat().content_type) == ("json", "application/x-ndjson")
    assert (GzipJsonPartFormat().name, GzipJsonPartFormat().content_type) == ("json.gz", "application/gzip")


def test_a_plain_part_is_one_line_per_row_and_ends_in_a_newline() -> None:
    body = JsonPartFormat().encode("orders", [ROWS], None).body
    assert body.endswith(b"}\n")
    assert [json.loads(line)["offset"] for line in body.split(b"\n")[:-1]] == [0, 1, 2]


def test_a_raw_newline_becomes_a_space_and_nothing_else_changes() -> None:
    body = JsonPartFormat().encode("orders", [ROWS], None).body
    assert body.splitlines()[1].endswith(b'"payload":{"a": 2}}')


def test_a_gzipped_part_is_the_plain_part_gzipped() -> None:
    """One member, so that every reader takes it."""
    packed = GzipJsonPartFormat().encode("orders", [ROWS, ROWS], "r1").body
    assert gzip.decompress(packed) == JsonPartFormat().encode("orders", [ROWS, ROWS], "r1").body
    assert packed.count(b"\x1f\x8b\x08") == 1
    assert packed[4:8] == bytes(4), "no modification time: nothing here is a file"


def test_a_gzipped_part_that_was_cut_short_is_not_read_as_whole() -> None:
    packed = GzipJsonPartFormat().encode("orders", [ROWS], None).body
    with pytest.raises(Exception, match="incomplete"):
        list(GzipJsonPartFormat().envelopes(packed[:-9]))
