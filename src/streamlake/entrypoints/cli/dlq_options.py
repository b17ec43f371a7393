"""What all commands of `streamlake dlq` take: which letters are meant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar

import click

from streamlake.domain.model.contracts import raw_topic
from streamlake.domain.model.dead_letters import ERROR_CLASSES, STAGE_API, STAGE_CONSUMER
from streamlake.domain.model.letter_selection import LetterSelection, offset_ranges
from streamlake.domain.model.letters import LetterId
from streamlake.domain.model.times import epoch_ms
from streamlake.entrypoints.container import Container

_Given = TypeVar("_Given")
_Read = TypeVar("_Read")


def selected(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that select letters, as one argument `selection`."""

    @click.option("--letter", "letters", multiple=True, help="This letter, by the id that list shows; may be repeated.")
    @click.option(
        "--error-class", "classes", type=click.Choice(ERROR_CLASSES), multiple=True, help="Why; may be repeated."
    )
    @click.option(
        "--stage",
        "stages",
        type=click.Choice([STAGE_API, STAGE_CONSUMER]),
        multiple=True,
        help="Where it failed: before the raw topic, or behind it; may be repeated.",
    )
    @click.option("--schema-version", "versions", multiple=True, help="The record's own, such as v1; or none.")
    @click.option("--from", "since", help="Failed at or after this moment (RFC 3339, with zone).")
    @click.option("--to", "until", help="Failed before this moment (RFC 3339, with zone).")
    @click.option(
        "--offsets", "ranges", multiple=True, help="Source PARTITION:START-END, END not included; may be repeated."
    )
    @wraps(command)
    def with_selection(
        *args: Any,
        letters: tuple[str, ...],
        classes: tuple[str, ...],
        stages: tuple[str, ...],
        versions: tuple[str, ...],
        since: str | None,
        until: str | None,
        ranges: tuple[str, ...],
        **others: Any,
    ) -> None:
        selection = LetterSelection(
            letters=frozenset(map(letter_id, letters)),
            error_classes=frozenset(classes),
            stages=frozenset(stages),
            schema_versions=frozenset(versions),
            since_ms=None if since is None else _moment("--from", since),
            until_ms=None if until is None else _moment("--to", until),
            source_offsets=_checked("--offsets", offset_ranges, ranges),
        )
        first, last = selection.since_ms, selection.until_ms
        if first is not None and last is not None and first >= last:
            raise click.UsageError("--from and --to: the first must be before the last")
        command(*args, selection=selection, **others)

    return with_selection


def insist_on_partitions(container: Container, dataset: str, selection: LetterSelection) -> None:
    """Raises `PartitionMissing` where it selects by a partition that the raw topic does not have."""
    topic = raw_topic(dataset)
    info = container.admin().topics([topic]).get(topic)
    if info is not None:
        info.insist_on(selection.source_offsets)


def letter_id(text: str) -> LetterId:
    """A letter's id as typed. Raises `click.BadParameter`."""
    return _checked("letter", LetterId.parse, text)


def _moment(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(f"{option}: must be RFC 3339 with a zone, as 2026-11-21T10:33:00Z, is {text}")
    return epoch_ms(moment)


def _checked(option: str, read: Callable[[_Given], _Read], given: _Given) -> _Read:
    try:
        return read(given)
    except ValueError as malformed:
        raise click.BadParameter(f"{option}: {malformed}") from None
