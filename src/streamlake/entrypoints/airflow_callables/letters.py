"""Dead letters: what there is and what would pass, then, if somebody approves, the redrive of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamlake.domain.errors import DataFault
from streamlake.domain.model.letter_selection import LetterSelection, offset_ranges
from streamlake.domain.model.letters import DeadLetter
from streamlake.domain.model.times import epoch_ms, rfc3339_of_ms
from streamlake.domain.use_cases.dead_letters import LetterCount, Progress, void_letters
from streamlake.entrypoints.airflow_callables.connected import connected, known
from streamlake.entrypoints.airflow_callables.params import LettersParams, checked
from streamlake.entrypoints.airflow_callables.runs import Json, RunFailed, finished

if TYPE_CHECKING:
    from streamlake.entrypoints.container import Container
    from streamlake.entrypoints.redriving import Outcome

INSPECTOR = "airflow: inspection"


def letters_of(params: Mapping[str, Any]) -> list[Json]:
    """Check the params of `streamlake_dlq`; an item for each dataset. Raises `RunFailed`, `UnknownDataset`."""
    wanted = checked(LettersParams, params)
    _selection(wanted)
    told = wanted.model_dump(by_alias=True)
    return [{"dataset": dataset, "params": told} for dataset in known(wanted.datasets)]


def inspect_letters(item: Mapping[str, Any]) -> Json:
    """Count the letters of a dataset by standing, stage and class, and judge the open ones by today's contract.

    Nothing is written. `{"dataset", "params", "counts": [...], "would_pass", "would_stay": [{"rule", "count", "first",
    "why"}]}`; a letter in `why` is named by its place, and its payload is in none of it.
    """
    dataset, wanted = str(item["dataset"]), checked(LettersParams, item["params"])
    with connected() as container:
        counts = _counts(container, dataset, _selection(wanted))
        run = _redriving(container, dataset, INSPECTOR)
        outcome = run.dry_run(_selection(wanted), max_attempts=wanted.max_attempts)
    return {**item, "counts": counts, "would_pass": outcome.resolved, "would_stay": _stays(outcome)}


def plan_redrive(params: Mapping[str, Any], inspected: Sequence[Mapping[str, Any]]) -> Json:
    """What there is in words, and the redrives that would do something: `{"dry_run", "work": [...], "text"}`."""
    wanted = checked(LettersParams, params)
    work = [{"dataset": each["dataset"], "params": each["params"]} for each in inspected if each["would_pass"]]
    lines = ["| dataset | letters that pass today | that stay open | because |", "|---|---:|---:|---|"]
    for each in inspected:
        stays = sum(rule["count"] for rule in each["would_stay"])
        rules = ", ".join(f"{rule['rule']} ({rule['count']})" for rule in each["would_stay"])
        lines.append(f"| {each['dataset']} | {each['would_pass']} | {stays} | {rules} |")
    return {"dry_run": wanted.dry_run, "work": work, "text": "\n".join(lines)}


def redrive_letters(item: Mapping[str, Any]) -> Json:
    """Redrive the letters of a dataset that pass today's contract; those that do not stay open.

    Tried again it goes on: what was sent is found, and not sent twice. Raises `Race` while another redrive of the
    dataset is under way.
    """
    dataset, wanted = str(item["dataset"]), checked(LettersParams, item["params"])
    with connected() as container:
        run = _redriving(container, dataset, str(item["by"]))
        outcome = run.redrive(_selection(wanted), max_attempts=wanted.max_attempts, rate=wanted.rate)
    return {
        "dataset": dataset,
        "redriven": outcome.resolved,
        "recovered": outcome.recovered,
        "stays_open": _stays(outcome),
    }


def report_letters(
    inspected: Sequence[Mapping[str, Any]], plan: Mapping[str, Any] | None, outcomes: Sequence[Json]
) -> Json:
    """What was found and done. Raises `RunFailed` where a task failed or was not approved, never for open letters."""
    if plan is None:
        raise RunFailed("dead letters: an earlier task failed; its log says why")
    if not plan["dry_run"]:
        finished("redrive", plan["work"], outcomes)
    return {
        "dry_run": plan["dry_run"],
        "letters": [{name: value for name, value in each.items() if name != "params"} for each in inspected],
        "redriven": list(outcomes),
    }


def _selection(wanted: LettersParams) -> LetterSelection:
    try:
        return LetterSelection(
            error_classes=frozenset(wanted.error_classes or ()),
            stages=frozenset(wanted.stages or ()),
            schema_versions=frozenset(wanted.schema_versions or ()),
            since_ms=_ms(wanted.since),
            until_ms=_ms(wanted.until),
            source_offsets=offset_ranges(wanted.offsets or ()),
        )
    except ValueError as malformed:
        raise RunFailed(f"params: offsets: {malformed}") from None


def _ms(moment: str | None) -> int | None:
    return None if moment is None else epoch_ms(datetime.fromisoformat(moment))


def _counts(container: Container, dataset: str, selection: LetterSelection) -> list[Json]:
    letters = container.dead_letters(dataset)
    ledger = letters.ledger()
    void = void_letters(ledger, container.raw_zone(dataset))
    counts: dict[tuple[str, str, str], LetterCount] = {}
    for letter, standing in letters.letters(ledger, void):
        if letter in selection:
            counts.setdefault((standing, letter.stage, letter.error_class), LetterCount()).add(letter)
    return [
        {
            "standing": standing,
            "stage": stage,
            "error_class": error_class,
            "count": counted.count,
            "first": rfc3339_of_ms(counted.first_ms),
            "last": rfc3339_of_ms(counted.last_ms),
        }
        for (standing, stage, error_class), counted in sorted(counts.items())
    ]


def _redriving(container: Container, dataset: str, by: str) -> Any:
    from streamlake.entrypoints.redriving import Redriving

    return Redriving(container.redriving(dataset), secrets.token_hex(16), by, _no_bar, _untold)


def _no_bar(_: str) -> Progress:
    return lambda _done, _total: None


def _untold(_letter: DeadLetter, _fault: DataFault | None) -> None:
    """The outcome counts them."""


def _stays(outcome: Outcome) -> list[Json]:
    return [
        {"rule": rule, "count": count, "first": outcome.first[rule][0], "why": outcome.first[rule][1]}
        for rule, count in outcome.stays.most_common()
    ]
