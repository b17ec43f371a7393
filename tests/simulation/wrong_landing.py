"""Wrong ways to keep a part log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.simulation.facts import DATES
from tests.simulation.mutants import Patches, mutant
from tests.simulation.ports import SimulatedStore

from streamlake.domain.errors import AlreadyExists, PrefixDamaged, StoreUnavailable
from streamlake.domain.model.parts import Claims
from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.snapshots import Snapshot
from streamlake.domain.use_cases import part_log
from streamlake.domain.use_cases.part_log import PartLog, PartLogs


@mutant("after a timeout it takes the next number: a hole, or the same rows twice")
def skip_a_slot_on_timeout(patches: Patches) -> None:
    def land(right: Any) -> Any:
        def wrong(self: PartLog, *arguments: Any, **more: Any) -> None:
            before = self._next
            try:
                right(self, *arguments, **more)
            except StoreUnavailable:
                if self._known and self._format is not None and before > 1:
                    self._next += 1
                raise

        return wrong

    patches.wrap(PartLog, "land", land)


@mutant("412 is taken for its own earlier attempt: the other's rows pass for its own, and its own are lost")
def trust_it_was_mine(patches: Patches) -> None:
    def create(right: Any) -> Any:
        def wrong(self: Any, name: str, body: bytes, **more: Any) -> Any:
            try:
                return right(self, name, body, **more)
            except AlreadyExists:
                if "/part-" not in name:
                    raise
                found = self.describe(name)
                return type(found)(found.name, found.size, found.generation, more["crc32c"], found.metadata)

        return wrong

    patches.wrap(SimulatedStore, "create", create)


@mutant("412 moves on to the next number without reading what the taken part claims")
def do_not_absorb_on_412(patches: Patches) -> None:
    def wrong(self: PartLog, name: str) -> None:
        found = self._store.describe(name)
        self._last = found, part_log._claims_of(found)
        self._next += 1

    patches.set(PartLog, "_absorb_taken", wrong)


@mutant("412 is a fault: it waits and tries the same slot for ever")
def never_leave_a_taken_slot(patches: Patches) -> None:
    def wrong(self: PartLog, name: str) -> None:
        raise StoreUnavailable(f"{name}: taken")

    patches.set(PartLog, "_absorb_taken", wrong)


@mutant("a prefix is begun at part 1 without listing what lies there")
def no_bootstrap(patches: Patches) -> None:
    def wrong(self: PartLog) -> None:
        self._known = True

    patches.set(PartLog, "bootstrap", wrong)


@mutant("a bootstrap counts the parts but does not absorb their claims")
def bootstrap_without_claims(patches: Patches) -> None:
    def bootstrap(right: Any) -> Any:
        def wrong(self: PartLog) -> None:
            if not self._known:
                right(self)
                self._covered = {}

        return wrong

    patches.wrap(PartLog, "bootstrap", bootstrap)


@mutant("parts are sorted as text: part-10000 before part-9999")
def text_sort_of_numbers(patches: Patches) -> None:
    def parts_of(right: Any) -> Any:
        return lambda found: sorted(right(found), key=lambda pair: pair[1].name)

    patches.wrap(part_log, "parts_of", parts_of)


@mutant("claims name the topic, not its id: a recreated topic's offsets pass for landed")
def claims_keyed_by_topic_name(patches: Patches) -> None:
    patches.set(Rows, "lane", property(lambda self: Lane(self.source.topic, self.source.partition)))

    def claims(right: Any) -> Any:
        return lambda self: {
            Lane(source.topic, source.partition): Offsets([(span.start, span.end)])
            for source, span in self.spans.items()
        }

    patches.wrap(Snapshot, "claims", claims)


@mutant("coverage forgets topic ids: what a gone topic had landed covers the new one's offsets")
def coverage_without_topic_id(patches: Patches) -> None:
    def wrong(self: PartLog, rows: Sequence[Rows], replay_id: str | None) -> list[Rows]:
        covered: dict[int, Offsets] = {}
        for lane, offsets in self._covered.get(replay_id, {}).items():
            covered.setdefault(lane.partition, Offsets()).update(offsets)
        fresh = []
        for chunk in rows:
            done = covered.get(chunk.lane.partition, Offsets())
            wanted = [at for at, offset in enumerate(chunk.offsets) if offset not in done]
            if wanted:
                fresh.append(chunk.pick(wanted))
        return fresh

    patches.set(PartLog, "_drop_covered", wrong)


@mutant("what replays claim counts as landed live")
def replay_claims_mixed_with_live(patches: Patches) -> None:
    def absorb(right: Any) -> Any:
        def wrong(self: PartLog, found: Any, info: Any) -> None:
            right(self, found, info)
            live = self._covered.setdefault(None, {})
            for lane, offsets in info.claims.items():
                live.setdefault(lane, Offsets()).update(offsets)

        return wrong

    patches.wrap(PartLog, "_absorb", absorb)


@mutant("what is landed live counts as done for a replay")
def live_claims_mixed_with_replays(patches: Patches) -> None:
    def drop(right: Any) -> Any:
        return lambda self, rows, replay_id: (
            right(self, right(self, rows, None), replay_id) if replay_id else right(self, rows, replay_id)
        )

    patches.wrap(PartLog, "_drop_covered", drop)


@mutant("rows already covered are landed again")
def covered_rows_not_dropped(patches: Patches) -> None:
    patches.set(PartLog, "_drop_covered", lambda self, rows, replay_id: list(rows))


@mutant("a chunk is dropped whole where any of it is covered")
def half_covered_is_covered(patches: Patches) -> None:
    def wrong(self: PartLog, rows: Sequence[Rows], replay_id: str | None) -> list[Rows]:
        lanes = self._covered.get(replay_id, {})
        return [
            chunk
            for chunk in rows
            if chunk.lane not in lanes or not lanes[chunk.lane].overlaps(chunk.offsets[0], chunk.offsets[-1] + 1)
        ]

    patches.set(PartLog, "_drop_covered", wrong)


@mutant("a part with nothing in it is created where all was covered")
def empty_parts(patches: Patches) -> None:
    def drop(right: Any) -> Any:
        def wrong(self: PartLog, rows: Sequence[Rows], replay_id: str | None) -> list[Rows]:
            return right(self, rows, replay_id) or [rows[0].pick([0])]

        return wrong

    patches.wrap(PartLog, "_drop_covered", drop)


@mutant("a part is split, and each half claims the whole")
def split_without_cutting_claims(patches: Patches) -> None:
    def split(right: Any) -> Any:
        def wrong(rows: Sequence[Rows], claims: Claims) -> Any:
            (first, _), (second, _) = right(rows, claims)
            return (
                (first, {lane: claims[lane] for lane in part_log.lanes_of(first)}),
                (second, {lane: claims[lane] for lane in part_log.lanes_of(second)}),
            )

        return wrong

    patches.wrap(part_log, "split", split)


@mutant("the second half of a split part is landed before the first")
def split_in_the_wrong_order(patches: Patches) -> None:
    def split(right: Any) -> Any:
        return lambda rows, claims: tuple(reversed(right(rows, claims)))

    patches.wrap(part_log, "split", split)


@mutant("each writer uses the format it wants, whoever was first")
def format_race_ignored(patches: Patches) -> None:
    def wrong(self: PartLog) -> Any:
        return self._formats[self._wanted_format]

    patches.set(PartLog, "_settle_format", wrong)


@mutant("one coverage for all dates: a claim of one date drops the rows of another")
def coverage_shared_between_dates(patches: Patches) -> None:
    def init(right: Any) -> Any:
        def wrong(self: PartLogs, make: Callable[[str], PartLog], *room: int) -> None:
            shared: dict[Any, Any] = {}

            def made(date: str) -> PartLog:
                log = make(date)
                bootstrap = log.bootstrap

                def share() -> None:
                    if not log._known:
                        bootstrap()
                        for replay_id, lanes in log._covered.items():
                            for lane, offsets in lanes.items():
                                shared.setdefault(replay_id, {}).setdefault(lane, Offsets()).update(offsets)
                    log._covered = shared

                log.bootstrap = share  # type: ignore[method-assign]
                return log

            right(self, made, *room)

        return wrong

    patches.wrap(PartLogs, "__init__", init)


@mutant("a row lands under the date of the clock, not of its record")
def wall_clock_date(patches: Patches) -> None:
    def of(right: Any) -> Any:
        def wrong(self: PartLogs, date: str) -> PartLog:
            self.calls = getattr(self, "calls", 0) + 1  # type: ignore[attr-defined]
            late = self.calls > 30  # type: ignore[attr-defined]
            return right(self, DATES[-1] if late else date)  # type: ignore[no-any-return]

        return wrong

    patches.wrap(PartLogs, "of", of)


@mutant("claims begin at the first row and end at the last: the rows of letters and gaps beside them are not in")
def claims_without_their_end(patches: Patches) -> None:
    def describe(right: Any) -> Any:
        def wrong(self: PartLog, rows: Sequence[Rows], claims: Claims, *more: Any) -> Any:
            narrow: Mapping[Lane, Offsets] = {
                chunk.lane: Offsets([(chunk.offsets[0], chunk.offsets[-1])]) for chunk in rows
            }
            return right(self, rows, {**claims, **narrow}, *more)

        return wrong

    patches.wrap(PartLog, "_describe", describe)


@mutant("a part does not say which part came before it")
def no_chain(patches: Patches) -> None:
    def absorb(right: Any) -> Any:
        def wrong(self: PartLog, found: Any, info: Any) -> None:
            before = self._last
            right(self, found, info)
            if before is not None:
                self._last = before

        return wrong

    patches.wrap(PartLog, "_absorb", absorb)


@mutant("a prefix found taken is reported damaged: it halts")
def conflict_halts(patches: Patches) -> None:
    def wrong(self: PartLog, name: str) -> None:
        raise PrefixDamaged(f"{name}: taken")

    patches.set(PartLog, "_absorb_taken", wrong)
