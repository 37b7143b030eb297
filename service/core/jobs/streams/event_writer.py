"""Appends the events of stream entries to the event log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.core.errors import InvalidRequest, ServiceError
from service.core.events import NewEvent
from service.core.jobs.streams.stream_source import StreamEntry
from service.core.recommending.recommender import Recommender

OUTCOMES = ("recorded", "duplicate")


class EventParser(Protocol):
    """Converts entries to events."""

    def parse(self, entry: StreamEntry) -> tuple[str, NewEvent]:
        """Return the user id and the event of an entry; raise `InvalidRequest`."""
        ...


class EventWriter:
    """Writer of events; see `EntryWriter`.

    Every event has an id, so a redelivered entry is a duplicate.
    """

    def __init__(self, parser: EventParser, recommender: Recommender) -> None:
        self._parser = parser
        self._recommender = recommender

    async def write(self, entries: Sequence[StreamEntry]) -> list[str | ServiceError]:
        """See `EntryWriter.write`."""
        outcomes: dict[int, str | ServiceError] = {}
        events: dict[int, tuple[str, NewEvent]] = {}
        for index, entry in enumerate(entries):
            try:
                events[index] = self._parser.parse(entry)
            except InvalidRequest as error:
                outcomes[index] = error
        if events:
            recorded = await self._recommender.record_batch(list(events.values()))
            for index, result in zip(events, recorded, strict=True):
                outcomes[index] = result if isinstance(result, ServiceError) else OUTCOMES[result.duplicate]
        return [outcomes[index] for index in range(len(entries))]
