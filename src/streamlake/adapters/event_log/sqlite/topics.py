"""Topics in the file: made, configured, grown, measured, deleted. Each function runs within a caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from streamlake.adapters.event_log.sqlite.database import OFFSET_MASK, lane_of, topic_number
from streamlake.domain.errors import PositionLost, SettingsInvalid
from streamlake.domain.model.positions import TopicPartition
from streamlake.domain.ports.event_log import TopicInfo, TopicSpec


def check(topic: str, config: Mapping[str, str]) -> None:
    """Raise SettingsInvalid for a value that would be acted on and cannot be."""
    limit = config.get("max.message.bytes", "0")
    if not limit.isdecimal():
        raise SettingsInvalid(f"topic {topic}: max.message.bytes must be a whole number >= 0, is {limit}")


def infos(connection: sqlite3.Connection, names: Sequence[str] | None) -> dict[str, TopicInfo]:
    """The topics of these names, or all."""
    query = """SELECT name, log.id || '-' || topic.number, count(*) FROM log, topic JOIN lane ON topic = topic.number
               GROUP BY topic.number"""
    found = {name: TopicInfo(name, topic_id, n, replication=1) for name, topic_id, n in connection.execute(query)}
    return found if names is None else {name: found[name] for name in names if name in found}


def create(connection: sqlite3.Connection, spec: TopicSpec) -> bool:
    """Create a topic unless its name is taken."""
    made = connection.execute(
        "INSERT INTO topic (name, config) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (spec.name, msgspec.json.encode(dict(spec.config)).decode()),
    )
    if made.rowcount == 0:
        return False
    add_lanes(connection, topic_number(connection, spec.name), 0, spec.partitions)
    return True


def add_lanes(connection: sqlite3.Connection, topic: int, first: int, until: int) -> None:
    """Give a topic the partitions `[first, until)`."""
    rows = [(topic, partition) for partition in range(first, until)]
    connection.executemany("INSERT INTO lane (topic, partition) VALUES (?, ?)", rows)


def config(connection: sqlite3.Connection, name: str) -> dict[str, str]:
    """What was set of a topic's configuration."""
    (text,) = connection.execute(
        "SELECT config FROM topic WHERE number = ?", (topic_number(connection, name),)
    ).fetchone()
    found: dict[str, str] = msgspec.json.decode(text)
    return found


def configure(connection: sqlite3.Connection, name: str, changes: Mapping[str, str]) -> None:
    """Set these keys and leave the others."""
    text = msgspec.json.encode(config(connection, name) | dict(changes)).decode()
    connection.execute("UPDATE topic SET config = ? WHERE name = ?", (text, name))


def grow(connection: sqlite3.Connection, name: str, total: int) -> None:
    """Have `total` partitions."""
    topic = topic_number(connection, name)
    (now,) = connection.execute("SELECT count(*) FROM lane WHERE topic = ?", (topic,)).fetchone()
    if total <= now:
        raise SettingsInvalid(f"topic {name}: has {now} partitions and only grows, not to {total}")
    add_lanes(connection, topic, now, total)


def first_at_or_after(connection: sqlite3.Connection, place: TopicPartition, timestamp: int) -> int | None:
    """The lowest offset with that timestamp or a later one.

    A mark is the first record of its lane that is so late, so all that come before it, and itself, are no later: begin
    behind the last mark that is too early.
    """
    lane = lane_of(connection, place)
    mark = connection.execute(
        "SELECT offset FROM mark WHERE lane = ? AND timestamp < ? ORDER BY timestamp DESC LIMIT 1",
        (lane.number, timestamp),
    ).fetchone()
    start = max(lane.low, mark[0] + 1) if mark else lane.low
    found = connection.execute(
        "SELECT place FROM record WHERE place >= ? AND place < ? AND timestamp >= ? ORDER BY place LIMIT 1",
        (lane.base + start, lane.base + lane.next, timestamp),
    ).fetchone()
    return found[0] & OFFSET_MASK if found else None


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Delete a topic; its partitions, owners and committed positions go with it."""
    topic = topic_number(connection, name)
    for (partition,) in connection.execute("SELECT partition FROM lane WHERE topic = ?", (topic,)).fetchall():
        lane = lane_of(connection, TopicPartition(name, partition))
        connection.execute("DELETE FROM record WHERE place >= ? AND place < ?", (lane.base, lane.base + lane.next))
    connection.execute("DELETE FROM topic WHERE number = ?", (topic,))


def trim(connection: sqlite3.Connection, place: TopicPartition, before: int) -> None:
    """Drop the records below `before`."""
    lane = lane_of(connection, place)
    if not lane.low <= before <= lane.next:
        raise PositionLost(f"{place}: trim must be within [{lane.low}, {lane.next}], is {before}")
    connection.execute("DELETE FROM record WHERE place >= ? AND place < ?", (lane.base + lane.low, lane.base + before))
    connection.execute("UPDATE lane SET low = ? WHERE number = ?", (before, lane.number))
