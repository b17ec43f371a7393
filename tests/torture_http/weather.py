"""What befalls the brokers, by seed: drawn before, so that a run can be told again; each deed at least once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.services.kafka import KafkaService

DEEDS = ("kill-one", "pause-one", "pause-all", "kill-all", "stop-one")
"""With one replica a partition, a broker that is away leaves its partitions without a leader."""

LONGEST_S = 9.0
REST_S = 4.0


@dataclass(frozen=True, slots=True)
class Deed:
    """One fault: from `at`, for so long."""

    at: float
    deed: str
    length: float
    broker: int


def draw(seed: int, seconds: float, brokers: int) -> Sequence[Deed]:
    """The deeds of a seed, one after the other."""
    dice = random.Random(seed)
    longest = min(LONGEST_S, seconds / len(DEEDS) * 0.7)
    deeds: list[Deed] = []
    deck: list[str] = []
    at = 2.0
    while at < seconds or len(deeds) < len(DEEDS):
        deck = deck or dice.sample(DEEDS, len(DEEDS))
        deeds.append(Deed(at, deck.pop(), dice.uniform(longest / 2, longest), dice.randrange(brokers)))
        at = deeds[-1].at + deeds[-1].length + dice.uniform(0.3, 1.0) * min(REST_S, longest)
    return deeds


class Weather:
    """Lets the deeds happen, on a thread of its own. What is down is up again when it has ended."""

    def __init__(self, service: KafkaService, deeds: Sequence[Deed]) -> None:
        self._service = service
        self._deeds = deeds
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until all is well again."""
        self._thread.join()
        if self.error is not None:
            raise self.error

    @property
    def over(self) -> bool:
        """Has the last deed ended?"""
        return not self._thread.is_alive()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for deed in self._deeds:
                time.sleep(max(0.0, began + deed.at - time.monotonic()))
                self._do(deed)
        except Exception as error:  # noqa: BLE001 - handed to the main thread
            self.error = error

    def _do(self, deed: Deed) -> None:
        service = self._service
        everyone = range(len(service.brokers))
        victims = everyone if deed.deed.endswith("all") else [deed.broker]
        how = deed.deed.partition("-")[0]
        away = {"kill": service.kill, "stop": service.stop_gracefully, "pause": service.pause}[how]
        for victim in victims:
            away(victim)
        time.sleep(deed.length)
        if how == "pause":
            for victim in victims:
                service.resume(victim)
        else:
            service.restart_all(victims)
