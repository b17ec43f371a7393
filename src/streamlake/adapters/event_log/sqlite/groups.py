"""Groups in the file: who is a member, who owns what, what is committed. Each function runs within a caller's
transaction; times are the wall clock's, in seconds, since processes share no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from streamlake.adapters.event_log.sqlite.database import lane_of
from streamlake.domain.model.positions import Position, TopicPartition


@dataclass(frozen=True, slots=True)
class View:
    """A group as one of its members, or a visitor, sees it at one moment."""

    members: Mapping[int, frozenset[str]]
    """Who is there, and subscribed to what."""

    expired: frozenset[int]
    """Those whose session has passed; they are among `members` until somebody drops them."""

    lanes: Mapping[TopicPartition, int]
    """Every partition of the topics asked for."""

    owners: Mapping[int, int]
    """Lane -> member."""

    def owned_by(self, member: int) -> dict[TopicPartition, int]:
        """The partitions of a member, in order."""
        return {place: lane for place, lane in self.lanes.items() if self.owners.get(lane) == member}

    def share(self, topic: str, member: int) -> int:
        """How many partitions of the topic this member should own. Who owns most keeps the odd ones: few move."""
        lanes = [lane for place, lane in self.lanes.items() if place.topic == topic]
        owned = {m: 0 for m, topics in self.members.items() if topic in topics}
        for lane in lanes:
            owner = self.owners.get(lane)
            if owner in owned:
                owned[owner] += 1
        rank = sorted(owned, key=lambda m: (-owned[m], m)).index(member)
        return len(lanes) // len(owned) + (rank < len(lanes) % len(owned))

    def surplus(self, member: int) -> list[TopicPartition]:
        """What the member owns above its share."""
        found: list[TopicPartition] = []
        for topic in sorted(self.members[member]):
            mine = [place for place in self.owned_by(member) if place.topic == topic]
            found += mine[self.share(topic, member) :] if mine else []
        return found

    def takeable(self, member: int) -> list[TopicPartition]:
        """What is free and within the member's share."""
        found: list[TopicPartition] = []
        for topic in sorted(self.members[member]):
            free = [p for p, lane in self.lanes.items() if p.topic == topic and lane not in self.owners]
            if free:
                mine = sum(place.topic == topic for place in self.owned_by(member))
                found += free[: max(0, self.share(topic, member) - mine)]
        return found


def look(connection: sqlite3.Connection, group: str, topics: Iterable[str], now: float, session_s: float) -> View:
    """The group now."""
    members = connection.execute('SELECT number, topics, heard FROM member WHERE "group" = ?', (group,)).fetchall()
    lanes: dict[TopicPartition, int] = {}
    for topic in topics:
        query = """SELECT name, partition, lane.number FROM lane JOIN topic ON topic = topic.number
                   WHERE name = ? ORDER BY partition"""
        lanes |= {TopicPartition(name, n): lane for name, n, lane in connection.execute(query, (topic,))}
    owners = connection.execute('SELECT lane, member FROM owner WHERE "group" = ?', (group,)).fetchall()
    return View(
        members={number: frozenset(msgspec.json.decode(text)) for number, text, _ in members},
        # A sign of life from the future is from before the clock was set back: worth as little as an old one.
        expired=frozenset(number for number, _, heard in members if abs(now - heard) > session_s),
        lanes=lanes,
        owners=dict(owners),
    )


def join(connection: sqlite3.Connection, group: str, name: str, topics: Sequence[str], now: float) -> int:
    """Become a member; its number is never used again."""
    made = connection.execute(
        'INSERT INTO member ("group", name, topics, heard) VALUES (?, ?, ?, ?)',
        (group, name, msgspec.json.encode(list(topics)).decode(), now),
    )
    assert made.lastrowid is not None  # noqa: S101  # an INSERT has one
    return made.lastrowid


def beat(connection: sqlite3.Connection, member: int, now: float) -> None:
    """Give a sign of life."""
    connection.execute("UPDATE member SET heard = ? WHERE number = ?", (now, member))


def drop(connection: sqlite3.Connection, members: Iterable[int]) -> None:
    """Have members no longer; what they owned is free."""
    connection.executemany("DELETE FROM member WHERE number = ?", [(member,) for member in members])


def take(connection: sqlite3.Connection, group: str, member: int, lanes: Iterable[int]) -> None:
    """Own lanes that are free."""
    connection.executemany("INSERT INTO owner VALUES (?, ?, ?)", [(group, lane, member) for lane in lanes])


def release(connection: sqlite3.Connection, group: str, member: int, lanes: Iterable[int]) -> None:
    """Own these lanes no longer; those that others own by now stay theirs."""
    connection.executemany(
        'DELETE FROM owner WHERE "group" = ? AND lane = ? AND member = ?', [(group, lane, member) for lane in lanes]
    )


def owner_of(connection: sqlite3.Connection, group: str, lane: int) -> int | None:
    """The member that owns a lane."""
    row = connection.execute('SELECT member FROM owner WHERE "group" = ? AND lane = ?', (group, lane)).fetchone()
    return row[0] if row else None


def positions(
    connection: sqlite3.Connection, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, Position]:
    """What the group has committed of these partitions; one that was not, or does not exist, is absent."""
    query = """SELECT offset, metadata FROM position JOIN lane ON lane = lane.number JOIN topic ON topic = topic.number
               WHERE "group" = ? AND name = ? AND partition = ?"""
    found = ((place, connection.execute(query, (group, *place)).fetchone()) for place in partitions)
    return {place: Position(*row) for place, row in found if row is not None}


def set_positions(connection: sqlite3.Connection, group: str, changes: Mapping[TopicPartition, Position]) -> None:
    """Commit. Raises TopicMissing."""
    connection.executemany(
        "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)",
        [(group, lane_of(connection, p).number, at.offset, at.metadata) for p, at in changes.items()],
    )


def is_known(connection: sqlite3.Connection, group: str) -> bool:
    """Has the group committed anything?"""
    return connection.execute('SELECT 1 FROM position WHERE "group" = ? LIMIT 1', (group,)).fetchone() is not None


def member_names(connection: sqlite3.Connection, members: Iterable[int]) -> list[str]:
    """What the members call themselves."""
    query = "SELECT name FROM member WHERE number = ?"
    return [name for member in sorted(members) for (name,) in connection.execute(query, (member,))]
