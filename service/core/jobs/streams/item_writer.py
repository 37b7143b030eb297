"""Applies the items of stream entries to the catalogue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from service.core.catalogue.editing.item_editor import ItemEdit, ItemEditor, Outcome
from service.core.errors import InvalidRequest, ServiceError
from service.core.jobs.streams.stream_source import StreamEntry

_log = logging.getLogger(__name__)

OUTCOMES = ("unchanged", "changed")
_SLICE_BYTES = 32 << 10  # of entries that are parsed before other requests get the event loop: a millisecond


class ItemParser(Protocol):
    """Converts entries to changes of items."""

    def parse(self, entry: StreamEntry) -> ItemEdit:
        """Return the change of an entry; raise `InvalidRequest`."""
        ...


class ItemWriter:
    """Writer of items; see `EntryWriter`.

    The changes of one item in a batch are stored as one. So if a batch is delivered again, an item takes no earlier
    state in between, and one that has its last state already is not changed at all.
    """

    def __init__(self, parser: ItemParser, editor: ItemEditor) -> None:
        self._parser = parser
        self._editor = editor

    async def write(self, entries: Sequence[StreamEntry]) -> list[str | ServiceError]:
        """See `EntryWriter.write`."""
        outcomes: dict[int, str | ServiceError] = {}
        edits: dict[int, ItemEdit] = {}
        parsed_bytes = 0
        for index, entry in enumerate(entries):
            try:
                edits[index] = self._parser.parse(entry)
            except InvalidRequest as error:
                outcomes[index] = error
            parsed_bytes += sum(map(len, entry.fields.values()))
            if parsed_bytes > _SLICE_BYTES:
                parsed_bytes = 0
                await asyncio.sleep(0)
        for index, result in zip(edits, await self._apply(list(edits.values())), strict=True):
            outcomes[index] = result if isinstance(result, ServiceError) else OUTCOMES[result.changed]
        return [outcomes[index] for index in range(len(entries))]

    async def _apply(self, edits: Sequence[ItemEdit]) -> Sequence[Outcome]:
        """Apply the changes together, else one by one."""
        try:
            return (await self._editor.apply(edits)).outcomes
        except ServiceError as error:
            return [error] * len(edits)
        except Exception:
            _log.exception("cannot apply items of the stream", extra={"items": len(edits)})
        if len(edits) == 1:
            return [ServiceError("the service failed on this item")]
        outcomes: list[Outcome] = []
        failed: dict[str, ServiceError] = {}
        for edit in edits:
            item_id = edit.change.item_id
            [outcome] = [failed[item_id]] if item_id in failed else await self._apply([edit])
            if isinstance(outcome, ServiceError) and not isinstance(outcome, InvalidRequest):
                failed[item_id] = outcome
            outcomes.append(outcome)
        return outcomes
