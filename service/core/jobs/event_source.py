"""Port of the stream from which events are consumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.core.events import NewEvent

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
    """Entry whose event cannot be appended to the log, and the reason."""

    entry: StreamEntry
    reason: str


class LeaseLostError(Exception):
    """Another worker holds the lease of the stream."""


class EventSource(Protocol):
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


class EntryParser(Protocol):
    """Converts entries to events."""

    def parse(self, entry: StreamEntry) -> tuple[str, NewEvent]:
        """Return the user id and the event of an entry; raise `InvalidRequest`."""
        ...
