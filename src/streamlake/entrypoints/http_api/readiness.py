"""May events come in? Asked before every append, answered from what a probe in the background last saw."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from streamlake.domain.errors import StreamLakeError
from streamlake.domain.model.contracts import dlq_topic, raw_topic
from streamlake.domain.ports.event_log import LogAdmin

log = structlog.get_logger()

_NOT_PROBED = "the event log has not been reached yet"


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """`everything`: why no dataset can be served, if so. `datasets`: why single ones cannot."""

    everything: str | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Can every dataset be served?"""
        return self.everything is None and not self.datasets

    @property
    def reasons(self) -> Sequence[str]:
        """Why not, in words for people."""
        if self.everything is not None:
            return [self.everything]
        return [f"{dataset}: {reason}" for dataset, reason in self.datasets.items()]


class Readiness:
    """Not ready until a first probe succeeded; not ready again only after a probe failed, or for good.

    A dataset whose topics are missing is refused alone; the others are served. One failed append makes nothing
    unready: it only has the next probe come at once. Safe for several threads.
    """

    def __init__(
        self, admin: LogAdmin, datasets: Sequence[str], *, interval_s: float = 5.0, retry_s: float = 1.0
    ) -> None:
        self._admin = admin
        self._topics = {dataset: (raw_topic(dataset), dlq_topic(dataset)) for dataset in datasets}
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._wake = threading.Event()
        self._settling = threading.Lock()
        self._over = False
        self.failure: str | None = None
        self._report = ReadinessReport(everything=_NOT_PROBED)

    def report(self) -> ReadinessReport:
        """How it is, as last seen."""
        return self._report

    def refusal(self, dataset: str) -> str | None:
        """Why this dataset takes no events now, or None."""
        report = self._report
        return report.everything or (report.datasets.get(dataset) if report.datasets else None)

    def start(self) -> None:
        """Probe from now on, in a thread of its own, at once and then every so often."""
        threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def suspect(self) -> None:
        """Something failed that a probe may explain: probe soon."""
        self._wake.set()

    def fail(self, reason: str) -> None:
        """Never ready again: this process has to be started anew."""
        with self._settling:
            self.failure = self.failure or reason
            self._settle(ReadinessReport(everything=self.failure))

    def stop(self) -> None:
        """Not ready, and no more probes: the process is on its way out."""
        with self._settling:
            self._over = True
            self._settle(ReadinessReport(everything=self.failure or "shutting down"))
        self._wake.set()

    def probe(self) -> None:
        """Look once, waiting for the log's answer, and take over what was seen."""
        try:
            wanted = [topic for pair in self._topics.values() for topic in pair]
            present = self._admin.topics(wanted)
        except StreamLakeError as fault:
            self._seen(ReadinessReport(everything=f"the event log cannot be used: {fault}"))
            return
        lacking = {
            dataset: f"topic missing: {', '.join(missing)} (streamlake topics provision)"
            for dataset, pair in self._topics.items()
            if (missing := [topic for topic in pair if topic not in present])
        }
        self._seen(ReadinessReport(datasets=lacking))

    def _seen(self, report: ReadinessReport) -> None:
        with self._settling:
            if self.failure is None and not self._over:
                self._settle(report)

    def _settle(self, report: ReadinessReport) -> None:
        before, self._report = self._report, report
        if report != before:
            if report.ready:
                log.info("readiness", ready=True)
            else:
                log.warning("readiness", ready=False, reasons=list(report.reasons))

    def _run(self) -> None:
        while not self._over and self.failure is None:
            self._wake.clear()
            try:
                self.probe()
            except Exception:
                log.exception("readiness.probe_broken")
                self._seen(ReadinessReport(everything="the probe itself is broken; the log has the place"))
            self._wake.wait(self._interval_s if self._report.ready else self._retry_s)
            if self._wake.is_set() and not self._over:
                # Failures come by the hundred; probes do not.
                threading.Event().wait(min(self._retry_s, 0.2))
