"""How rows become the body of a part, and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamlake.domain.model.rows import Rows


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """A part's body and its base64 CRC-32C (big-endian), as GCS gives it."""

    body: bytes
    crc32c: str


class PartFormat(Protocol):
    """A format is stateless and safe for several threads. `docs/raw-zone.md` has the envelope, field by field."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What contracts and settings call it, which is also the extension after `part-0001.`: `json`, `json.gz` ..."""

    @property
    @abstractmethod
    def content_type(self) -> str:
        """The object's Content-Type. There is never a Content-Encoding: GCS would decompress on the way out."""

    @abstractmethod
    def encode(self, dataset: str, rows: Sequence[Rows], replay_id: str | None) -> EncodedPart:
        """All rows, in the order given, as one body. The payload's bytes are spliced in verbatim.

        A raw CR or LF in a payload (in valid JSON only possible between tokens) becomes a space in line formats.
        """

    @abstractmethod
    def envelopes(self, body: bytes) -> Iterator[bytes]:
        """Each row's envelope as one JSON object without newlines, in the order of the body.

        Raises ValueError, then or on the way, where the body is not of this format; what is not JSON in a format of
        lines is for whoever parses them to find.
        """
