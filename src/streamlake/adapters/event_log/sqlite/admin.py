"""Looking at, and setting up, the topics and groups of the log in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from streamlake.adapters.event_log.sqlite import groups, topics
from streamlake.adapters.event_log.sqlite.database import Connections, lane_of
from streamlake.adapters.event_log.sqlite.subscription import Membership
from streamlake.domain.errors import GroupActive, SettingsInvalid
from streamlake.domain.model.positions import Position, TopicPartition, Watermarks
from streamlake.domain.model.topics import TOPIC_DEFAULTS
from streamlake.domain.ports.event_log import GroupInfo, LogAdmin, TopicInfo, TopicSpec


class SqliteAdmin(LogAdmin):
    def __init__(self, membership: Membership) -> None:
        self._ours = membership
        self._connections = Connections(membership.database)

    def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicInfo]:
        with self._reading() as connection:
            return topics.infos(connection, names)

    def topic_config(self, name: str) -> Mapping[str, str]:
        with self._reading() as connection:
            return {**TOPIC_DEFAULTS, **topics.config(connection, name)}

    def broker_count(self) -> int:
        return 1

    def create_topic(self, spec: TopicSpec) -> bool:
        if spec.partitions < 1 or spec.replication != 1:
            raise SettingsInvalid(
                f"topic {spec.name}: needs at least 1 partition and exactly 1 replica, "
                f"asked for {spec.partitions} and {spec.replication}"
            )
        topics.check(spec.name, spec.config)
        with self._writing() as connection:
            return topics.create(connection, spec)

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        topics.check(name, config)
        with self._writing() as connection:
            topics.configure(connection, name, config)

    def add_partitions(self, name: str, total: int) -> None:
        with self._writing() as connection:
            topics.grow(connection, name, total)

    def watermarks(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Watermarks]:
        with self._reading() as connection:
            lanes = {place: lane_of(connection, place) for place in partitions}
            return {place: Watermarks(lane.low, lane.next) for place, lane in lanes.items()}

    def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int | None]:
        with self._reading() as connection:
            return {place: topics.first_at_or_after(connection, place, time) for place, time in times.items()}

    def group(self, group: str) -> GroupInfo:
        with self._reading() as connection:
            view = self._look(connection, group)
            alive = view.members.keys() - view.expired
            state = "Stable" if alive else "Empty" if view.members or groups.is_known(connection, group) else "Dead"
            return GroupInfo(group, state, groups.member_names(connection, alive))

    def group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        with self._reading() as connection:
            return groups.positions(connection, group, partitions)

    def alter_group_offsets(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        with self._writing() as connection:
            view = self._look(connection, group)
            alive = view.members.keys() - view.expired
            if alive:
                raise GroupActive(f"group {group} has {len(alive)} members: stop them before altering offsets")
            # Dropped, not ignored: one that wakes up must not commit over what was set by hand.
            groups.drop(connection, view.expired)
            groups.set_positions(connection, group, positions)

    def close(self) -> None:
        self._connections.close()

    def delete_topic(self, name: str) -> None:
        """Not of the port."""
        with self._writing() as connection:
            topics.delete(connection, name)

    def trim(self, partition: TopicPartition, before: int) -> None:
        """Not of the port."""
        with self._writing() as connection:
            topics.trim(connection, partition, before)

    def _look(self, connection: sqlite3.Connection, group: str) -> groups.View:
        return groups.look(connection, group, (), self._ours.now(), self._ours.session_timeout_s)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._connections.looking() as connection, self._ours.database.snapshot(connection):
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connections.mine()
        with self._ours.database.transaction(connection):
            yield connection
