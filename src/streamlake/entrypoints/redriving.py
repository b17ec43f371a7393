"""The loop of a redrive: take the turn, recover, judge, send at the pace asked for, give the turn back.

What it waits for and what it tells is here; what is safe, and why, is in `domain/use_cases/redrive.py` and
`redrive_turns.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from streamlake.domain.errors import DataFault, GenerationChanged, RecordTooLarge
from streamlake.domain.model.dead_letters import error_class
from streamlake.domain.model.letter_selection import LetterSelection
from streamlake.domain.model.letters import DeadLetter
from streamlake.domain.model.records import OutgoingRecord
from streamlake.domain.model.redrives import RedriveTurn
from streamlake.domain.model.times import epoch_ms, rfc3339
from streamlake.domain.ports.clock import Clock
from streamlake.domain.use_cases.dead_letters import OPEN, VOID, DeadLetters, Ledger, Progress, void_letters
from streamlake.domain.use_cases.raw_zone import RawZone
from streamlake.domain.use_cases.redrive import BATCH, Redrive, Sent
from streamlake.domain.use_cases.redrive_turns import LEASE_S, Busy, RedriveTurns

LOOK_S = 1.0
"""How often a turn of somebody else is looked at."""

Bar = Callable[[str], Progress]
"""A new progress bar of this name."""


@dataclass(slots=True)
class Outcome:
    """What became of the letters selected."""

    resolved: int = 0
    """Redriven, or discarded; of a dry run, those that would be."""
    recovered: int = 0
    void: int = 0
    stays: Counter[str] = field(default_factory=Counter)
    """Rule -> how many letters stay open because of it."""
    first: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Rule -> the first such letter, and what was said of it."""


@dataclass(frozen=True, slots=True)
class RedriveParts:
    """What a redrive of one dataset is made of."""

    letters: DeadLetters
    zone: RawZone
    redrive: Redrive
    turns: RedriveTurns
    clock: Clock
    wait: Callable[[float], object]


