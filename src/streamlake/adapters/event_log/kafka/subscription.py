"""One member of a consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from streamlake.adapters.event_log.kafka.commits import Commits
from streamlake.adapters.event_log.kafka.config import KafkaConfig
from streamlake.adapters.event_log.kafka.errors import (
    COMMIT,
    END_OF_PARTITION,
    NOT_FETCHING,
    POLLED_TOO_LATE,
    ails_the_client,
    fault_of,
    translated,
)
from streamlake.adapters.event_log.kafka.records import by_partition, columns, fetch, place_of
from streamlake.domain.errors import NotAMember, OperatorFault, StreamLakeError, WorldFault
from streamlake.domain.model.positions import Position, TopicPartition
from streamlake.domain.model.records import RecordBatch
from streamlake.domain.ports.event_log import LogSubscriber, Subscription, SubscriptionListener

COMMITTED_S = 10.0
LOOK_S = 3.0


class KafkaSubscriber(LogSubscriber):
    """Opens subscriptions; each has a consumer of its own."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config

    def subscribe(self, group: str, topics: Sequence[str], listener: SubscriptionListener) -> Subscription:
        return KafkaSubscription(self._config, group, topics, listener)


class KafkaSubscription(Subscription):
    """A consumer, and what it is told to do with each partition that the group gives it.

        owned       the group says it is ours: it may be committed
        assigned    of these, librdkafka fetches it (what is held from the start is never handed to it)
        held        of the owned, nothing of it is wanted until `start`
        paused      of the owned, nothing of it is wanted until `resume`
        silenced    of the assigned, librdkafka has been told to pause it: those paused or held

    Exceptions of the listener cross librdkafka's C frames, so they are kept there and raised by `poll` or `close`.
    """

    def __init__(self, config: KafkaConfig, group: str, topics: Sequence[str], listener: SubscriptionListener) -> None:
        self._group = group
        self._listener = listener
        self._owned: set[TopicPartition] = set()
        self._assigned: set[TopicPartition] = set()
        self._held: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._silenced: set[TopicPartition] = set()
        self._raised: list[BaseException] = []
        self._trouble: StreamLakeError | None = None
        """What ails the member as a whole: told by a poll that has no records to return."""
        self._closed = False
        self._max_poll_interval_s = config.max_poll_interval_s
        self._polled = time.monotonic()
        self._polling = False
        self._late = False
        self._topics = tuple(topics)
        self._looks = config.broker_assigns
        self._looked = time.monotonic()
        self._consumer: Consumer = config.open_consumer(config.consumer(group), error_cb=self._on_error)
        self._commits = Commits(self._consumer, group)
        with translated(f"subscribe {group}"):
            self._consumer.subscribe(
                list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )

    def poll(self, max_records: int, timeout_s: float) -> Sequence[RecordBatch]:
        if self._closed:
            raise ValueError("poll: the subscription is closed")
        if self._raised:
            raise self._raised.pop(0)
        self._commits.insist_on_answer(timeout_s)
        self._late = time.monotonic() > self._polled + self._max_poll_interval_s
        self._polling = True
        try:
            with translated(f"poll {self._group}"):
                messages = fetch(self._consumer, max_records, timeout_s)
        finally:
            self._polling = False
        self._polled = time.monotonic()
        if any(map(Message.error, messages)):
            messages = self._without_events(messages)
        batches = [
            columns(place, theirs)
            for place, theirs in by_partition(messages).items()
            # Given up or failed while the messages were on their way.
            if place in self._owned and place not in self._held
        ]
        if not batches:
            self._look_for_topics()
            self._raise_what_was_kept()
        elif isinstance(self._trouble, WorldFault):
            self._trouble = None  # it has passed
        return batches

    def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        if not positions:
            return
        doing = f"commit {self._group}"
        # A member that was expelled and has joined again could commit what is another's now: the group fences
        # members, not partitions. So it is refused here.
        if strangers := positions.keys() - self._owned:
            raise NotAMember(f"{doing}: {_listed(strangers)} is not this member's")
        wanted = [place_of(p, position.offset, position.metadata) for p, position in positions.items()]
        with translated(doing, COMMIT):
            answers = self._commits.commit(wanted, called_back=self._polling)
        for answer in answers:
            if answer.error is not None:
                raise fault_of(answer.error, f"{doing}: {answer.topic}[{answer.partition}]", COMMIT)

    def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        if not partitions:
            return {}
        doing = f"committed {self._group}"
        with translated(doing):
            answers = self._consumer.committed([place_of(p) for p in partitions], timeout=COMMITTED_S)
        found = {}
        for answer in answers:
            if answer.error is not None:
                raise fault_of(answer.error, f"{doing}: {answer.topic}[{answer.partition}]")
            if answer.offset >= 0:
                found[TopicPartition(answer.topic, answer.partition)] = Position(answer.offset, answer.metadata or "")
        return found

    def start(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self._owned:
            raise ValueError(f"start: {partition} is not owned by this member")
        with translated(f"start {partition} at {offset}"):
            if partition not in self._assigned:
                self._assign({partition: offset})
            elif not self._seek(partition, offset):
                self._unassign([partition])
                self._assign({partition: offset})
            self._held.discard(partition)
            self._silence()

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(self._owned.intersection(partitions))
        self._silence()

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)
        self._silence()

    def close(self) -> None:
        if self._closed:
            return
        # Told here and not in librdkafka's own callback: once it is closing it may refuse the last commits (_DESTROY).
        self._tell_given_up(sorted(self._owned), self._listener.revoked)
        self._closed = True
        with translated(f"close {self._group}"):
            self._commits.close_consumer()
        if self._raised:
            raise self._raised.pop(0)

    # --- what the group says, within poll and close -----------------------------------------------------------------

    def _on_assign(self, _consumer: Consumer, given: list[Place]) -> None:
        places = _places(given)
        self._owned.update(places)
        self._held.update(places)
        starts: Mapping[TopicPartition, int] = {}
        if places:
            starts = self._kept(self._listener.assigned, places) or {}
        # The listener may have started some of them itself.
        starts = {p: offset for p, offset in starts.items() if p in self._held}
        self._held.difference_update(starts)
        # Also for none of them: else the binding would assign them all, at the committed offsets.
        self._kept(self._assign, starts)
        self._kept(self._silence)

    def _on_revoke(self, _consumer: Consumer, taken: list[Place]) -> None:
        # A member that polls too late has left the group by itself, but finds first what was revoked before that.
        self._give_up(taken, self._listener.lost if self._late else self._listener.revoked)

    def _on_lost(self, _consumer: Consumer, taken: list[Place]) -> None:
        self._give_up(taken, self._listener.lost)

    def _give_up(self, taken: list[Place], tell: Callable[[Sequence[TopicPartition]], None]) -> None:
        places = _places(taken)
        self._tell_given_up([p for p in places if p in self._owned], tell)
        # librdkafka would remember the pause if the partition came back.
        self._kept(self._silence, places)
        # Also of none of them: else the binding would unassign them all, and fail on those never assigned.
        self._kept(self._unassign, self._assigned.intersection(places))

    def _tell_given_up(
        self, places: Sequence[TopicPartition], tell: Callable[[Sequence[TopicPartition]], None]
    ) -> None:
        if places:
            self._kept(tell, places)
        self._owned.difference_update(places)
        self._held.difference_update(places)
        self._paused.difference_update(places)

    def _kept(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Raised here, a fault would cost the records that poll is about to return: they would pass for a gap."""
        try:
            return call(*arguments)
        except BaseException as e:  # noqa: BLE001 - kept, and raised where Python is back in charge
            self._raised.append(e)
            return None

    def _raise_what_was_kept(self) -> None:
        if self._raised:
            raise self._raised.pop(0)
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    # --- events among the messages ----------------------------------------------------------------------------------

    def _without_events(self, messages: list[Message[bytes, bytes]]) -> list[Message[bytes, bytes]]:
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            else:
                self._hear(error, message)
        return records

    def _hear(self, error: KafkaError, message: Message[bytes, bytes]) -> None:
        """An event: of a partition that is ours, of a topic, or of the member as a whole."""
        if error.code() in (END_OF_PARTITION, POLLED_TOO_LATE):
            return  # the latter is followed by `lost`
        topic, number = message.topic(), message.partition()
        about = f"{topic}[{number}]" if topic and number is not None and number >= 0 else topic or self._group
        fault = fault_of(error, f"poll {about}")
        concerned = [p for p in sorted(self._owned) if p.topic == topic and number in (p.partition, -1, None)]
        if not isinstance(fault, OperatorFault) or not concerned:
            self._trouble = fault
            return
        for place in concerned:
            self._hold(place, fault)

    def _hold(self, place: TopicPartition, fault: OperatorFault) -> None:
        if place not in self._held:
            self._held.add(place)
            self._kept(self._silence)
            self._kept(self._listener.failed, place, fault)

    def _on_error(self, error: KafkaError) -> None:
        if ails_the_client(error):
            self._trouble = fault_of(error, f"poll {self._group}")

    def _look_for_topics(self) -> None:
        """In the new protocol nobody says that a topic is missing: the broker just assigns nothing."""
        if not self._looks or self._owned or time.monotonic() < self._looked + LOOK_S:
            return
        self._looked = time.monotonic()
        with translated(f"poll {self._group}"):
            for topic in self._topics:
                error = self._consumer.list_topics(topic, timeout=LOOK_S).topics[topic].error
                if error is not None:
                    self._trouble = fault_of(error, f"poll {topic}")

    # --- telling librdkafka -----------------------------------------------------------------------------------------

    def _assign(self, starts: Mapping[TopicPartition, int]) -> None:
        self._consumer.incremental_assign([place_of(p, offset) for p, offset in starts.items()])
        self._assigned.update(starts)

    def _unassign(self, partitions: Iterable[TopicPartition]) -> None:
        places = list(partitions)
        self._assigned.difference_update(places)
        self._consumer.incremental_unassign([place_of(p) for p in places])

    def _seek(self, partition: TopicPartition, offset: int) -> bool:
        """Move where it is being read. False where librdkafka does not fetch it."""
        try:
            self._consumer.seek(place_of(partition, offset))
        except KafkaException as e:
            if e.args[0].code() in NOT_FETCHING:
                return False
            raise
        return True

    def _silence(self, leaving: Iterable[TopicPartition] = ()) -> None:
        """Pause and resume in librdkafka what differs from what is wanted, and nothing else: it minds repetition."""
        wanted = (self._assigned & (self._paused | self._held)).difference(leaving)
        if fresh := wanted - self._silenced:
            self._consumer.pause([place_of(p) for p in fresh])
        if stale := self._silenced - wanted:
            self._consumer.resume([place_of(p) for p in stale])
        self._silenced = wanted


def _places(given: Iterable[Place]) -> list[TopicPartition]:
    return sorted(TopicPartition(p.topic, p.partition) for p in given)


def _listed(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(map(str, sorted(partitions)))
