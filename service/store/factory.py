"""Open the store that a URL names."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Protocol

from service.core.catalogue_store import CatalogueStore
from service.core.new_items.vector_store import ItemVectorStore
from service.core.ports import Store
from service.store.column_file import ColumnFile
from service.store.errors import StoreRefusedError
from service.store.redis.deployments.url import SCHEMES
from service.store.sqlite.schema import check_folder, remove_if_unused
from service.store.sqlite.store import open_sqlite


class OpenedStore(Store, Protocol):
    """The event log, with the catalogue and new items' vectors."""

    @property
    def catalogue(self) -> CatalogueStore:
        """The catalogue. Closing the store closes it too."""
        ...

    @property
    def item_vectors(self) -> ItemVectorStore:
        """Vectors of new items, closed with the store."""
        ...


def log_exists(url: str) -> bool:
    """Return False if opening the store at `url` would create a file.

    Raises `StoreRefusedError` if it could not.
    """
    path = url.removeprefix("sqlite:///")
    if path == url or Path(path).exists():
        return True
    check_folder(Path(path))
    return False


def remove_unused_log(url: str) -> None:
    """Remove the file at `url`, if any, unless it holds events."""
    path = url.removeprefix("sqlite:///")
    if path != url:
        remove_if_unused(Path(path))


def open_column_file(url: str, folder: Path | None) -> ColumnFile | None:
    """Return the file of the catalogue's snapshot, if one is kept.

    Args:
        url: URL of the store.
        folder: Where the file is; without one it is beside the SQLite file.
    """
    path = url.removeprefix("sqlite:///")
    if folder is None:
        return None if path == url else ColumnFile(Path(f"{path}-catalogue"))
    address = re.sub(r"//[^/]*@", "//", url)  # without the password
    name = hashlib.blake2b(address.encode(), digest_size=6).hexdigest()
    return ColumnFile(folder / f"recblr-catalogue-{name}.safetensors")


async def open_store(url: str, events_kept: int, min_replicas: int = 0, days_kept: int | None = None) -> OpenedStore:
    """Open the store at `url`.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, or a URL with one of `redis.url.SCHEMES`.
        events_kept: Number of events to keep of each user, the newest ones.
        min_replicas: Number of Redis replicas that must have a write before it is acknowledged.
        days_kept: Days to keep an event after its arrival; None for no limit.

    Raises:
        StoreRefusedError: The store cannot be opened as configured.
    """
    if events_kept < 1:
        raise StoreRefusedError(f"keep at least 1 event per user instead of {events_kept}.")
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        if min_replicas:
            raise StoreRefusedError("SQLite has no replicas to wait for; unset RECBLR_REDIS_WAIT or name a Redis.")
        return await open_sqlite(url, events_kept, days_kept)
    if scheme in SCHEMES:
        from service.store.redis.store import open_redis  # late: a start on SQLite needs no Redis library

        return await open_redis(url, events_kept, min_replicas, days_kept)
    # The rest of the URL may hold a password, so the message repeats no part of it.
    raise StoreRefusedError(f"the state URL must begin with sqlite:/// or with {', '.join(SCHEMES)} and ://.")
