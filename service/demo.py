"""Settings of `recblr-serve --demo`, its small model, and its catalogue.

The model knows an invented outdoor shop (`.ci/make_demo.py`), and was trained on invented purchases.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.temporary_folder import temporary_folder

BUNDLE = Path(__file__).parent / "demo_bundle"
ITEMS = Path(__file__).parent / "demo_items.jsonl"


@contextmanager
def demo_environment() -> Iterator[None]:
    """Set the demo's environment variables.

    The demo's bundle replaces RECBLR_BUNDLE. Without RECBLR_STATE_URL events and catalogue are kept in a temporary
    folder until the service stops, and the catalogue begins with the shop's items.
    """
    with temporary_folder("recblr-demo-") as folder:
        os.environ["RECBLR_BUNDLE"] = str(BUNDLE)
        if "RECBLR_STATE_URL" not in os.environ:
            os.environ["RECBLR_STATE_URL"] = url = f"sqlite:///{folder}/demo.db"
            asyncio.run(_put_items(url))
        yield


async def _put_items(url: str) -> None:
    """Put the shop's items into the catalogue of a new store."""
    # Imported late: the parent of several workers is kept small.
    from service.core.catalogue.editing.item_changes import ItemChange
    from service.core.catalogue.editing.item_editor import ItemEditor
    from service.core.catalogue.editing.known_definitions import KnownDefinitions
    from service.store.factory import open_store

    items = [json.loads(line) for line in ITEMS.read_text("utf-8").splitlines()]
    store = await open_store(url, events_kept=1)
    try:
        changes = [
            ItemChange(item["item_id"], {name: item[name] for name in ("title", "categories")}, item["attributes"])
            for item in items
        ]
        await ItemEditor(store.catalogue, KnownDefinitions(store.catalogue, lambda definitions: None)).put(changes)
    finally:
        await store.close()
