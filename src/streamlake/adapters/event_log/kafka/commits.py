"""Commits and the goodbye of one group member, each within a time.

librdkafka's synchronous commit has no timeout: against a coordinator that is frozen it was seen to wait for minutes,
retry after retry, and `close` waits for it in turn. So both are called on a thread of their own, which may be left
behind.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Place

from streamlake.domain.errors import LogUnavailable

COMMIT_S = 5.0
"""A revoke has 5 s in all; who needs longer is asked again later, and committing twice is harmless."""

CLOSE_S = 6.0
"""librdkafka gives the request to leave 5 s."""

Answer = Sequence[Place] | KafkaException


class Commits:
    """One commit at a time. Used by the thread that polls."""

    def __init__(self, consumer: Consumer, group: str) -> None:
        self._consumer = consumer
        self._group = group
        self._asked: queue.SimpleQueue[Sequence[Place] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._unanswered = False
        self._thread = threading.Thread(target=self._run, name=f"streamlake-kafka-commits-{group}", daemon=True)
        self._thread.start()

    def commit(self, wanted: Sequence[Place]) -> Sequence[Place]:
        """The answer of each partition. Raises `LogUnavailable` where there is none in time, and at once while an
        earlier commit is without an answer: it may still happen, and must not happen after a later one."""
        if self._unanswered and self._answers.empty():
            raise LogUnavailable(f"commit {self._group}: an earlier commit has no answer yet")
        while not self._answers.empty():
            self._answers.get()
        self._unanswered = True
        self._asked.put(wanted)
        try:
            answer = self._answers.get(timeout=COMMIT_S)
        except queue.Empty:
            raise LogUnavailable(f"commit {self._group}: no answer within {COMMIT_S:.0f} s") from None
        self._unanswered = False
        if isinstance(answer, KafkaException):
            raise answer
        return answer

    def close_consumer(self) -> None:
        """Leave the group. Without an answer in time the group finds out by the session's timeout."""
        self._asked.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            return
        if not self._answers.empty() and isinstance(answer := self._answers.get(), KafkaException):
            raise answer

    def _run(self) -> None:
        while (wanted := self._asked.get()) is not None:
            self._answer(wanted)
        try:
            self._consumer.close()
        except KafkaException as e:
            self._answers.put(e)

    def _answer(self, wanted: Sequence[Place]) -> None:
        try:
            self._answers.put(self._consumer.commit(offsets=list(wanted), asynchronous=False))
        except KafkaException as e:
            self._answers.put(e)
