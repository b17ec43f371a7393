"""The dense part log: exactly once without leases, clocks or group membership. The part number is the fencing token.

    create part-n if absent --> created: absorb own claims, n+1, next
                            --> taken:   read part-n's claims, absorb, n+1, drop what they cover, again
                            --> unknown: (the caller waits) the same n again
                            --> refused: the caller halts

Why it is safe: whoever creates part n has absorbed every part before it, and parts are immutable; so what it adds is
disjoint from all that was there. `docs/reliability.md` has the argument fault by fault.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from streamlake.domain.errors import AlreadyExists, ObjectMissing, PrefixDamaged, StoreUnavailable
from streamlake.domain.model.parts import (
    MAX_METADATA_BYTES,
    MAX_ROWS_RUNS,
    Claims,
    PartInfo,
    Predecessor,
    metadata_bytes,
    part_name,
    raw_prefix,
)
from streamlake.domain.model.positions import Lane, Offsets
from streamlake.domain.model.rows import Rows
from streamlake.domain.model.snapshots import LandedPart
from streamlake.domain.ports.object_store import ObjectInfo, ObjectStore
from streamlake.domain.ports.part_format import EncodedPart, PartFormat
from streamlake.domain.use_cases.roll_up import (
    ROLL_UP,
    RollUp,
    empty_roll_up,
    format_of_roll_up,
    parts_of,
    read_part_info,
)

MAX_PREFIXES = 128
MOST_STALE = 2
"""Times that many are kept where the store refuses roll-ups, and so all of them are stale."""

"""How many prefixes a process remembers; a forgotten one is bootstrapped again."""


class PartLog:
    """The parts of one dataset and date. One thread at a time."""

    def __init__(
        self,
        store: ObjectStore,
        formats: Mapping[str, PartFormat],
        dataset: str,
        date: str,
        *,
        wanted_format: str,
        writer: str,
        max_part_bytes: int,
    ) -> None:
        self.dataset = dataset
        self.date = date
        self.prefix = raw_prefix(dataset, date)
        self.roll_up = RollUp(store, dataset, date)
        self.conflicts = 0
        """How often a slot was found taken: another writer was there."""
        self._store = store
        self._formats = formats
        self._wanted_format = wanted_format
        self._writer = writer
        self._max_part_bytes = max_part_bytes
        self._format: PartFormat | None = None
        self._known = False
        self._next = 1
        self._last: tuple[ObjectInfo, PartInfo] | None = None
        self._covered: dict[str | None, dict[Lane, Offsets]] = {}
        self.live_ends: dict[Lane, int] = {}
        """Where the live claims of each lane end."""

    def covers(self, lane: Lane, offset: int, replay_id: str | None = None) -> bool:
        """Is this offset landed here, or dead-lettered by somebody who landed around it? Only lists; creates nothing.

        Raises the store's errors and `PrefixDamaged`.
        """
        self.bootstrap()
        return offset in self._covered.get(replay_id, {}).get(lane, ())

    def land(
        self,
        rows: Sequence[Rows],
        claims: Claims,
        on_part: Callable[[LandedPart], None],
        replay_id: str | None = None,
    ) -> None:
        """Land every row not landed yet, and claim these intervals for what is landed with it.

        `on_part` is told of each part as it comes into being. Idempotent: after any error call it again with the same
        arguments. Raises `StoreUnavailable` (wait, then again: the same slot is tried), `AccessDenied`,
        `BucketMissing`, `PrefixDamaged`.
        """
        self.bootstrap()
        form = self._settle_format()
        pending = [(list(rows), claims)]
        while pending:
            offered, intervals = pending.pop()
            fresh = self._drop_covered(offered, replay_id)
            if not fresh:
                continue
            encoded = form.encode(self.dataset, fresh, replay_id)
            info = self._describe(fresh, intervals, encoded, replay_id)
            metadata = info.to_metadata()
            if self._too_large(encoded, metadata) and sum(map(len, fresh)) > 1:
                first, second = split(fresh, intervals)
                pending += [second, first]
                continue
            name = self.prefix + part_name(self._next, form.name)
            try:
                found = self._store.create(
                    name, encoded.body, content_type=form.content_type, metadata=metadata, crc32c=encoded.crc32c
                )
            except AlreadyExists:
                self._absorb_taken(name)
                pending.append((fresh, intervals))
                continue
            if found.crc32c != encoded.crc32c:
                raise PrefixDamaged(f"{name}: stored with crc32c {found.crc32c}, was sent with {encoded.crc32c}")
            self._absorb(found, info)
            before = sum(chunk.size for chunk in fresh)
            on_part(LandedPart(name, info, found.size, found.generation, before))

    def bootstrap(self) -> None:
        """Absorb what lies in the prefix, once. A part beyond a hole means somebody deleted one: `PrefixDamaged`.

        Only lists; creates nothing. An attempt that failed on the way leaves nothing behind: the next one begins at
        part 1 again.
        """
        if self._known:
            return
        self._format, self._next, self._last, self._covered = None, 1, None, {}
        parts = parts_of(self._store.list(self.prefix + "part-"))
        extensions = sorted({name.extension for name, _ in parts})
        if len(extensions) > 1:
            raise PrefixDamaged(f"{self.prefix}: parts must have one format, found {', '.join(extensions)}")
        if parts:
            self._format = self._known_format(extensions[0])
        for name, found in parts:
            if name.number < self._next:
                raise PrefixDamaged(f"{self.prefix}: part {name.number} is there under two names")
            while name.number > self._next:
                self._absorb_missed(name.extension, beyond=found.name)
            self._absorb(found, _claims_of(found))
        self._known = True

    def _absorb_missed(self, extension: str, *, beyond: str) -> None:
        """A number that the listing did not show, though it showed a later one: paging may have raced its creation."""
        name = self.prefix + part_name(self._next, extension)
        try:
            found = self._store.describe(name)
        except ObjectMissing:
            raise PrefixDamaged(f"{name}: is missing, though {beyond} is there: somebody deleted it") from None
        self._absorb(found, _claims_of(found))

    def _absorb_taken(self, name: str) -> None:
        self.conflicts += 1
        try:
            found = self._store.describe(name)
        except ObjectMissing:  # deleted in between, which docs/raw-zone.md forbids
            raise StoreUnavailable(f"{name}: was there, and then was not") from None
        self._absorb(found, _claims_of(found))

    def _absorb(self, found: ObjectInfo, info: PartInfo) -> None:
        lanes = self._covered.setdefault(info.replay_id, {})
        for lane, offsets in info.claims.items():
            lanes.setdefault(lane, Offsets()).update(offsets)
            if info.replay_id is None:
                self.live_ends[lane] = max(self.live_ends.get(lane, 0), *(end for _, end in offsets))
        if self._known:
            self.roll_up.add(self._next, found, info)
        self._last = found, info
        self._next += 1

    def _settle_format(self) -> PartFormat:
        """The extension of the parts; while there are none, `_metadata.json`, created by whoever is first."""
        if self._format is None:
            name = self.prefix + ROLL_UP
            body = empty_roll_up(self.dataset, self.date, self._wanted_format)
            try:
                self._store.create(name, body, content_type="application/json", metadata={})
                settled = self._wanted_format
            except AlreadyExists:
                settled = format_of_roll_up(name, self._read(name))
            self._format = self._known_format(settled)
        return self._format

    def _read(self, name: str) -> bytes:
        try:
            return self._store.read(name)[1]
        except ObjectMissing:
            raise StoreUnavailable(f"{name}: was there, and then was not") from None

    def _known_format(self, name: str) -> PartFormat:
        try:
            return self._formats[name]
        except KeyError:
            raise PrefixDamaged(f"{self.prefix}: format must be one of {', '.join(self._formats)}, is {name}") from None

    def _drop_covered(self, rows: Iterable[Rows], replay_id: str | None) -> list[Rows]:
        lanes = self._covered.get(replay_id, {})
        fresh = []
        for chunk in rows:
            covered = lanes.get(chunk.lane)
            if covered is None or not covered.overlaps(chunk.offsets[0], chunk.offsets[-1] + 1):
                fresh.append(chunk)
                continue
            wanted = [i for i, offset in enumerate(chunk.offsets) if offset not in covered]
            if wanted:
                fresh.append(chunk.pick(wanted))
        return fresh

    def _describe(self, rows: Sequence[Rows], claims: Claims, encoded: EncodedPart, replay_id: str | None) -> PartInfo:
        return PartInfo(
            claims={chunk.lane: claims[chunk.lane] for chunk in rows},
            rows=_offsets_in(rows),
            records=sum(map(len, rows)),
            crc32c=encoded.crc32c,
            writer=self._writer,
            first_timestamp=min(min(chunk.timestamps) for chunk in rows),
            last_timestamp=max(max(chunk.timestamps) for chunk in rows),
            replay_id=replay_id,
            previous=self._predecessor(),
        )

    def _predecessor(self) -> Predecessor | None:
        """What the next part remembers. Made when it is needed: most parts that are met have others after them."""
        if self._last is None:
            return None
        found, info = self._last
        return Predecessor(info.digest(found.name), found.generation, found.crc32c)

    def _too_large(self, encoded: EncodedPart, metadata: Mapping[str, str]) -> bool:
        return len(encoded.body) > self._max_part_bytes or metadata_bytes(metadata) > MAX_METADATA_BYTES


class PartLogs:
    """The part logs of one process and dataset, the least recently used forgotten beyond `max_prefixes`."""

    def __init__(self, make: Callable[[str], PartLog], max_prefixes: int = MAX_PREFIXES) -> None:
        self._make = make
        self._max_prefixes = max_prefixes
        self._logs: OrderedDict[str, PartLog] = OrderedDict()

    def of(self, date: str) -> PartLog:
        """The part log of an ISO date."""
        if date not in self._logs:
            self._forget_one()
            self._logs[date] = self._make(date)
        self._logs.move_to_end(date)
        return self._logs[date]

    def forget(self, date: str) -> None:
        """Bootstrap this date anew before it is used again."""
        self._logs.pop(date, None)

    def live_end(self, lane: Lane) -> int:
        """Where the live claims of a lane end, as far as this process has seen."""
        return max((log.live_ends.get(lane, 0) for log in self), default=0)

    def __iter__(self) -> Iterator[PartLog]:
        return iter(list(self._logs.values()))

    def _forget_one(self) -> None:
        """Not one whose roll-up is stale, while there are not too many: it would stay so until somebody lands there."""
        if len(self._logs) >= self._max_prefixes:
            done = next((date for date, log in self._logs.items() if not log.roll_up.stale), None)
            if done is not None:
                del self._logs[done]
            elif len(self._logs) >= MOST_STALE * self._max_prefixes:
                self._logs.popitem(last=False)


def _claims_of(found: ObjectInfo) -> PartInfo:
    """What a part says of itself. With another body than it was made for its claims would pass for landed rows."""
    info = read_part_info(found)
    if info.crc32c != found.crc32c:
        raise PrefixDamaged(f"{found.name}: stored with crc32c {found.crc32c}, was sent with {info.crc32c}")
    return info


def _offsets_in(rows: Sequence[Rows]) -> Claims | None:
    """The offsets of a part by lane; None where they are in more runs than custom metadata can tell."""
    landed: dict[Lane, Offsets] = {}
    most = MAX_ROWS_RUNS
    for chunk in rows:
        offsets = landed.setdefault(chunk.lane, Offsets())
        for start, end in runs(chunk.offsets):
            if most == 0:
                return None
            most -= 1
            offsets.add(start, end)
    return landed


def runs(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending offsets as half-open intervals."""
    if offsets[-1] - offsets[0] == len(offsets) - 1:
        yield offsets[0], offsets[-1] + 1
        return
    start = previous = offsets[0]
    for offset in offsets[1:]:
        if offset != previous + 1:
            yield start, previous + 1
            start = offset
        previous = offset
    yield start, previous + 1


def split(rows: Sequence[Rows], claims: Claims) -> tuple[tuple[list[Rows], Claims], tuple[list[Rows], Claims]]:
    """Two halves by row count; each lane's claims are cut where its rows are, so that neither claims the other's."""
    half = sum(map(len, rows)) // 2
    first: list[Rows] = []
    second: list[Rows] = []
    for chunk in rows:
        taken = min(half, len(chunk))
        half -= taken
        if taken:
            first.append(chunk.pick(range(taken)))
        if taken < len(chunk):
            second.append(chunk.pick(range(taken, len(chunk))))
    cuts: dict[Lane, int] = {}
    for chunk in second:
        cuts.setdefault(chunk.lane, chunk.offsets[0])
    before = {lane: claims[lane].before(cuts[lane]) if lane in cuts else claims[lane] for lane in lanes_of(first)}
    begun = before.keys()
    after = {lane: claims[lane].since(cut) if lane in begun else claims[lane] for lane, cut in cuts.items()}
    return (first, before), (second, after)


def lanes_of(rows: Iterable[Rows]) -> set[Lane]:
    """The lanes these rows come from."""
    return {chunk.lane for chunk in rows}
