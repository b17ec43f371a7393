"""What measures quality rules over rows that have landed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from streamlake.domain.model.columns import Column
from streamlake.domain.model.quality_rules import Measurement, Metric, Path, Query


class QualityTables(Protocol):
    """Rows to be measured, one table per contract version. Belongs to one thread.

    First every `load`, then every `measure` and `newest`. Memory is bounded, whatever is loaded; what does not fit is
    kept on the local disk until `close`. A rule's SQL sees its own version's rows as a table named like the dataset,
    with the contract's properties as columns, and nothing else: no file, no network, no variable of the process. It
    changes nothing.

    Values are what the payload says: integers of up to 38 digits and decimals are exact, of a key that is there twice
    the last counts, null and absent are the same. A value that is not of its contract's type makes the rules about
    its column `NotMeasured`, and never disappears.
    """

    @abstractmethod
    def load(self, part: str, envelopes: Iterable[bytes]) -> int:
        """Add one part's rows (each an envelope as `PartFormat.envelopes` gives it); returns how many it had. `part`
        is how offenders will be told. Rows of versions without a table are only counted. Raises `PrefixDamaged` for a
        body that is no list of envelopes, and `StoreUnavailable` where the local disk is full."""

    @abstractmethod
    def rows(self) -> Mapping[str, int]:
        """How many rows there are, per `schema_version`, those without a table included."""

    @abstractmethod
    def measure(self, version: str, check: Metric | Query, samples: int) -> Measurement:
        """What a check comes to over the rows of one version, with at most `samples` of the rows it counted, ascending
        by partition and offset. Never raises for the check's sake."""

    @abstractmethod
    def newest(self, version: str, path: Path | None) -> Measurement:
        """The newest moment at `path` (None: the newest record timestamp), milliseconds since the epoch; None where
        there is none."""

    @abstractmethod
    def close(self) -> None:
        """Forget everything. Idempotent."""


class QualityEngine(Protocol):
    """Makes tables."""

    @abstractmethod
    def tables(self, dataset: str, versions: Mapping[str, Sequence[Column]]) -> QualityTables:
        """Empty tables with these columns, one per contract version (`v1`); to be closed by the caller."""
