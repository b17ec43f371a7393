"""The figures of the front door."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024

EVENT_OVERHEAD = 1024
"""What an event in flight holds beside its bytes, roughly: headers, objects, the producer's queue entry."""


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
    """Of bodies received and not answered, each event with `EVENT_OVERHEAD` on top, and of answers not taken yet."""
    retry_after_s: int = 1
    """What a 503 asks for."""

    @property
    def max_arriving_bytes(self) -> int:
        """Of bodies that are not whole yet. Those that are find the rest of `max_inflight_bytes`."""
        return max(self.max_inflight_bytes // 2, self.max_event_bytes, self.max_batch_bytes)

    def __post_init__(self) -> None:
        for name in ("max_event_bytes", "max_batch_bytes", "max_batch_events", "max_inflight_requests"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be >= 1, is {getattr(self, name)}")
        batch = 2 * self.max_batch_bytes + self.max_batch_events * EVENT_OVERHEAD  # the body, and its slices
        least = max(self.max_event_bytes + EVENT_OVERHEAD, batch)
        if self.max_inflight_bytes < least:
            # Or the largest batch would be told to come again for ever.
            raise ValueError(
                f"max_inflight_bytes: must be >= {least} (twice max_batch_bytes, and {EVENT_OVERHEAD} for each of"
                f" max_batch_events), is {self.max_inflight_bytes}"
            )
