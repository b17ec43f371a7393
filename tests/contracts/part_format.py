"""What every part format promises: subclass `PartFormatContract` and supply the fixture `form`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlake.domain.model.parts import parse_part_name, part_name
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.model.records import Header
from streamlake.domain.model.rows import Rows, longs
from streamlake.domain.ports.part_format import PartFormat

SOURCE = TopicPartition("streamlake.orders.raw", 3)
FIELDS = [
    "dataset",
    "schema_version",
    "ingestion_id",
    "producer_service",
    "ingested_at",
    "topic",
    "partition",
    "offset",
    "timestamp",
    "key",
    "headers",
    "payload",
]

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=6,
)
PAYLOADS = st.builds(
    lambda value, ascii_only, indent: json.dumps({"v": value}, ensure_ascii=ascii_only, indent=indent).encode(),
    JSON,
    st.booleans(),
    st.sampled_from([None, 1]),
)
HEADERS = st.lists(st.tuples(TEXT, st.none() | st.binary(max_size=5)), max_size=5)

STATELESS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors], deadline=None
)
"""One format serves all examples, as it serves all parts."""


def rows_of(payloads: Sequence[bytes], *, source: TopicPartition = SOURCE, start: int = 0) -> Rows:
    """Rows with these payloads, at ascending offsets."""
    rows = Rows(source, "topic-id")
    for offset, payload in enumerate(payloads, start=start):
        rows.offsets.append(offset)
        rows.timestamps.append(1_700_000_000_000 + offset)
        rows.keys.append(f"k{offset}")
        rows.schema_versions.append("v1")
        rows.ingestion_ids.append(f"id-{offset}")
        rows.producer_services.append("shop")
        rows.ingested_ats.append("2026-11-21T10:33:00.000000Z")
        rows.headers.append(())
        rows.payloads.append(payload)
    return rows


def decoded(headers: dict[str, Any]) -> list[Header]:
    """The headers of an envelope as they came, but for the order among different names."""
    found: list[Header] = []
    for name, told in headers.items():
        for each in told if isinstance(told, list) else [told]:
            value = base64.b64decode(each["base64"]) if isinstance(each, dict) else each and each.encode()
            found.append((name, b"" if each == "" else value))
    return found


class PartFormatContract:
    """Rows in, one body out, and every envelope back. Bodies are equal for equal rows."""

    @pytest.fixture
    def form(self) -> PartFormat:
        raise NotImplementedError

    def told(self, form: PartFormat, *rows: Rows, replay_id: str | None = None) -> list[dict[str, Any]]:
        """The envelopes of a part with these rows, parsed."""
        return [json.loads(each) for each in form.envelopes(form.encode("orders", rows, replay_id).body)]

    def test_the_name_is_the_extension_of_parts(self, form: PartFormat) -> None:
        assert parse_part_name(part_name(1, form.name)) == (1, form.name)

    def test_the_content_type_is_told(self, form: PartFormat) -> None:
        assert form.content_type.count("/") == 1

    def test_an_envelope_has_these_fields_in_this_order(self, form: PartFormat) -> None:
        [envelope] = self.told(form, rows_of([b'{"a":1}'], start=7))
        assert list(envelope) == FIELDS
        assert envelope == {
            "dataset": "orders",
            "schema_version": "v1",
            "ingestion_id": "id-7",
            "producer_service": "shop",
            "ingested_at": "2026-11-21T10:33:00.000000Z",
            "topic": "streamlake.orders.raw",
            "partition": 3,
            "offset": 7,
            "timestamp": 1_700_000_000_007,
            "key": "k7",
            "headers": {},
            "payload": {"a": 1},
        }

    def test_rows_of_a_replay_say_which(self, form: PartFormat) -> None:
        [envelope] = self.told(form, rows_of([b"{}"]), replay_id="r1")
        assert envelope["replay_id"] == "r1"

    def test_what_a_record_does_not_have_is_null(self, form: PartFormat) -> None:
        rows = rows_of([b"{}"])
        rows.keys, rows.producer_services = [None], [None]
        [envelope] = self.told(form, rows)
        assert (envelope["key"], envelope["producer_service"]) == (None, None)

    def test_rows_keep_the_order_given(self, form: PartFormat) -> None:
        other = SOURCE._replace(partition=1)
        envelopes = self.told(form, rows_of([b"{}"] * 3, start=5), rows_of([b"{}"] * 2, source=other))
        assert [(each["partition"], each["offset"]) for each in envelopes] == [(3, 5), (3, 6), (3, 7), (1, 0), (1, 1)]

    @STATELESS
    @given(payloads=st.lists(PAYLOADS, min_size=1, max_size=5))
    def test_payloads_survive(self, form: PartFormat, payloads: list[bytes]) -> None:
        assert [each["payload"] for each in self.told(form, rows_of(payloads))] == [*map(json.loads, payloads)]

    @pytest.mark.parametrize(
        "payload",
        [
            b'{"b":1,"a":2,"b":3}',
            b' { "a" :\t1 } ',
            b'{"a":"\\u00e9\\/\\ud800"}',
            '{"a":"é\u2028\u0085"}'.encode(),
            b'{"a":123456789012345678901234567890,"b":1.0,"c":1e2,"d":-0}',
            b'{"a":"' + b"x" * 100_000 + b'"}',
        ],
        ids=["duplicates", "spaces", "escapes", "separators", "numbers", "large"],
    )
    def test_a_payloads_bytes_are_spliced_in_verbatim(self, form: PartFormat, payload: bytes) -> None:
        [envelope] = form.envelopes(form.encode("orders", [rows_of([payload])], None).body)
        assert envelope.endswith(b'"payload":' + payload + b"}")

    def test_envelopes_hold_no_raw_newline(self, form: PartFormat) -> None:
        [envelope] = form.envelopes(form.encode("orders", [rows_of([b'{\r\n"a":\n1}'])], None).body)
        assert b"\n" not in envelope
        assert b"\r" not in envelope
        assert json.loads(envelope)["payload"] == {"a": 1}

    @STATELESS
    @given(key=st.none() | TEXT, service=st.none() | TEXT, ingested_at=TEXT, headers=HEADERS)
    def test_whatever_a_producer_sends_beside_the_payload_survives(
        self, form: PartFormat, key: str | None, service: str | None, ingested_at: str, headers: list[Header]
    ) -> None:
        rows = rows_of([b"{}", b"{}"])
        rows.keys[0], rows.producer_services[0], rows.ingested_ats[0] = key, service, ingested_at
        rows.headers[0] = headers
        first, second = self.told(form, rows)
        assert (first["key"], first["producer_service"], first["ingested_at"]) == (key, service, ingested_at)
        by_name = lambda header: header[0]  # noqa: E731 - order among different names is not kept
        assert sorted(decoded(first["headers"]), key=by_name) == sorted(headers, key=by_name)
        assert second["headers"] == {}

    def test_a_repeated_header_is_a_list_in_order(self, form: PartFormat) -> None:
        rows = rows_of([b"{}"])
        rows.headers = [[("a", b"1"), ("b", None), ("a", b"\xff"), ("a", None)]]
        [envelope] = self.told(form, rows)
        assert envelope["headers"] == {"a": ["1", {"base64": "/w=="}, None], "b": None}

    @pytest.mark.parametrize("change", [lambda body: b"", lambda body: body[:-9], lambda body: b"\xff" * 100])
    def test_a_body_that_is_none_is_a_value_error(self, form: PartFormat, change: Callable[[bytes], bytes]) -> None:
        """Or no rows, where lines are so simple that nothing is an empty part."""
        body = change(form.encode("orders", [rows_of([b"{}"])], None).body)
        try:
            rows = [json.loads(each) for each in form.envelopes(body)]
        except ValueError:
            return
        assert rows == []

    def test_offsets_and_timestamps_of_64_bits_survive(self, form: PartFormat) -> None:
        rows = rows_of([b"{}"], start=2**62)
        rows.timestamps = longs([253_402_300_799_999])
        [envelope] = self.told(form, rows)
        assert (envelope["offset"], envelope["timestamp"]) == (2**62, 253_402_300_799_999)

    def test_the_checksum_is_of_the_body(self, form: PartFormat) -> None:
        part = form.encode("orders", [rows_of([b'{"a":1}'] * 50)], None)
        assert part.crc32c == checksum(part.body)

    def test_equal_rows_make_equal_lines(self, form: PartFormat) -> None:
        """Equal lines, not equal bodies: a compressor may use what its memory held before (isal once did)."""
        made = [form.encode("orders", [rows_of([b'{"a":1}'] * 50)], None) for _ in range(2)]
        assert list(form.envelopes(made[0].body)) == list(form.envelopes(made[1].body))

    def test_one_format_serves_several_threads(self, form: PartFormat) -> None:
        chunks = [rows_of([b'{"n":%d}' % n] * 200) for n in range(8)]
        with ThreadPoolExecutor(4) as threads:
            parts = list(threads.map(lambda rows: form.encode("orders", [rows], None), chunks))
        alone = [form.encode("orders", [rows], None) for rows in chunks]
        assert [list(form.envelopes(part.body)) for part in parts] == [
            list(form.envelopes(part.body)) for part in alone
        ]
        assert [part.crc32c for part in parts] == [checksum(part.body) for part in parts]


def checksum(body: bytes) -> str:
    return base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode()
