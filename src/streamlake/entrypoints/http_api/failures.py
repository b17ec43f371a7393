"""What did not become an event of the raw topic: said in the log, counted, and told to the readiness probe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from streamlake.domain.errors import WriterFailed
from streamlake.domain.model.dead_letters import error_class
from streamlake.domain.use_cases.ingest_events import NotAccepted, Rejected
from streamlake.entrypoints.http_api.answers import outcome_name
from streamlake.entrypoints.http_api.readiness import Readiness
from streamlake.entrypoints.telemetry import ApiMetrics

log = structlog.get_logger()

LINES_A_BATCH = 20
"""So many failures of one request have a log line each; beyond that one line sums up all of them. A batch of 30 KB can
have ten thousand, and their lines 3 MB."""


class Failures:
    """Tells of the events of one request that failed."""

    def __init__(self, metrics: ApiMetrics, readiness: Readiness) -> None:
        self._metrics = metrics
        self._readiness = readiness

    def tell(self, dataset: str, failed: Sequence[Rejected | NotAccepted]) -> None:
        """Of one request, at least one."""
        for outcome in failed[:LINES_A_BATCH]:
            _log(dataset, outcome)
        classes = Counter(error_class(each.violation) for each in failed if isinstance(each, Rejected))
        outcomes = Counter(outcome_name(each) for each in failed)
        if len(failed) > LINES_A_BATCH:
            _sum_up(dataset, failed, outcomes, classes)
        for name, count in outcomes.items():
            self._metrics.settled(dataset, name, count)
        for name, count in classes.items():
            self._metrics.dead_letters(dataset, name, count)
        faults = [each.fault for each in failed if isinstance(each, NotAccepted)]
        if any(isinstance(fault, WriterFailed) for fault in faults):
            self._readiness.fail("the producer failed for good; this process ends")
        elif faults:
            self._readiness.suspect()


def _log(dataset: str, outcome: Rejected | NotAccepted) -> None:
    said = log.bind(dataset=dataset, ingestion_id=outcome.ingestion_id)
    if isinstance(outcome, Rejected):
        said.warning(
            "dead_letter",
            stage="api",
            error_class=error_class(outcome.violation),
            contract=outcome.violation.contract,
            rules=sorted({e.rule for e in outcome.violation.errors}),
            **outcome.letter._asdict(),
        )
    else:
        fault = outcome.fault
        said.error("not_accepted", outcome=outcome_name(outcome), error_class=type(fault).__name__, error=str(fault))


def _sum_up(
    dataset: str, failed: Sequence[Rejected | NotAccepted], outcomes: Counter[str], classes: Counter[str]
) -> None:
    """Letters' places by partition, each from the first offset to the last: others' letters may lie in between."""
    letters: dict[int, list[int]] = {}
    for each in failed:
        if isinstance(each, Rejected):
            letters.setdefault(each.letter.partition, []).append(each.letter.offset)
    log.warning(
        "batch_failures",
        dataset=dataset,
        failed=len(failed),
        outcomes=dict(outcomes),
        error_classes=dict(classes),
        letters=[
            {"partition": partition, "count": len(offsets), "first": min(offsets), "last": max(offsets)}
            for partition, offsets in sorted(letters.items())
        ],
    )