class Redriving:
    """One run over the letters of one dataset, by `by`. `told` hears of each letter: it, and why it stays (or None)."""

    def __init__(
        self,
        parts: RedriveParts,
        run_id: str,
        by: str,
        bar: Bar,
        told: Callable[[DeadLetter, DataFault | None], None],
    ) -> None:
        self._parts = parts
        self._run_id = run_id
        self._by = by
        self._bar = bar
        self._told = told
        self._outcome = Outcome()

    def dry_run(self, selection: LetterSelection, *, max_attempts: int) -> Outcome:
        """Judge and write nothing, not even whose turn it is."""
        ledger = self._parts.letters.ledger(self._bar("letters"))
        for letter in self._open(selection, ledger, self._bar):
            if self._judged(letter, max_attempts) is not None:
                self._outcome.resolved += 1
                self._told(letter, None)
        return self._outcome

    def redrive(self, selection: LetterSelection, *, max_attempts: int, rate: int | None) -> Outcome:
        """Send again what passes today's contract, at most `rate` letters a second."""
        with self._turn() as held:
            began = self._parts.clock.monotonic()
            size = BATCH if rate is None else min(BATCH, rate)
            batch: list[Sent] = []
            for letter in self._open(selection, held.ledger, held.bar):
                held.keep()
                record = self._judged(letter, max_attempts)
                if record is None:
                    continue
                batch.append((letter, record))
                if len(batch) == size:
                    self._send(batch, held)
                    batch.clear()
                    if rate is not None:
                        self._pace(held, began + self._outcome.resolved / rate)
            if batch:
                self._send(batch, held)
        return self._outcome

    def discard(self, selection: LetterSelection, reason: str) -> Outcome:
        """Resolve letters as discarded."""
        with self._turn() as held:
            batch: list[DeadLetter] = []
            for letter in self._open(selection, held.ledger, held.bar):
                batch.append(letter)
                if len(batch) == BATCH:
                    self._discard(batch, reason, held)
                    batch.clear()
            self._discard(batch, reason, held)
        return self._outcome

    @contextmanager
    def _turn(self) -> Iterator[_Held]:
        parts = self._parts
        held = _Held(parts, self._take(), self._bar)
        ours = True
        try:
            held.ledger = parts.letters.ledger(held.bar("letters"))
            progress = held.bar("raw topic")
            self._outcome.recovered = parts.redrive.recover(held.turn, held.ledger, self._by, self._now(), progress)
            yield held
        except GenerationChanged:
            ours = False
            raise
        finally:
            if ours:
                parts.turns.end(held.turn, settled=parts.redrive.settled)

    def _take(self) -> RedriveTurn:
        clock, turns = self._parts.clock, self._parts.turns
        watched: Busy | None = None
        since = 0.0
        while True:
            now = clock.monotonic()
            silent = watched.generation if watched is not None and now - since >= LEASE_S else None
            found = turns.take(self._run_id, self._by, rfc3339(clock.now()), now, silent=silent)
            if isinstance(found, RedriveTurn):
                return found
            if watched is None:
                watched, since = found, now
                progress = self._bar(f"waiting: is the redrive of {found.by} alive?")
            elif found.generation != watched.generation:
                raise GenerationChanged(f"a redrive or discard by {found.by} is under way since {found.at}")
            progress(int(now - since), int(LEASE_S))
            self._parts.wait(LOOK_S)

    def _open(self, selection: LetterSelection, ledger: Ledger, bar: Bar) -> Iterator[DeadLetter]:
        void = void_letters(ledger, self._parts.zone, bar("raw zone"))
        for letter, standing in self._parts.letters.letters(ledger, void, bar("open letters")):
            if letter in selection:
                if standing == OPEN:
                    yield letter
                self._outcome.void += standing == VOID

    def _judged(self, letter: DeadLetter, max_attempts: int) -> OutgoingRecord | None:
        try:
            return self._parts.redrive.judge(letter, self._run_id, self._now()[1], max_attempts=max_attempts)
        except DataFault as fault:
            self._stays(letter, fault)
            return None

    def _send(self, batch: list[Sent], held: _Held) -> None:
        held.keep()
        refused = {letter.id for letter, _ in self._parts.redrive.send(batch, held.turn, self._by, self._now())}
        for letter, _ in batch:
            if letter.id in refused:
                self._stays(letter, RecordTooLarge("value: the raw topic takes no record of this size"))
            else:
                self._outcome.resolved += 1
                self._told(letter, None)

    def _discard(self, batch: list[DeadLetter], reason: str, held: _Held) -> None:
        held.keep()
        self._parts.redrive.discard(batch, reason, self._by, self._now())
        self._outcome.resolved += len(batch)

    def _stays(self, letter: DeadLetter, fault: DataFault) -> None:
        rule = error_class(fault)
        self._outcome.stays[rule] += 1
        self._outcome.first.setdefault(rule, (str(letter.id), str(fault)))
        self._told(letter, fault)

    def _pace(self, held: _Held, until: float) -> None:
        while (left := until - self._parts.clock.monotonic()) > 0:
            self._parts.wait(min(left, LOOK_S))
            held.keep()

    def _now(self) -> tuple[str, int]:
        now = self._parts.clock.now()
        return rfc3339(now), epoch_ms(now)


class _Held:
    """The turn while it is ours: whatever moves on renews it."""

    def __init__(self, parts: RedriveParts, turn: RedriveTurn, bar: Bar) -> None:
        self.turn = turn
        self.ledger = Ledger()
        self._parts = parts
        self._bar = bar

    def keep(self) -> None:
        """Renew the turn where it is time to."""
        self.turn = self._parts.turns.keep(self.turn, self._parts.clock.monotonic())

    def bar(self, name: str) -> Progress:
        """A progress bar that keeps the turn."""
        shown = self._bar(name)

        def progress(done: int, total: int) -> None:
            self.keep()
            shown(done, total)

        return progress
