"""Commits and the goodbye of one group member, each within a time.

librdkafka's synchronous commit has no timeout: against a coordinator that is frozen it was seen to wait for minutes,
retry after retry; `close` and even `consume` wait for it in turn. So commits and the close are called on a thread of
their own, which may be left behind, and nothing is polled while a commit has no answer.
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
        self._goodbye: KafkaException | None = None
        self._thread = threading.Thread(target=self._run, name=f"streamlake-kafka-commits-{group}", daemon=True)
        self._thread.start()

    def commit(self, wanted: Sequence[Place], *, called_back: bool) -> Sequence[Place]:
        """The answer of each partition. Raises `LogUnavailable` where there is none in time, and while an earlier
        commit is without an answer: it may still happen, and must not happen after a later one.

        `called_back`: from within a callback of `consume`, which another thread's commit would wait for.
        """
        if called_back:
            return self._commit(wanted)
        self.insist_on_answer(0)
        self._unanswered = True
        self._asked.put(wanted)
        answer = self.insist_on_answer(COMMIT_S)
        if isinstance(answer, KafkaException):
            raise answer
        return answer or ()

    def insist_on_answer(self, timeout_s: float) -> Answer | None:
        """The answer to the last commit, if there was one since the last time. Raises `LogUnavailable` where it is not
        there after that long."""
        if not self._unanswered:
            return None
        try:
            answer = self._answers.get(timeout=timeout_s) if timeout_s else self._answers.get_nowait()
        except queue.Empty:
            raise LogUnavailable(f"commit {self._group}: no answer yet") from None
        self._unanswered = False
        return answer

    def close_consumer(self) -> None:
        """Leave the group. Without an answer in time the group finds out by the session's timeout."""
        self._asked.put(None)
        self._thread.join(CLOSE_S)
        if self._goodbye is not None:
            raise self._goodbye

    def _run(self) -> None:
        while (wanted := self._asked.get()) is not None:
            try:
                self._answers.put(self._commit(wanted))
            except KafkaException as e:
                self._answers.put(e)
        try:
            self._consumer.close()
        except KafkaException as e:
            self._goodbye = e

    def _commit(self, wanted: Sequence[Place]) -> Sequence[Place]:
        return self._consumer.commit(offsets=list(wanted), asynchronous=False)
