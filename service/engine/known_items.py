"""Items that an engine knows, and their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from threading import Lock
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, Item
from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows, ScoredItem, scored_item
from service.core.new_items.encoder_input import ContentEncoder
from service.engine.appended_items import AppendedItems


class KnownItems:
    """Trained and appended items at one moment; immutable.

    Attributes:
        appended: The appended ones.
        row_of: Returns the row of an item id; None or 0 if it is unknown.
    """

    def __init__(self, rows: Mapping[str, int], items: Sequence[Item], appended: AppendedItems) -> None:
        self._rows, self._items, self.appended = rows, items, appended
        self.row_of: Callable[[str], int | None] = self._row_of if appended.count else rows.get

    def rows_of(self, item_ids: Iterable[str]) -> list[int]:
        """Return the rows of the known ones among some items."""
        row_of = self.row_of
        return [row for item_id in item_ids if (row := row_of(item_id))]

    def scored(self, rows: I64, scores: F32, length: int) -> tuple[ScoredItem, ...]:
        """Return the items of the first `length` rows, with their scores."""
        items, found = self._items, rows[:length].tolist()
        if not self.appended.count:
            ids = [items[row - 1].item_id for row in found]
        else:
            trained, id_of = self.appended.first - 1, self.appended.id_of
            ids = [items[row - 1].item_id if row <= trained else id_of(row) for row in found]
        return tuple(map(scored_item, zip(ids, scores[:length].tolist(), repeat(True, len(found)), strict=True)))

    def _row_of(self, item_id: str) -> int:
        return self._rows.get(item_id) or self.appended.row_of(item_id)


class ItemsOfEngine:
    """Items of an engine, to which others are appended; see core.new_items.extendable."""

    def __init__(self, bundle: Bundle) -> None:
        self._rows = {item.item_id: row for row, item in enumerate(bundle.items, start=1)}
        self._items, self._content, self._dim = bundle.items, bundle.content, bundle.config.dim
        self._extending = Lock()
        self._known = self._nothing_appended()

    @property
    def item_ids(self) -> Sequence[str]:
        """Items that the model was trained with, in order of row."""
        return tuple(self._rows)

    def knows(self, item_id: str) -> bool:
        """Return whether the item has an embedding, trained or appended."""
        return bool(self._known.row_of(item_id))

    @property
    def encoder(self) -> ContentEncoder | None:
        """Encoder of the bundle."""
        return cast("ContentEncoder | None", self._content)  # its contents have the same fields

    @property
    def extended(self) -> int:
        """Number of appended items."""
        return self._known.appended.count

    def extend(self, first: int, items: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        """Append items; see core.new_items.extendable."""
        if self.encoder is None:
            raise ValueError("the model has no content encoder")
        with self._extending:
            appended = self._known.appended
            if first != appended.count + 1:
                raise ValueError(f"item {first} does not follow {appended.count} appended ones")
            if any(item_id in self._rows for item_id, _ in items):
                raise ValueError("an item is trained already")
            if items:
                self._append(KnownItems(self._rows, self._items, appended.append(items)))

    def _append(self, known: KnownItems) -> None:
        """Let the next batches see appended items."""
        self._known = known

    def reset_extension(self) -> None:
        """Remove all appended items."""
        with self._extending:
            self._known = self._nothing_appended()

    def _nothing_appended(self) -> KnownItems:
        return KnownItems(self._rows, self._items, AppendedItems.none(len(self._items), self._dim))

    def _check_filter(self, allowed: AllowedRows | None) -> None:
        """Raise `ValueError` for a filter of another model."""
        words = len(self._items) // 32 + 1
        if allowed is None or len(allowed.bitmap) == words or (len(allowed.bitmap) > words and self.encoder):
            return
        raise ValueError(f"a filter of {len(allowed.bitmap)} words is not for {len(self._items)} items")
