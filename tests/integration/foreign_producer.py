"""A producer in another language: librdkafka itself, which takes header names that Python's client would not send."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_ssize_t, c_void_p

from confluent_kafka import cimpl

_PRODUCER = 0
_TOPIC, _VALUE, _COPY, _HEADERS, _END = 1, 4, 7, 10, 0
"""Of rd_kafka_vtype_t, in rdkafka.h."""
_F_COPY = 2
_FLUSH_MS = 10_000


def write_with_header(bootstrap: str, topic: str, value: bytes, name: bytes) -> None:
    """Append one record whose only header has this name; acknowledged when this returns."""
    lib = ctypes.CDLL(cimpl.__file__)
    for made in (lib.rd_kafka_conf_new, lib.rd_kafka_new, lib.rd_kafka_headers_new):
        made.restype = c_void_p
    said = ctypes.create_string_buffer(512)
    conf = c_void_p(lib.rd_kafka_conf_new())
    assert lib.rd_kafka_conf_set(conf, b"bootstrap.servers", bootstrap.encode(), said, len(said)) == 0, said.value
    producer = c_void_p(lib.rd_kafka_new(c_int(_PRODUCER), conf, said, len(said)))
    assert producer, said.value
    headers = c_void_p(lib.rd_kafka_headers_new(c_size_t(1)))
    assert lib.rd_kafka_header_add(headers, name, c_ssize_t(len(name)), b"v", c_ssize_t(1)) == 0
    arguments = [
        *(c_int(_TOPIC), c_char_p(topic.encode())),
        *(c_int(_VALUE), c_char_p(value), c_size_t(len(value))),
        *(c_int(_COPY), c_int(_F_COPY)),
        *(c_int(_HEADERS), headers),
        c_int(_END),
    ]
    assert lib.rd_kafka_producev(producer, *arguments) == 0
    assert lib.rd_kafka_flush(producer, c_int(_FLUSH_MS)) == 0
    lib.rd_kafka_destroy(producer)
