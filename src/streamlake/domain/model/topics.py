"""What topics are like in Kafka, for the logs that stand in for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

TOPIC_DEFAULTS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "unclean.leader.election.enable": "false",
}
"""Apache Kafka 4.1's own defaults of the settings that StreamLake looks at."""


def partition_for(key: bytes | None, partitions: int, keyless: int) -> int:
    """The partition of a key, where Kafka's Java clients put it; `keyless` decides for a record without one."""
    return (murmur2(key) & 0x7FFFFFFF if key is not None else keyless) % partitions


@lru_cache(maxsize=65_536)
def murmur2(data: bytes) -> int:
    """The hash of Apache Kafka's clients (`Utils.murmur2`), as an unsigned 32-bit number."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
