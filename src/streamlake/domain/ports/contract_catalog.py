"""Where contracts come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from streamlake.domain.model.contract_drafts import ContractDraft
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


class ContractFiles(Protocol):
    """Single contract files, for those who write them."""

    @abstractmethod
    def read(self, file: str, content: bytes) -> Contract:
        """The contract in these bytes; `file` is its name. Raises `ContractInvalid` naming file, place and rule."""

    @abstractmethod
    def name(self, dataset: str, major: int) -> str:
        """What the file of that contract is called."""

    @abstractmethod
    def of_folder(self, folder: str) -> Mapping[str, bytes]:
        """Every file that a catalog of this folder would read, by name, whether it can be read as a contract or not.

        Raises `ContractInvalid` where the folder or a file cannot be read, or there is none.
        """

    @abstractmethod
    def is_contract(self, file: str) -> bool:
        """Is this a name that contract files have?"""

    @abstractmethod
    def write(self, draft: ContractDraft) -> bytes:
        """A draft as a file that `read` takes: the least that can be said, to be edited."""
