"""Prefixes that hold many parts already, as another topic id's log would have left them."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import httpx
import orjson

from benchmarks.stage import BUCKET, Bucket
from streamlake.domain.model.parts import PartInfo, Predecessor, part_name, raw_prefix
from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.model.times import iso_date

BODY = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"
"""An empty gzip member: landing reads no bodies, and 10,000 full ones would not fit in memory."""

AT_ONCE = 4
ANOTHER_TOPIC = "AAAAAAAAAAAAAAAAAAAAAA"


def fill_prefix(bucket: Bucket, dataset: str, day: int, parts: int, part_format: str) -> None:
    """Parts 1 to `parts` with sound claims, each naming its predecessor."""
    prefix = raw_prefix(dataset, iso_date(day))
    crc32c = base64.b64encode(google_crc32c.value(BODY).to_bytes(4, "big")).decode()
    previous: Predecessor | None = None
    made: list[tuple[str, dict[str, str]]] = []
    for number in range(1, parts + 1):
        name = prefix + part_name(number, part_format)
        claims = {Lane(ANOTHER_TOPIC, n): Offsets([(number * 1000, number * 1000 + 1000)]) for n in range(4)}
        info = PartInfo(claims, claims, 4000, crc32c, "bench:1:0", day * 86_400_000, day * 86_400_000, None, previous)
        made.append((name, info.to_metadata()))
        previous = Predecessor(info.digest(name), number, crc32c)
    with ThreadPoolExecutor(AT_ONCE, initializer=_connect) as pool:
        for answer in pool.map(lambda part: _create(bucket, *part), made):
            if answer.status_code != httpx.codes.OK:
                raise RuntimeError(f"{prefix}: {answer.status_code} {answer.text}")


_LOCAL = threading.local()


def _connect() -> None:
    _LOCAL.client = httpx.Client(timeout=60)


def _create(bucket: Bucket, name: str, metadata: dict[str, str]) -> httpx.Response:
    told = orjson.dumps({"name": name, "metadata": metadata})
    body = b"\r\n".join((b"--part", b"content-type: application/json", b"", told, b"--part", b"", BODY, b"--part--"))
    client: httpx.Client = _LOCAL.client
    return client.post(
        f"{bucket.endpoint}/upload/storage/v1/b/{BUCKET}/o",
        params={"uploadType": "multipart", "ifGenerationMatch": "0"},
        headers={"content-type": "multipart/related; boundary=part"},
        content=body,
    )
