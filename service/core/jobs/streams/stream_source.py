"""Ports of a stream consumer: the stream, and what its entries change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.core.errors import ServiceError

FIRST = "0-0"  # the start of the pending entries


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """Entry of the stream as it was sent.

    Entry ids ascend, and begin with the Unix time in milliseconds at which the entry was added.
    """

    entry_id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """Entry that cannot be used, and the reason."""

    entry: StreamEntry
    reason: str


class LeaseLostError(Exception):
    """Another worker holds the lease of the stream."""


class StreamSource(Protocol):
    """Stream that a group of workers reads, one worker at a time.

    Every method raises `StoreUnavailable`. The three that need the lease also raise `LeaseLostError`.
    """

    async def acquire_lease(self) -> bool:
        """Take the lease if free; return whether this worker holds it."""
        ...

    async def renew_lease(self) -> None:
        """Prolong the lease; raise `LeaseLostError`."""
        ...

    async def read_pending(self, after: str, limit: int) -> tuple[list[StreamEntry], str]:
        """Claim entries that some worker has read and not acknowledged.

        Args:
            after: where to continue; `FIRST` for the oldest entries.
            limit: the most entries to return.

        Returns:
            The entries, oldest first, and where to continue; `FIRST` if there are no more.
        """
        ...

    async def read_new(self, limit: int) -> list[StreamEntry]:
        """Return the next entries, oldest first; the list may be empty."""
        ...

    async def acknowledge(self, done: Sequence[StreamEntry], rejected: Sequence[RejectedEntry]) -> None:
        """Mark all these entries as processed.

        The rejected ones are moved to the dead-letter stream in the same transaction.
        """
        ...

    async def lag(self) -> int | None:
        """Return how many entries are not acknowledged; None if unknown."""
        ...

    async def release_lease(self) -> None:
        """Give the lease back if this worker holds it."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class EntryWriter(Protocol):
    """Applies what entries say, once each in effect."""

    async def write(self, entries: Sequence[StreamEntry]) -> list[str | ServiceError]:
        """Apply the entries in order; return one outcome each.

        The outcome of an entry that was applied is its name in the metrics. If an entry fails, later ones about the
        same user or item fail too.
        """
        ...
