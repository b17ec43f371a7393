"""The figures of the front door."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Limits and defaults; the container fills them from the settings."""

    producer_service: str = "ingestion-api"
    """`producer_service` of clients that send no `X-Producer-Service`."""
    max_event_bytes: int = MIB
    max_batch_bytes: int = 16 * MIB
    max_batch_events: int = 10_000
    """16 MiB of `{}` would be five million events: without this bound one request could fill the memory."""
    max_inflight_requests: int = 10_000
    max_inflight_bytes: int = 64 * MIB
    """Of bodies received and not answered, each event counted with `events.EVENT_OVERHEAD` on top."""
    retry_after_s: int = 1
    """What a 503 asks for."""

    def __post_init__(self) -> None:
        for name in ("max_event_bytes", "max_batch_bytes", "max_batch_events", "max_inflight_requests"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be >= 1, is {getattr(self, name)}")
        if self.max_inflight_bytes < max(self.max_event_bytes, self.max_batch_bytes):
            raise ValueError(
                f"max_inflight_bytes: must hold one largest body ({max(self.max_event_bytes, self.max_batch_bytes)}),"
                f" is {self.max_inflight_bytes}"
            )
