"""Where contracts come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from streamlake.domain.model.contracts import Contract


class ContractCatalog(Protocol):
    """Every contract there is, loaded and checked once when made (`ContractInvalid` names the file and the rule).

    Read-only afterwards, so safe for several threads.
    """

    @abstractmethod
    def datasets(self) -> Sequence[str]:
        """Dataset names, ascending."""

    @abstractmethod
    def versions(self, dataset: str) -> Sequence[Contract]:
        """All majors of a dataset, oldest first, at least one. Raises `UnknownDataset`."""

    @abstractmethod
    def newest(self, dataset: str) -> Contract:
        """The newest major. Raises `UnknownDataset`."""

    @abstractmethod
    def find(self, dataset: str, version: str) -> Contract | None:
        """The contract of that `schema_version` (`v1`), or None. Raises `UnknownDataset` for the dataset only."""
